"""Turns specs into attacks ready to run: names, budgets and parameters are checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.call import Call
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.native import DIRECT, run_native, run_native_refilled
from stein_bench.attacks.refill import Found
from stein_bench.attacks.search import Batch
from stein_bench.attacks.torchattacks_library import construct, library_defaults, library_guard, run_library, takes
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.errors import UsageError, unknown_name
from stein_bench.memory import MemoryLimit
from stein_bench.seeds import derive_seed
from stein_bench.specs import AttackSpec, ParameterValue, parse_attack_spec
from stein_bench.tasks import TASKS, Task

ALPHA_FACTOR = 2.5
"""The default step size is 2.5·eps/steps: the steps together are longer than the diameter of the ball."""

SURROGATE = ("surrogate", "surrogate_sha256")
"""Parameters that identify the model a transfer attack is crafted on; set by `Attack.crafted_on`, never by a spec."""

COUNTS = ("restarts", "targets", "queries", "seeds")
"""Parameters of native attacks that must be at least 1."""


@dataclass(frozen=True)
class Attack:
    """One attack with its budget and all its parameters.

    Attributes:
        spec: what the user wrote.
        info: its catalog entry.
        norm, eps: the budget that defines success; a corruption has none ("" and 0).
        params: parameters apart from the budget, including the defaults of native attacks; for a transfer attack also
            `SURROGATE`, once it has one.
        surrogate: for a transfer attack the model it is crafted on, mapping [0, 1] to logits; else None.
    """

    spec: str
    info: AttackInfo
    norm: str
    eps: float
    params: Mapping[str, ParameterValue]
    surrogate: nn.Module | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Identity of the attack within a run: name, norm, eps and all parameters."""
        if self.info.is_corruption:
            return str(AttackSpec(self.info.name, self.params))
        return str(AttackSpec(self.info.name, {"norm": self.norm, "eps": self.eps, **self.params}))

    def crafted_on(self, surrogate: nn.Module, name: str, sha256: str) -> Attack:
        """Return the transfer attack with its surrogate, which becomes part of its identity.

        Args:
            surrogate: maps [0, 1] to logits, in eval mode.
            name, sha256: the surrogate's name, and the SHA-256 of its weights and buffers.
        """
        named = dict(zip(SURROGATE, (name, sha256), strict=True))
        return replace(self, params={**self.params, **named}, surrogate=surrogate)

    @property
    def name(self) -> str:
        """Its name in the catalog."""
        return self.info.name

    @property
    def strength(self) -> float:
        """Its budget or, for a corruption, the strength of the noise."""
        if not self.info.is_corruption:
            return self.eps
        return float(self.params["std"] if "std" in self.params else self.params["amount"])

    def run(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        task: Task,
        *,
        classes: int,
        seeds: Sequence[int],
        batch_dependent: bool = False,
    ) -> Tensor:
        """Return the attack's candidate adversarial inputs, of the shape of `inputs` (n, C, …).

        Args:
            model: the attacked model, mapping [0, 1] to logits, in eval mode; for a transfer attack the surrogate.
            inputs, labels, task: the batch and the task, which defines success.
            classes: number of the model's outputs.
            seeds: one per sample, see `attack_seeds`.
            batch_dependent: whether predictions depend on the batch (batch statistics).

        Raises:
            UsageError: the inputs are not float32.
        """
        self._check_dtype(inputs)
        if self.info.backend == "torchattacks":
            model, task = _two_class(model, task)
            arguments = self._library_arguments()
            return run_library(self.info, arguments, model, inputs, labels, classes=classes, seeds=list(seeds))
        call = self._call(model, task, classes, inputs.shape[1:], batch_dependent)
        return run_native(self.info.method, call, Batch.untargeted(inputs, labels, seeds))

    def refills(self, task: Task) -> bool:
        """Return whether finished samples can make place for the next ones, see `run_refilled`."""
        early_stops = self.info.backend == "native" and self.info.method not in DIRECT
        return early_stops and not self.info.is_transfer and task.name != "segmentation"

    def run_refilled(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        task: Task,
        *,
        classes: int,
        shape: Sequence[int],
        memory: MemoryLimit,
    ) -> Iterator[Found]:
        """Yield the candidates for each of the batches in order, as `run` would, at a constant batch size.

        For attacks that are refilled (`refills`), under running statistics.

        Args:
            model, task, classes: as for `run`.
            batches: samples, read as room becomes free.
            shape: shape of one sample.
            memory: most samples per pass.
        """
        call = self._call(model, task, classes, shape, batch_dependent=False)
        yield from run_native_refilled(self.info.method, call, map(self._checked, batches), memory)

    def _checked(self, batch: Batch) -> Batch:
        self._check_dtype(batch.inputs)
        return batch

    def _check_dtype(self, inputs: Tensor) -> None:
        if inputs.dtype != torch.float32:
            raise UsageError(
                f"attack {self.info.name} takes float32 inputs, not {str(inputs.dtype).removeprefix('torch.')}: in "
                "half precision rounding alone exceeds the budget. Give --precision bf16 to the model instead."
            )

    def _call(self, model: nn.Module, task: Task, classes: int, shape: Sequence[int], batch_dependent: bool) -> Call:
        if task.name == "binary":
            classes = 2
        model, task = _two_class(model, task)
        params = self.params
        if self.info.is_transfer:
            # The batch stays whole, as under batch statistics: samples that fool the surrogate are attacked further.
            params, batch_dependent = {**params, "restarts": 1}, True
        return Call(model, task, classes, shape, self.norm, self.eps, params, batch_dependent)

    def try_construction(self, model: nn.Module, classes: int) -> None:
        """Construct the attack object of a torchattacks attack, to check its parameters.

        Raises:
            UsageError: it rejects them.
        """
        if self.info.backend != "torchattacks":
            return
        try:
            with library_guard(0):
                construct(self.info, self._library_arguments(), model, classes=classes, seed=0)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"attack {self.spec!r} does not take its parameters: {reason}") from error

    def _library_arguments(self) -> dict[str, ParameterValue]:
        arguments = {name: value for name, value in self.params.items() if name not in SURROGATE}
        if self.info.eps_name is not None:
            arguments[self.info.eps_name] = int(self.eps) if self.info.eps_name == "pixels" else self.eps
        if takes(self.info, "norm"):
            arguments["norm"] = self.norm
        return arguments


def _two_class(model: nn.Module, task: Task) -> tuple[nn.Module, Task]:
    """Return a binary model and task as those of classification with two classes, others as they are."""
    return (TwoLogits(model), TASKS["classification"]) if task.name == "binary" else (model, task)


def attack_seeds(run_seed: int, attack: Attack, ids: Sequence[str]) -> list[int]:
    """Return the seed of each sample, which depends on the run's seed, the attack and the sample id only."""
    return [derive_seed(run_seed, attack.label, sample_id) for sample_id in ids]


def resolve_attacks(
    specs: Sequence[str], eps: Sequence[float] | None = None, *, battery: Sequence[str] = ()
) -> tuple[Attack, ...]:
    """Resolve the specs of a battery and additional ones, each for every budget in `eps` unless it has its own.

    Raises:
        UsageError: an unknown attack or parameter, a wrong value, or the same attack twice.
    """
    attacks: list[Attack] = []
    of_battery = 0  # number of attacks from the battery
    for number, text in enumerate((*battery, *specs)):
        spec = parse_attack_spec(text)
        own = "eps" in spec.params or _find(spec.name).is_corruption
        budgets: Sequence[float | None] = (None,) if eps is None or own else eps
        for budget in budgets:
            attack = resolve_attack(spec if budget is None else spec.with_params(eps=budget))
            labels = [other.label for other in attacks]
            if attack.label in labels:
                has_it = attack.label in labels[:of_battery]
                raise UsageError(f"attack {str(spec)!r} is {'in the battery already' if has_it else 'given twice'}.")
            attacks.append(attack)
        if number < len(battery):
            of_battery = len(attacks)
    return tuple(attacks)


def resolve_attack(spec: AttackSpec | str) -> Attack:
    """Look up an attack and check its budget and parameters.

    Raises:
        UsageError: it is unknown or cannot run, or eps, norm or a parameter is wrong.
    """
    spec = parse_attack_spec(spec) if isinstance(spec, str) else spec
    info = _find(spec.name)
    if info.is_corruption:
        return Attack(str(spec), info, "", 0.0, _params(info, spec.params, 0.0))
    rest = {key: value for key, value in spec.params.items() if key not in ("eps", "norm", info.eps_name)}
    norm = _norm(info, spec)
    eps = _eps(info, spec, norm)
    return Attack(str(spec), info, norm, eps, _params(info, rest, eps))


def _find(name: str) -> AttackInfo:
    by_lower = {known.lower(): info for known, info in CATALOG.items()}
    info = by_lower.get(name.lower())
    if info is None:
        raise unknown_name("attack", name, CATALOG, "See stein-bench list attacks.")
    if info.unavailable:
        raise UsageError(f"attack {info.name} is not available: {info.unavailable}.")
    return info


def check_kind(attack: str, name: str, value: ParameterValue, default: ParameterValue) -> None:
    """Raise a `UsageError` if `value` has another type than the parameter's `default`.

    An integer is accepted as a number; a boolean is accepted as nothing else.
    """
    fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
    if not fits:
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(default)]
        raise UsageError(f"{name} of attack {attack} must be {expected}, not {value!r}.")


def _norm(info: AttackInfo, spec: AttackSpec) -> str:
    norm = str(spec.params.get("norm", info.norms[0]))
    match = next((known for known in info.norms if known.lower() == norm.lower()), None)
    if match is None:
        raise UsageError(f"norm of attack {info.name} must be {' or '.join(info.norms)}, not {norm!r}.")
    return match


def _eps(info: AttackInfo, spec: AttackSpec, norm: str) -> float:
    own_name = info.eps_name or "eps"
    if "eps" in spec.params and own_name in spec.params and own_name != "eps":
        raise UsageError(f"attack {str(spec)!r} gives its budget twice, as eps and as {own_name}.")
    default = info.default_eps if norm == info.norms[0] else 1.0
    eps = spec.params.get("eps", spec.params.get(own_name, default))
    if isinstance(eps, bool | str):
        raise UsageError(f"eps in {str(spec)!r} must be a number, not {eps!r}.")
    if not eps > 0:
        raise UsageError(f"eps in {str(spec)!r} must be above 0.")
    if norm == "Linf" and eps > 1:
        raise UsageError(f"eps in {str(spec)!r} is above 1, but pixels lie in [0, 1]. Did you mean {eps:g}/255?")
    if norm == "L0" and eps != int(eps):
        raise UsageError(f"eps in {str(spec)!r} counts changed pixels (L0) and must be a whole number.")
    return float(eps)


def _params(info: AttackInfo, given: Mapping[str, ParameterValue], eps: float) -> dict[str, ParameterValue]:
    """Check the parameters and add defaults; alpha defaults to 2.5·eps/steps if an attack has both."""
    known = library_defaults(info) if info.backend == "torchattacks" else dict(info.params)
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"parameter of {info.name}:", name, [*(["eps", "norm"] if info.norms else []), *known])
        check_kind(info.name, name, value, known[name])
    params = {**known, **given}
    _check_values(info, given, params)
    if {"alpha", "steps"} <= params.keys() and "alpha" not in given:
        params["alpha"] = ALPHA_FACTOR * eps / int(params["steps"])
    return params


def _check_values(info: AttackInfo, given: Mapping[str, ParameterValue], params: Mapping[str, ParameterValue]) -> None:
    for name in ("steps", *(COUNTS if info.backend == "native" else ())):
        if name in params and int(params[name]) < 1:
            raise UsageError(f"{name} of attack {info.name} must be at least 1, not {params[name]}.")
    if "alpha" in given and not float(given["alpha"]) > 0:
        raise UsageError(f"alpha of attack {info.name} must be above 0, not {given['alpha']}.")
    if "decay" in given and float(given["decay"]) < 0:
        raise UsageError(f"decay of attack {info.name} must not be below 0, not {given['decay']}.")
    if "std" in params and info.is_corruption and not float(params["std"]) > 0:
        raise UsageError(f"std of {info.name} must be above 0, not {params['std']}.")
    if "amount" in params and not 0 < float(params["amount"]) <= 1:
        raise UsageError(f"amount of {info.name} must be above 0 and at most 1, not {params['amount']}.")
    if "p" in given and not 0 < float(given["p"]) <= 1:
        raise UsageError(f"p of attack {info.name} must be above 0 and at most 1, not {given['p']}.")
    if info.backend == "native" and params.get("random_start") is False and int(params.get("restarts", 1)) > 1:
        raise UsageError(
            f"attack {info.name} with random_start=false starts at the same point every time, so restarts are useless."
        )

"""Turns specs into attacks ready to run: names, budgets and parameters are checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.call import Call
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.containment import run_own
from stein_bench.attacks.native import DIRECT, run_native, run_native_refilled
from stein_bench.attacks.parameters import Spelled, checked, spell_out, with_norm
from stein_bench.attacks.refill import Found, Watch
from stein_bench.attacks.search import Batch
from stein_bench.attacks.through import Strategy
from stein_bench.attacks.torchattacks_library import construct, library_guard, run_library, takes
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.corruptions.common import corrupted
from stein_bench.errors import UsageError
from stein_bench.memory import MemoryLimit
from stein_bench.report.attack_names import SEVERITY, SOURCE, corruption_strength
from stein_bench.seeds import derive_seed
from stein_bench.specs import AttackSpec, Norm, ParameterValue
from stein_bench.tasks import TASKS, Task

SURROGATE = ("surrogate", "surrogate_sha256")
"""Parameters that identify the model a transfer attack is crafted on; set by `Attack.crafted_on`, never by a spec."""


class Archive(Protocol):
    """A published archive of a data set's test images under common corruptions."""

    def images(self, name: str, severity: int, indices: Sequence[int]) -> Tensor:
        """Return the test images at those positions under one corruption, (n, C, H, W) in [0, 1], on the CPU."""
        ...


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
        note: what a shorthand was taken as, or ``""``.
        archive: for a common corruption the published archive that its images come from; else None.
        archive_sha256: hash of these images; "" without an archive.
    """

    spec: str
    info: AttackInfo
    norm: str
    eps: float
    params: Mapping[str, ParameterValue]
    surrogate: nn.Module | None = field(default=None, compare=False, repr=False)
    note: str = field(default="", compare=False)
    archive: Archive | None = field(default=None, compare=False, repr=False)
    archive_sha256: str = field(default="", repr=False)

    @property
    def label(self) -> str:
        """Identity of the attack within a run: name, norm, eps and all parameters."""
        if self.info.is_corruption:
            return str(AttackSpec(self.info.name, self.params))
        return str(AttackSpec(self.info.name, {"norm": self.norm, "eps": self.eps, **self.params}))

    @property
    def run_label(self) -> str:
        """Identity of its search: the label, without eps if the attack ignores it.

        Attacks with the same one find the same adversarial inputs, so that one run serves for all their budgets.
        """
        if self.info.is_corruption or self.info.respects_eps:
            return self.label
        return str(AttackSpec(self.info.name, {"norm": self.norm, **self.params}))

    @property
    def seed_label(self) -> str:
        """What its random numbers depend on: its `run_label`, or the label of the attack that it is seeded as."""
        name = self.info.seeded_as
        if not name:
            return self.run_label
        shared = {key: value for key, value in self.params.items() if key in CATALOG[name].params}
        return str(AttackSpec(name, {"norm": self.norm, "eps": self.eps, **shared}))

    def crafted_on(self, surrogate: nn.Module, name: str, sha256: str) -> Attack:
        """Return the transfer attack with its surrogate, which becomes part of its identity.

        Args:
            surrogate: maps [0, 1] to logits, in eval mode.
            name, sha256: the surrogate's name, and the SHA-256 of its weights and buffers.
        """
        named = dict(zip(SURROGATE, (name, sha256), strict=True))
        return replace(self, params={**self.params, **named}, surrogate=surrogate)

    def published_in(self, archive: Archive, name: str, sha256: str) -> Attack:
        """Return the common corruption with images from a published archive, whose `name` joins its identity.

        Args:
            archive: the archive.
            name: its name.
            sha256: hash of the images that are used.
        """
        return replace(self, params={**self.params, SOURCE: name}, archive=archive, archive_sha256=sha256)

    @property
    def draws(self) -> int:
        """How many times a corruption is drawn for every sample."""
        return int(self.params.get("seeds", 1))

    def corrupted(self, inputs: Tensor, indices: NDArray[np.int64], seeds: Sequence[int], number: int) -> Tensor:
        """Return the images of one draw of a common corruption, in [0, 1], on the CPU.

        Args:
            inputs: (n, C, …) float32.
            indices: positions of the samples in the data set.
            seeds: one per sample, see `attack_seeds`; the draw depends on the sample's seed and `number` alone.
            number: index of the draw.
        """
        severity = int(self.params[SEVERITY])
        if self.archive is not None:
            return self.archive.images(self.name, severity, indices.tolist())
        return corrupted(self.name, severity, inputs.cpu(), [derive_seed(seed, "corruption", number) for seed in seeds])

    @property
    def name(self) -> str:
        """Its name in the catalog."""
        return self.info.name

    @property
    def strength(self) -> float:
        """Its budget or, for a corruption, the strength of the noise or the severity."""
        if not self.info.is_corruption:
            return self.eps
        return corruption_strength(self.params)[1]

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
        random: bool = False,
    ) -> Tensor:
        """Return the attack's candidate adversarial inputs, of the shape of `inputs`; arguments are those of `find`."""
        return self.find(
            model, inputs, labels, task,
            classes=classes, seeds=seeds, batch_dependent=batch_dependent, random=random,
        ).adv_inputs  # fmt: skip

    def find(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        task: Task,
        *,
        classes: int,
        seeds: Sequence[int],
        batch_dependent: bool = False,
        strategy: Strategy | None = None,
        random: bool = False,
    ) -> Found:
        """Return the attack's candidate adversarial inputs, whose passes are not counted.

        Args:
            model: the attacked model, mapping [0, 1] to logits, in eval mode; for a transfer attack the surrogate.
            inputs, labels, task: the batch and the task, which defines success.
            classes: number of the model's outputs.
            seeds: one per sample, see `attack_seeds`.
            batch_dependent: whether predictions depend on the batch (batch statistics).
            strategy: for the adaptive attack, where its gradients come from; its own without one.
            random: whether the attacked model is random: see `random_search`.

        Raises:
            UsageError: the inputs are not float32.
        """
        self._check_dtype(inputs)
        if self.info.backend == "torchattacks":
            model, task = _two_class(model, task)
            arguments = self._library_arguments()
            found = run_library(self.info, arguments, model, inputs, labels, classes=classes, seeds=list(seeds))
            return Found(found)
        if self.info.own is not None:
            model, task = _two_class(model, task)
            own = self.info.own
            return Found(
                run_own(own, model, inputs, labels, eps=self.eps, norm=self.norm, params=self.params, seeds=seeds)
            )
        call = replace(
            self.native_call(model, task, classes, inputs.shape[1:], batch_dependent, strategy), random=random
        )
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
        strategy: Strategy | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Found]:
        """Yield the candidates for each of the batches in order, as `run` would, at a constant batch size.

        For attacks that are refilled (`refills`), under running statistics.

        Args:
            model, task, classes: as for `run`.
            batches: samples, read as room becomes free.
            shape: shape of one sample.
            memory: most samples per pass.
            strategy: as for `find`.
            watch: is told of every step.
        """
        call = self.native_call(model, task, classes, shape, batch_dependent=False, strategy=strategy)
        yield from run_native_refilled(self.info.method, call, map(self._checked, batches), memory, watch)

    def _checked(self, batch: Batch) -> Batch:
        self._check_dtype(batch.inputs)
        return batch

    def _check_dtype(self, inputs: Tensor) -> None:
        if inputs.dtype != torch.float32:
            raise UsageError(
                f"attack {self.info.name} takes float32 inputs, not {str(inputs.dtype).removeprefix('torch.')}: in "
                "half precision rounding alone exceeds the budget. Give --precision bf16 to the model instead."
            )

    def native_call(
        self,
        model: nn.Module,
        task: Task,
        classes: int,
        shape: Sequence[int],
        batch_dependent: bool,
        strategy: Strategy | None,
    ) -> Call:
        """Return what the native attack is run with; arguments are those of `find`."""
        if task.name == "binary":
            classes = 2
        model, task = _two_class(model, task)
        params = self.params
        if self.info.is_transfer:
            # The batch stays whole, as under batch statistics: samples that fool the surrogate are attacked further.
            params, batch_dependent = {**params, "restarts": 1}, True
        return Call(model, task, classes, shape, self.norm, self.eps, params, batch_dependent, strategy)

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
    return [derive_seed(run_seed, attack.seed_label, sample_id) for sample_id in ids]


def by_run(attacks: Sequence[Attack]) -> list[tuple[Attack, ...]]:
    """Return the attacks in the order of their runs, those together that one run serves (`Attack.run_label`)."""
    groups: dict[str, list[Attack]] = {}
    for attack in attacks:
        groups.setdefault(attack.run_label, []).append(attack)
    return [tuple(group) for group in groups.values()]


def resolve_attacks(
    specs: Sequence[str], eps: Sequence[float] | None = None, *, battery: Sequence[str] = (), norm: Norm | None = None
) -> tuple[Attack, ...]:
    """Resolve the specs of a battery and additional ones, each for every budget in `eps` unless it has its own.

    Attacks that name no norm get `norm`, if there is one.

    Raises:
        UsageError: an unknown attack or parameter, a wrong value, an attack without `norm`, or the same attack twice.
    """
    attacks: list[Attack] = []
    of_battery = 0  # number of attacks from the battery
    asked = [spelled for text in battery for spelled in spell_out(text).each]
    listed = len(asked)
    asked += [spelled for text in specs for spelled in spell_out(text).each]
    for number, spelled in enumerate(asked if norm is None else with_norm(asked, norm)):
        budgets: Sequence[float | None] = (None,) if eps is None or spelled.has_budget else eps
        for budget in budgets:
            attack = _resolved(spelled if budget is None else spelled.with_params(eps=budget))
            labels = [other.label for other in attacks]
            if attack.label in labels:
                where = "in the battery already" if attack.label in labels[:of_battery] else "given twice"
                raise UsageError(f"attack {spelled.written!r} is {where}.")
            attacks.append(attack)
        if number < listed:
            of_battery = len(attacks)
    return tuple(attacks)


def resolve_attack(spec: AttackSpec | str) -> Attack:
    """Look up an attack and check its budget and parameters.

    Raises:
        UsageError: it is unknown or cannot run, or eps, norm or a parameter is wrong.
    """
    return _resolved(spell_out(spec))


def _resolved(spelled: Spelled) -> Attack:
    norm, eps, params = checked(spelled)
    return Attack(spelled.written, spelled.info, norm, eps, params, note=spelled.note)

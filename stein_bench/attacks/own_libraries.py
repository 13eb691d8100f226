"""Attack objects and classes of foolbox and torchattacks, as attacks on whatever model is evaluated."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.brought import Budget, OwnAttack
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.own import NORMS, entry
from stein_bench.attacks.torchattacks_library import Connected, library_defaults, takes
from stein_bench.errors import UsageError
from stein_bench.parts.brought import Part, plain_defaults, plain_settings
from stein_bench.specs import AttackSpec, Norm, ParameterValue

_STATE = ("attack", "attack_mode", "targeted", "model_name", "eps", "norm", "device", "model")
_OF_ORDER: dict[float, Norm] = {float("inf"): "Linf", 2.0: "L2", 1.0: "L1", 0.0: "L0"}
_HELD_AS = {"rho": "thr_decr", "resc_schedule": "rescale_schedule", "max_iterations": "max_patches"}
"""Parameters that torchattacks' objects hold under another name."""


def of_torchattacks(part: Part) -> AttackInfo:
    """Return the entry of an attack object or class that descends from torchattacks' base class.

    An object is copied with the evaluated model in place of its own; its settings are parameters.

    Raises:
        UsageError: it is targeted or scales its inputs.
    """
    if inspect.isclass(part.found):
        return _class_of_torchattacks(part)
    attack = part.found
    if attack.targeted:
        raise UsageError(f"attack {part.spec} is in targeted mode: robust accuracy is that of untargeted attacks.")
    if attack.normalization_used is not None:
        raise UsageError(
            f"attack {part.spec} scales its inputs (set_normalization_used): inputs are in [0, 1] here, and mean and "
            "std are the model's; give them as mean and std."
        )
    settings = _settings(attack)

    def call(
        model: nn.Module, inputs: Tensor, labels: Tensor, budget: Budget, params: Mapping[str, ParameterValue]
    ) -> Any:
        # Wherever the copy, or an attack within it, would hold a copy of its model, it holds the evaluated one.
        connected = Connected(model)
        own = copy.deepcopy(attack, {id(attack.model): connected})
        own.set_device(inputs.device)
        given = {**params, **({"eps": budget.eps} if hasattr(own, "eps") else {})}
        for name, value in given.items():
            setattr(own, name, value)
        return own(inputs, labels)

    eps = getattr(attack, "eps", None)
    named = getattr(attack, "norm", None)
    norms = NORMS if named not in NORMS else (named,)
    own = OwnAttack(part, call, settings)
    budget = float(eps) if isinstance(eps, int | float) else None
    return entry(own, norms, "eps" if budget is not None else None, budget, minimal=budget is None)


def spec_of_torchattacks(attack: Any) -> str | None:
    """Return the spec of torchattacks' own attack with the settings of an object; None if it is not in the catalog.

    Then the object is the catalog's attack, under the same name and with the same results.

    Raises:
        UsageError: it does not tell one of its settings.
    """
    info = CATALOG.get(f"torchattacks.{type(attack).__name__}")
    if info is None or type(attack).__module__.partition(".")[0] != "torchattacks" or info.unavailable:
        return None
    if attack.targeted or attack.normalization_used is not None:
        return None
    names = [*library_defaults(info), *([info.eps_name] if info.eps_name else [])]
    held = {name: getattr(attack, _HELD_AS.get(name, name), None) for name in names}
    params = {name: value for name, value in held.items() if isinstance(value, ParameterValue)}
    if missing := [name for name in names if name not in params]:
        raise UsageError(
            f"the object of {info.name} does not tell its {' and '.join(missing)}: name the attack instead, as in "
            f"'{info.name}:{missing[0]}={library_defaults(info)[missing[0]]}'."
        )
    if takes(info, "norm"):
        params["norm"] = attack.norm
    return str(AttackSpec(info.name, params))


def _class_of_torchattacks(part: Part) -> AttackInfo:
    """Return the entry of a class: it is constructed with the model and the parameters of the spec."""
    parameters = dict(list(inspect.signature(part.found).parameters.items())[1:])  # without the model
    defaults = {name: default for name, default in plain_defaults(parameters).items() if name != "eps"}
    required = tuple(n for n, p in parameters.items() if p.default is p.empty and p.kind not in (2, 4) and n != "eps")
    budget = parameters.get("eps")

    def call(
        model: nn.Module, inputs: Tensor, labels: Tensor, given: Budget, params: Mapping[str, ParameterValue]
    ) -> Any:
        eps = {} if budget is None else {"eps": given.eps}
        return part.found(Connected(model), **eps, **params)(inputs, labels)

    own = OwnAttack(part, call, defaults, (), required)
    eps = float(budget.default) if budget is not None and isinstance(budget.default, int | float) else None
    return entry(own, NORMS, "eps" if budget is not None else None, eps, minimal=budget is None)


def of_foolbox(part: Part) -> AttackInfo:
    """Return the entry of an attack object or class of foolbox 3.

    Attacks that minimize the perturbation get no budget: the nearest point that they find is verified against it.
    """
    import foolbox

    is_class = inspect.isclass(part.found)
    defaults = plain_defaults(inspect.signature(part.found).parameters) if is_class else _settings(part.found)
    kind = part.found if is_class else type(part.found)
    minimal = issubclass(kind, foolbox.attacks.base.MinimizationAttack)

    def call(
        model: nn.Module, inputs: Tensor, labels: Tensor, budget: Budget, params: Mapping[str, ParameterValue]
    ) -> Any:
        attack = part.found(**params) if is_class else copy.copy(part.found)
        for name, value in {} if is_class else params.items():
            setattr(attack, name, value)
        wrapped = foolbox.models.pytorch.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
        _, clipped, _ = attack(wrapped, inputs, labels, epsilons=None if minimal else budget.eps)
        return clipped

    return entry(OwnAttack(part, call, defaults), _norms_of_foolbox(part.found), None if minimal else "eps",
                 minimal=minimal)  # fmt: skip


def _norms_of_foolbox(attack: Any) -> tuple[Norm, ...]:
    distance = getattr(attack, "distance", None)
    norm = _OF_ORDER.get(float(getattr(distance, "p", -1)))
    return NORMS if norm is None else (norm,)


def _settings(attack: Any) -> dict[str, ParameterValue]:
    """Return the plain settings of an attack object."""
    return {name: value for name, value in plain_settings(attack).items() if name not in _STATE}

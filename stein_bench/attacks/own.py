"""Attacks that other people bring: what a callable, a class or another library's object takes, and how it is called.

A callable is given ``(model, inputs, labels)`` and, by name, those of ``eps``, ``norm`` and ``seed`` that its signature
has; all other parameters of its signature can be set in a spec. `containment` runs it and checks what it leaves behind.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from torch import Tensor, nn

from stein_bench.attacks.attackinfo import LINF_EPS, USUAL_EPS, Access, AttackInfo
from stein_bench.attacks.brought import Budget, OwnAttack
from stein_bench.errors import UsageError
from stein_bench.parts.brought import Part, plain_defaults, plain_settings, unwrapped
from stein_bench.specs import Norm, ParameterValue, norm_name

NORMS: tuple[Norm, ...] = ("Linf", "L2", "L1", "L0")
ORDERS = {"Linf": math.inf, "L2": 2.0, "L1": 1.0, "L0": 0.0}
"""Norms as numbers, which some libraries take."""
BUDGETS = ("eps", "epsilon", "ε")
"""Names under which callables take the budget."""
_GIVEN = ("norm", "seed")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def entry(
    own: OwnAttack, norms: tuple[Norm, ...], eps_name: str | None, eps: float | None = None, *, minimal: bool = False
) -> AttackInfo:
    """Return the catalog entry of `own`; the first of `norms` is its default, `eps` its default budget."""
    found = own.part.found
    access: Access = _declared_access(own.part)
    text = inspect.getdoc(inspect.unwrap(found)) if callable(found) and hasattr(found, "__name__") else None
    summary = getattr(found, "summary", None) or (text or "").partition("\n")[0].rstrip(".") or "brought by the user"
    return AttackInfo(
        own.part.short, str(summary), norms=norms, access=access, eps_name=eps_name, params=own.defaults,
        default_eps=_default_eps(norms[0]) if eps is None else eps, minimal=minimal, own=own,
        tasks=("classification", "segmentation"),
    )  # fmt: skip


def _default_eps(norm: str) -> float:
    return USUAL_EPS.get(norm, LINF_EPS)


def _declared_access(part: Part) -> Access:
    declared = getattr(part.found, "access", None)
    if declared is None:
        return "unknown"
    if declared not in ("white-box", "score", "decision"):
        raise UsageError(f"attack {part.spec}: access {declared!r} is none of white-box, score, decision.")
    return declared  # type: ignore[no-any-return]


def of_callable(part: Part) -> AttackInfo:
    """Return the entry of a function or another callable.

    What its signature does not say it can say in attributes: ``norms`` (tuple of names), ``access`` (``"white-box"``,
    ``"score"`` or ``"decision"``) and ``summary``.

    Raises:
        UsageError: it cannot be called as an attack.
    """
    if not callable(part.found):
        raise UsageError(
            f"attack {part.spec} is a {type(part.found).__name__}, not a callable (model, inputs, labels, …)."
        )
    parameters = _parameters(part, part.found.forward if isinstance(part.found, nn.Module) else part.found)
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    three = tuple(positional[:3])
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    if len(three) < 3 and not spread:
        raise UsageError(
            f"attack {part.spec} takes ({', '.join(parameters)}): an attack is called with (model, inputs, labels) and "
            "returns adversarial inputs; eps, norm and seed follow by name if it takes them."
        )
    rest = {name: p for name, p in parameters.items() if p not in three}
    signature, settings = _Signature.of(part, rest), plain_settings(part.found)
    settings.pop("training", None)
    signature = signature.with_attributes(settings)
    held = [name for name in ("eps", "norm") if settings.pop(name, None) is not None]
    defaults, optional, required, anything = signature.settable
    call = functools.partial(_call, part.found, signature)
    if settings or held:
        call = functools.partial(_call_object, part.found, signature, frozenset(settings), tuple(held))
    own = OwnAttack(part, call, {**settings, **defaults}, optional, required, anything)
    return entry(own, signature.norms, signature.eps_name, signature.eps, minimal=signature.eps_name is None)


def of_class(part: Part) -> AttackInfo:
    """Return the entry of a class: constructed with the parameters of the spec, its instances are attacks."""
    constructor = _parameters(part, part.found)
    held = {name: p for name, p in constructor.items() if name in ("eps", "norm")}
    settable = _settable(part, {name: p for name, p in constructor.items() if name not in held})
    called = "forward" if issubclass(part.found, nn.Module) else "__call__"
    method = next((vars(base)[called] for base in inspect.getmro(part.found) if called in vars(base)), None)
    if method is None:
        raise UsageError(f"attack {part.spec}: objects of the class cannot be called as (model, inputs, labels, …).")
    taken = dict(list(_parameters(part, method).items())[1:])  # without self
    signature = _Signature.of(part, dict(list(taken.items())[3:]))
    defaults = plain_defaults(held)
    signature = signature.with_attributes({**dict.fromkeys(held.keys() & {"eps"}, _default_eps("")), **defaults})
    numeric = isinstance(defaults.get("norm"), int | float)

    def call(
        model: nn.Module, inputs: Tensor, labels: Tensor, budget: Budget, params: Mapping[str, ParameterValue]
    ) -> Any:
        known: dict[str, Any] = {"eps": budget.eps, "norm": _norm(budget, numeric)}
        made = part.found(**{name: known[name] for name in held}, **params)
        return _call(made, signature, model, inputs, labels, budget, {})

    own = OwnAttack(part, call, *settable)
    return entry(own, signature.norms, signature.eps_name, signature.eps, minimal=signature.eps_name is None)


def _call_object(
    attack: Any,
    signature: _Signature,
    settings: Set[str],
    held: Sequence[str],
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    budget: Budget,
    params: Mapping[str, ParameterValue],
) -> Any:
    """Call a copy of an object, whose attributes among the parameters are set before.

    `held`: attributes that are its budget, ``eps`` and ``norm``.
    """
    attack = copy.copy(attack)
    for name in held:
        numeric = isinstance(getattr(attack, name), int | float)
        setattr(attack, name, budget.eps if name == "eps" else _norm(budget, numeric))
    for name in settings & params.keys():
        setattr(attack, name, params[name])
    rest = {name: value for name, value in params.items() if name not in settings}
    return _call(attack, signature, model, inputs, labels, budget, rest)


def _call(
    attack: Callable[..., Any],
    signature: _Signature,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    budget: Budget,
    params: Mapping[str, ParameterValue],
) -> Any:
    return attack(model, inputs, labels, **signature.arguments(budget), **params)


def _norm(budget: Budget, numeric: bool) -> str | float:
    return ORDERS[budget.norm] if numeric else budget.norm


@dataclass(frozen=True)
class _Signature:
    """What a callable takes besides model, inputs and labels.

    Attributes:
        eps_name: under which name it takes the budget; None if it takes none.
        eps: its default budget, None without one.
        norms: those that it supports, its default first.
        takes: those of ``norm`` and ``seed`` that it takes.
        numeric: whether it takes the norm as a number.
        settable: see `_settable`.
        held: whether the budget is an attribute of the object, or an argument of its class, instead.
    """

    eps_name: str | None
    eps: float | None
    norms: tuple[Norm, ...]
    takes: tuple[str, ...]
    numeric: bool
    settable: tuple[Mapping[str, ParameterValue], tuple[str, ...], tuple[str, ...], bool]
    held: bool = False

    @classmethod
    def of(cls, part: Part, rest: Mapping[str, inspect.Parameter]) -> _Signature:
        """Read it from the parameters that follow the first three."""
        anything = any(p.kind is p.VAR_KEYWORD for p in rest.values())
        eps_name = next((name for name in BUDGETS if name in rest), "eps" if anything else None)
        if _module(part).startswith("adv_lib") and _name(part) in _WITHOUT_BUDGET:
            eps_name = None
        default = rest[eps_name].default if eps_name is not None and eps_name in rest else None
        norm = rest.get("norm")
        return cls(
            eps_name,
            float(default) if isinstance(default, int | float) else None,
            _norms(part, norm),
            tuple(name for name in _GIVEN if name in rest or anything),
            _is_numeric(part, norm),
            _settable(part, {name: p for name, p in rest.items() if name not in (eps_name, *_GIVEN)}),
        )

    def with_attributes(self, settings: Mapping[str, ParameterValue]) -> _Signature:
        """Return the same for an object whose attributes ``eps`` and ``norm`` are its budget.

        An object that takes ``eps`` by name is given it that way.
        """
        found, eps, norm = self, settings.get("eps"), settings.get("norm")
        if self.eps_name is None and isinstance(eps, int | float) and not isinstance(eps, bool):
            found = replace(found, eps_name="eps", eps=float(eps), held=True)
        if norm is not None and (named := norm_name(str(norm))) is not None:
            found = replace(found, norms=(named, *(one for one in found.norms if one != named)))
        return found

    def arguments(self, budget: Budget) -> dict[str, Any]:
        """Return the arguments that it takes by name."""
        known: dict[str, Any] = {"norm": _norm(budget, self.numeric), "seed": budget.seed}
        found = {name: known[name] for name in self.takes}
        return found if self.eps_name is None or self.held else {self.eps_name: budget.eps, **found}


def _parameters(part: Part, called: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(called, eval_str=True).parameters)
    except (TypeError, ValueError):
        raise UsageError(f"attack {part.spec} has no signature that could be read: wrap it in a function.") from None
    except Exception:  # noqa: BLE001 - an annotation names what is imported for type checkers only
        return dict(inspect.signature(called).parameters)


_OF_ADVERSARIAL_LIBRARY = ("targeted", "callback", "starting_points", "penalty", "distance", "ε", "eps")
"""Parameters of its functions that are no numbers, ask another question, or have another meaning than elsewhere."""
_WITHOUT_BUDGET = ("tr", "fab")
"""Its functions whose ``eps`` or ``ε`` is no budget: a tolerance, the radius of restarts."""


def _settable(
    part: Part, parameters: Mapping[str, inspect.Parameter]
) -> tuple[dict[str, ParameterValue], tuple[str, ...], tuple[str, ...], bool]:
    """Return the defaults of plain parameters, the names of other optional ones and of required ones, and openness."""
    hidden = _OF_ADVERSARIAL_LIBRARY if _module(part).startswith("adv_lib") else ()
    named = {name: p for name, p in parameters.items() if p.kind in _NAMED and name not in hidden}
    defaults = plain_defaults(named)
    required = tuple(name for name, p in named.items() if p.default is inspect.Parameter.empty)
    optional = tuple(name for name in named if name not in defaults and name not in required)
    return defaults, optional, required, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _module(part: Part) -> str:
    return str(getattr(unwrapped(part.found), "__module__", "") or "")


def _name(part: Part) -> str:
    return str(unwrapped(part.found).__name__)


def _of_adversarial_library(part: Part) -> tuple[Norm, ...]:
    """Return the norms of a function of adversarial-library that takes none, by its name: mostly L2."""
    name = _name(part)
    if "linf" in name:
        return ("Linf",)
    if name == "alma":  # which minimizes its `distance`, by default L2
        return ("L2",)
    return ("L0",) if name in ("sigma_zero", "vfga") else ("L2", "Linf", "L1", "L0")


def _is_numeric(part: Part, norm: inspect.Parameter | None) -> bool:
    annotated = norm is not None and norm.annotation in (float, int, "float", "int")
    annotated = annotated or (norm is not None and isinstance(norm.default, int | float))
    return annotated or _module(part).startswith("adv_lib")


def _norms(part: Part, norm: inspect.Parameter | None) -> tuple[Norm, ...]:
    """Return the norms that an attack supports, its default first: as declared or annotated, else all.

    An attack that takes no norm is for whichever one the spec names.
    """
    declared = getattr(part.found, "norms", None)
    if declared is None and norm is None and _module(part).startswith("adv_lib"):
        declared = _of_adversarial_library(part)
    if declared is None and norm is not None and get_origin(norm.annotation) is Literal:
        declared = get_args(norm.annotation)
    texts = (declared,) if isinstance(declared, str) else tuple(declared) if declared is not None else NORMS
    found = tuple(norm_name(str(text)) for text in texts)
    if not found or None in found:
        raise UsageError(f"attack {part.spec}: norms {texts!r} are not of Linf, L2, L1, L0.")
    known = tuple(one for one in found if one is not None)
    default = norm_name(str(norm.default)) if norm is not None and norm.default is not inspect.Parameter.empty else None
    return known if default not in known else (default, *(one for one in known if one != default))

"""Parameters of an attack: from what a spec says, in any known spelling, to checked values with defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stein_bench.attacks.attackinfo import USUAL_EPS, AttackInfo
from stein_bench.attacks.finding import find_brought
from stein_bench.attacks.queries import ALPHA_OF_ADAM, check_estimates, updates
from stein_bench.attacks.spellings import Meaning, meaning, means_something
from stein_bench.attacks.torchattacks_catalog import check_installed
from stein_bench.corruptions.names import SEVERITIES
from stein_bench.errors import UsageError, unknown_name
from stein_bench.report.attack_names import SEVERITY
from stein_bench.specs import AttackSpec, Norm, ParameterValue, norm_name, parse_attack_spec

ALPHA_FACTOR = 2.5
"""The default step size is 2.5·eps/steps: the steps together are longer than the diameter of the ball."""

COUNTS = ("restarts", "targets", "queries", "samples", "seeds", "search_steps", "eot")
"""Parameters of native attacks that must be at least 1."""

REAL = ("c", "kappa", "lam")
"""Numbers whose defaults in torchattacks are whole, although its documentation says float."""

SYNONYMS = {
    **dict.fromkeys(("epsilon",), "eps"),
    **dict.fromkeys(
        ("iter", "iters", "iterations", "niter", "niters", "numiter", "numiters", "numiterations", "nbiter", "maxiter",
         "nsteps", "numsteps", "nbsteps"),
        "steps",
    ),
    **dict.fromkeys(("stepsize", "absstepsize", "epsstep", "epsiter"), "alpha"),
    **dict.fromkeys(("nrestarts", "numrestarts", "nbrestarts"), "restarts"),
    **dict.fromkeys(("nqueries", "maxqueries", "querylimit"), "queries"),
    **dict.fromkeys(("nbsample", "nsamples", "samplesperdraw"), "samples"),
    **dict.fromkeys(("eotiter", "eoti", "eotsteps", "eotsamples"), "eot"),
    **dict.fromkeys(("randinit",), "random_start"),
}  # fmt: skip
"""Other libraries' names of parameters, in lower case and without ``_``: ``nb_iter``, ``eps_iter`` and ``rand_init`` of
advertorch, ``max_iter`` and ``eps_step`` of the Adversarial Robustness Toolbox, ``abs_stepsize`` of foolbox,
``n_iter``, ``n_restarts`` and ``eot_iter`` of autoattack."""


@dataclass(frozen=True)
class Spelled:
    """A spec in the catalog's words.

    Attributes:
        written: the spec as written.
        info: the attack that it names.
        spec: the same with the catalog's name and the attack's own names of parameters.
        note: what a shorthand was taken as, or ``""``.
    """

    written: str
    info: AttackInfo
    spec: AttackSpec
    note: str = ""

    @property
    def has_budget(self) -> bool:
        """Whether the spec names a budget, or the attack has none."""
        return self.info.is_corruption or bool({"eps", self.info.eps_name} & self.spec.params.keys())

    @property
    def each(self) -> tuple[Spelled, ...]:
        """The attacks that the spec stands for: a common corruption without a severity stands for all five."""
        if not self.info.is_common or SEVERITY in self.spec.params:
            return (self,)
        return tuple(self.with_params(severity=severity) for severity in SEVERITIES)

    def with_params(self, **extra: ParameterValue) -> Spelled:
        """Return the same with further parameters."""
        return replace(self, spec=self.spec.with_params(**extra))


def spell_out(spec: AttackSpec | str) -> Spelled:
    """Find the attack that a spec means, and what it calls its parameters. Values are not checked.

    Raises:
        UsageError: the attack is unknown, cannot run or lacks its package, or the spec contradicts or repeats itself.
    """
    if isinstance(spec, str) and (brought := find_brought(spec)) is not None:
        info, own = brought
        given, renamed = _own_names(info, own)
        return Spelled(spec, info, AttackSpec(info.name, given), _note(own, Meaning(info), renamed))
    if isinstance(spec, str):
        _refuse_severities(spec)
        spec = parse_attack_spec(spec)
    found = meaning(spec.name)
    if found.info.unavailable:
        raise UsageError(f"attack {found.info.name} is not available: {found.info.unavailable}.")
    if found.info.backend == "torchattacks":
        check_installed(found.info.name)
    given, renamed = _own_names(found.info, spec)
    for name, value in found.params.items():
        if name in given and _plain(name, given[name]) != value:
            raise UsageError(
                f"attack {str(spec)!r} contradicts itself: its name says {name}={value}, its parameters "
                f"{name}={given[name]}."
            )
    canonical = AttackSpec(found.info.name, {**found.params, **given})
    return Spelled(str(spec), found.info, canonical, _note(spec, found, renamed))


def _refuse_severities(text: str) -> None:
    """Refuse ``fog:3`` and ``fog:1+3``, which only `--corruption` understands, with what to write instead."""
    name, _, rest = (part.strip() for part in text.partition(":"))
    several = re.fullmatch(r"(severity\s*=\s*)?\d[\d\s+]*", rest) and not re.fullmatch(r"severity\s*=\s*\d+", rest)
    if several and means_something(name) and (info := meaning(name).info).is_common:
        raise UsageError(
            f"attack {text!r}: here one severity is written as {info.name}:severity=3; several go to "
            f"--corruption {info.name}:1+3."
        )


def _note(spec: AttackSpec, found: Meaning, renamed: Mapping[str, str]) -> str:
    """Return what a shorthand was taken as, e.g. ``attack PGD20: taken as pgd:steps=20, iters as steps``."""
    parts = [f"{old} as {new}" for old, new in renamed.items()]
    if found.params or found.info.name.lower() != spec.name.lower():
        parts = [f"taken as {AttackSpec(found.info.name, found.params)}", *parts]
    elif parts:
        parts[0] = parts[0].replace(" as ", " taken as ", 1)
    return f"attack {spec.name}: {', '.join(parts)}" if parts else ""


def _plain(name: str, value: ParameterValue) -> ParameterValue:
    return norm_name(str(value)) or value if name == "norm" else value


def _own_names(info: AttackInfo, spec: AttackSpec) -> tuple[dict[str, ParameterValue], dict[str, str]]:
    """Return the parameters of `spec` under the attack's own names, and the names that were replaced."""
    budget = ("eps", "norm", info.eps_name or "eps") if info.norms else ()
    names = _defaults(info) if info.own is None else info.own.names
    own = tuple(dict.fromkeys((*budget, *names)))
    given: dict[str, ParameterValue] = {}
    written: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for key, value in spec.params.items():
        name = _own_name(key, own)
        if name in given:
            raise UsageError(f"attack {str(spec)!r} gives {name!r} twice, as {written[name]} and as {key}.")
        if _squashed(name) != _squashed(key):
            renamed[key] = name
        given[name], written[name] = value, key
    return given, renamed


def _own_name(key: str, own: Sequence[str]) -> str:
    """Return the attack's own name for the parameter `key`; an unknown one stays as it is."""
    if key in own:
        return key
    same = [name for name in own if _squashed(name) == _squashed(key)]
    if len(same) == 1:
        return same[0]
    synonym = SYNONYMS.get(_squashed(key), key)
    return synonym if synonym in own else key


def _squashed(key: str) -> str:
    return key.lower().replace("_", "")


def with_norm(asked: Sequence[Spelled], norm: Norm) -> list[Spelled]:
    """Return the attacks, in that `norm` where they name none.

    Raises:
        UsageError: an attack that names none does not support it, or all name one, or are corruptions.
    """
    changed = []
    for spelled in asked:
        named = spelled.info.is_corruption or "norm" in spelled.spec.params
        if not named and norm not in spelled.info.norms:
            norms = _listed(spelled.info.norms, "and")
            raise UsageError(
                f"--norm {norm}: attack {spelled.info.name} is for {norms} only. Leave the attack out, or name its "
                f"norm, as in {spelled.info.name}:norm={spelled.info.norms[0]}."
            )
        changed.append(spelled if named else spelled.with_params(norm=norm))
    if changed == list(asked):
        raise UsageError(f"--norm {norm} has no effect: every attack names its norm or is a corruption. Leave it out.")
    return changed


def _listed(words: Sequence[str], last: str) -> str:
    """Return e.g. ``Linf, L2 or L1``."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def checked(spelled: Spelled) -> tuple[str, float, dict[str, ParameterValue]]:
    """Return the norm, the budget and the parameters, with defaults; a corruption has no norm, and the budget 0.

    Raises:
        UsageError: eps, norm or a parameter is wrong.
    """
    info, given = spelled.info, spelled.spec.params
    if info.is_corruption:
        return "", 0.0, params_of(info, given, 0.0)
    rest = {key: value for key, value in given.items() if key not in ("eps", "norm", info.eps_name)}
    norm = norm_of(info, spelled.spec)
    eps = eps_of(info, spelled.spec, norm)
    return norm, eps, params_of(info, rest, eps, norm)


def norm_of(info: AttackInfo, spec: AttackSpec) -> str:
    """Return the norm of the budget that `spec` gives, or the attack's default.

    Raises:
        UsageError: the attack does not support it.
    """
    given = str(spec.params.get("norm", info.norms[0]))
    norm = norm_name(given)
    if norm not in info.norms:
        raise UsageError(f"norm of attack {info.name} must be {_listed(info.norms, 'or')}, not {given!r}.")
    return str(norm)


def eps_of(info: AttackInfo, spec: AttackSpec, norm: str) -> float:
    """Return the budget that `spec` gives, or the default in this norm.

    Raises:
        UsageError: it is given twice, or is no budget in this norm.
    """
    own_name = info.eps_name or "eps"
    if "eps" in spec.params and own_name in spec.params and own_name != "eps":
        raise UsageError(f"attack {str(spec)!r} gives its budget twice, as eps and as {own_name}.")
    default = info.default_eps if norm == info.norms[0] else USUAL_EPS[norm]
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


def params_of(
    info: AttackInfo, given: Mapping[str, ParameterValue], eps: float, norm: str = ""
) -> dict[str, ParameterValue]:
    """Check the parameters and add defaults; alpha defaults to 2.5·eps over the number of steps, if an attack has both.

    Raises:
        UsageError: one is unknown or has a wrong value.
    """
    if info.own is not None:
        return info.own.params(given)
    known = _defaults(info)
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"parameter of {info.name}:", name, [*(["eps", "norm"] if info.norms else []), *known])
        check_kind(info.name, name, value, known[name])
    params = {**known, **given}
    _check_values(info, given, params)
    if norm == "Linf" and "alpha" in given and float(given["alpha"]) > 1:
        alpha = f"{given['alpha']:g}"
        raise UsageError(f"alpha of attack {info.name} is {alpha}, but pixels lie in [0, 1]. Did you mean {alpha}/255?")
    if {"alpha", "steps"} <= params.keys() and "alpha" not in given:
        params["alpha"] = ALPHA_FACTOR * eps / int(params["steps"])
    if {"alpha", "queries", "samples"} <= params.keys() and "alpha" not in given:
        params["alpha"] = ALPHA_OF_ADAM * eps if "delta" in params else ALPHA_FACTOR * eps / updates(params)
    if info.backend == "native" and params.get("eot") == 1:
        del params["eot"]  # the same attack as without it, so it has the same label and seeds
    return params


def _defaults(info: AttackInfo) -> dict[str, ParameterValue]:
    if info.backend != "torchattacks":
        return dict(info.params)
    from stein_bench.attacks.torchattacks_library import library_defaults  # it loads torch

    return library_defaults(info)


def check_kind(attack: str, name: str, value: ParameterValue, default: ParameterValue) -> None:
    """Raise a `UsageError` if `value` has another type than the parameter's `default`.

    An integer is accepted as a number; a boolean is accepted as nothing else.
    """
    fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
    fits = fits or (name in REAL and type(value) is float)
    if not fits:
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(default)]
        raise UsageError(f"{name} of attack {attack} must be {expected}, not {value!r}.")


def _check_values(info: AttackInfo, given: Mapping[str, ParameterValue], params: Mapping[str, ParameterValue]) -> None:
    for name in ("steps", *(COUNTS if info.backend == "native" else ())):
        if name in params and int(params[name]) < 1:
            raise UsageError(f"{name} of attack {info.name} must be at least 1, not {params[name]}.")
    if "alpha" in given and not float(given["alpha"]) > 0:
        raise UsageError(f"alpha of attack {info.name} must be above 0, not {given['alpha']}.")
    _check_nearest(info, given)
    if "decay" in given and float(given["decay"]) < 0:
        raise UsageError(f"decay of attack {info.name} must not be below 0, not {given['decay']}.")
    if info.backend == "native" and {"queries", "samples"} <= params.keys():
        check_estimates(info.name, params)
    if "std" in params and info.is_corruption and not float(params["std"]) > 0:
        raise UsageError(f"std of {info.name} must be above 0, not {params['std']}.")
    if "amount" in params and not 0 < float(params["amount"]) <= 1:
        raise UsageError(f"amount of {info.name} must be above 0 and at most 1, not {params['amount']}.")
    if info.is_common and params[SEVERITY] not in SEVERITIES:
        raise UsageError(f"severity of {info.name} must be 1, 2, 3, 4 or 5, not {params[SEVERITY]}.")
    if "p" in given and not 0 < float(given["p"]) <= 1:
        raise UsageError(f"p of attack {info.name} must be above 0 and at most 1, not {given['p']}.")
    if "drawn" in given and not 0 <= float(params["drawn"]) <= 1:
        raise UsageError(f"drawn of attack {info.name} must be between 0 and 1, not {params['drawn']}.")
    if info.backend == "native" and params.get("random_start") is False and int(params.get("restarts", 1)) > 1:
        raise UsageError(
            f"attack {info.name} with random_start=false starts at the same point every time, so restarts are useless."
        )


def _check_nearest(info: AttackInfo, given: Mapping[str, ParameterValue]) -> None:
    """Check the numbers of native attacks that look for the nearest adversarial point."""
    if info.backend != "native":
        return
    for name in ("lr", "c"):
        if name in given and not float(given[name]) > 0:
            raise UsageError(f"{name} of attack {info.name} must be above 0, not {given[name]}.")
    for name in ("kappa", "overshoot"):
        if name in given and not float(given[name]) >= 0:
            raise UsageError(f"{name} of attack {info.name} must not be below 0, not {given[name]}.")
    if "gamma" in given and not 0 < float(given["gamma"]) < 1:
        raise UsageError(f"gamma of attack {info.name} must be between 0 and 1, not {given['gamma']}.")

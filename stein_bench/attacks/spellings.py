"""What people call attacks, in papers and in other libraries, resolved to the names of the catalog. No torch.

The names of other libraries are classes of foolbox 3 (``LinfPGD``, ``L2CarliniWagnerAttack``), advertorch
(``LinfMomentumIterativeAttack``), the Adversarial Robustness Toolbox (``ProjectedGradientDescent``) and torchattacks,
and the names that autoattack lists (``apgd-ce``, ``fab-t``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from stein_bench.attacks.attackinfo import TRANSFER, AttackInfo
from stein_bench.attacks.batteries import battery_names
from stein_bench.attacks.catalog import CATALOG, COMMON, ITERATED, NATIVE, NOISE
from stein_bench.attacks.torchattacks_catalog import TORCHATTACKS
from stein_bench.errors import UsageError, did_you_mean
from stein_bench.parts.installed import names as installed_names
from stein_bench.specs import ParameterValue, norm_name

LISTED = "See stein-bench list attacks."
LIBRARY = "torchattacks."

ALIASES = {
    "aa": "autoattack",
    "apgdtargeted": "apgd-t",
    "fabtargeted": "fab-t",
    "hopskip": "hopskipjump",
    "hsj": "hopskipjump",
    "hsja": "hopskipjump",
    "naturalevolutionstrategies": "nes",
    "fastgradient": "fgsm",
    "fastgradientsign": "fgsm",
    "fastgradientsignmethod": "fgsm",
    "mim": "mifgsm",
    "minimummargin": "mm",
    "probabilitymargin": "pma",
    "probabilitymarginattack": "pma",
    "momentumiterative": "mifgsm",
    "momentumiterativemethod": "mifgsm",
    "projectedgradientdescent": "pgd",
    "basiciterative": "torchattacks.BIM",
    "basiciterativemethod": "torchattacks.BIM",
    "ifgsm": "torchattacks.BIM",
    "iterativefgsm": "torchattacks.BIM",
    "carlini": "cw",
    "carliniwagner": "cw",
    "decoupleddirectionandnorm": "ddn",
    "decoupleddirectionnorm": "ddn",
    "fastminimumnorm": "fmn",
}
"""Other names with exactly one meaning in the catalog, in lower case and without ``-``, ``_``, ``.`` and ``&``."""

SEVERAL = {
    **dict.fromkeys(("apgd", "autopgd"), ("apgd-ce", "apgd-dlr", "apgd-t")),
    **dict.fromkeys(("noise", "random", "randomnoise"), ("noise-gaussian", "noise-uniform", "noise-rademacher")),
    **dict.fromkeys(("ead", "elasticnet"), ("torchattacks.EADEN", "torchattacks.EADL1")),
    "df": ("deepfool",),
    "trades": ("torchattacks.TPGD",),  # a way to train, whose inner attack this is
}
"""Names without exactly one meaning, and what may be meant."""

ENSEMBLES = ("autoattack", "fast-ensemble", "strongest-ensemble", "torchattacks.AutoAttack")
STEPPED = (*(name for name in ITERATED if name not in ENSEMBLES),
           "torchattacks.DIFGSM", "torchattacks.EOTPGD", "torchattacks.NIFGSM", "torchattacks.TPGD")  # fmt: skip
"""Attacks after whose names a number means their steps, as in PGD-20. (CW-20 often means PGD on another loss.)"""

_NORM_FIRST = re.compile(r"(l_?inf|l∞|l[012])[-_.]?(.+)")
_NORM_LAST = re.compile(r"(.+?)(?:[-_.]?(l_?inf|l∞|l[012])|[-_.](inf))")
_STEPS_LAST = re.compile(r"(.+?)[-_.]?(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Meaning:
    """The attack that a name means, and the parameters that the name contains: ``norm``, ``steps``."""

    info: AttackInfo
    params: Mapping[str, ParameterValue] = field(default_factory=dict)


def meaning(name: str) -> Meaning:
    """Return what `name` means: a name of the catalog, or another spelling of exactly one.

    Case, ``-``, ``_`` and ``.`` do not matter. Native attacks come before those of torchattacks, whose prefix can be
    left out. A norm before or after the name is the attack's norm; a number after it is its number of steps.

    Raises:
        UsageError: there is no such attack, or several are called so; the message has the nearest names.
    """
    known = {key.lower(): info for key, info in CATALOG.items()}
    if name.lower() in known:
        return Meaning(known[name.lower()])
    found = _other_spelling(name.lower())
    if found is None:
        raise _unknown(name)
    return found


def means_something(name: str) -> bool:
    """Return whether `name` is a name of the catalog, or another spelling of one."""
    return name.lower() in {key.lower() for key in CATALOG} or _other_spelling(name.lower()) is not None


def _other_spelling(name: str) -> Meaning | None:
    prefix, body = re.fullmatch(r"(transfer[._-])?(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    of_library = body.startswith(LIBRARY)
    body = body.removeprefix(LIBRARY)
    readings = [*_readings(body, {}), *_readings(re.sub(r"[-_.]?attack$", "", body), {})]
    for names in (_OF_LIBRARY,) if of_library else (_NATIVE, _OF_LIBRARY):
        for base, params in readings:
            key = _squashed(base)
            if key in SEVERAL and not of_library:
                continue
            info = CATALOG.get((TRANSFER if prefix else "") + names[key]) if key in names else None
            if info is not None and _fits(info, params):
                return Meaning(info, params)
    return None


def _readings(body: str, params: dict[str, ParameterValue]) -> Iterator[tuple[str, dict[str, ParameterValue]]]:
    """Yield `body` as it is, then without a norm and without a number of steps, which go to the parameters."""
    yield body, params
    if "norm" not in params:
        if match := _NORM_FIRST.fullmatch(body):
            yield from _readings(match[2], {"norm": str(norm_name(match[1])), **params})
        if match := _NORM_LAST.fullmatch(body):
            yield from _readings(match[1], {"norm": str(norm_name(match[2] or match[3])), **params})
    if "steps" not in params and (match := _STEPS_LAST.fullmatch(body)):
        yield from _readings(match[1], {**params, "steps": int(match[2])})


def _fits(info: AttackInfo, params: Mapping[str, ParameterValue]) -> bool:
    return not ("steps" in params and info.method not in STEPPED) and not ("norm" in params and info.is_corruption)


def _squashed(name: str) -> str:
    return re.sub(r"[-_.&]", "", name.lower())


def _native_names() -> dict[str, str]:
    # Without separators gaussian_noise, a common corruption, and noise-gaussian look alike: it is the noise.
    found = {_squashed(info.name): info.name for info in (*COMMON, *NATIVE, *NOISE)}
    for info in NOISE:
        kind = _squashed(info.name.removeprefix("noise-"))
        found |= dict.fromkeys((kind, f"{kind}noise"), info.name)
    return found | {key: name for key, name in ALIASES.items() if not name.startswith(LIBRARY)}


_NATIVE = _native_names()
_OF_LIBRARY = {
    **{_squashed(info.name.removeprefix(LIBRARY)): info.name for info in TORCHATTACKS},
    **{key: name for key, name in ALIASES.items() if name.startswith(LIBRARY)},
}
"""Squashed name → name in the catalog."""


def _unknown(name: str) -> UsageError:
    if name.lower() in battery_names():
        return UsageError(f"{name!r} is a battery, not an attack: give it with --battery {name.lower()}.")
    bases = [_squashed(base) for base, _ in _readings(name.lower(), {})]
    near = next((SEVERAL[base] for base in bases if base in SEVERAL), None) or _nearest(name.lower(), bases)
    near = near or tuple(get_close_matches(name, installed_names("attack"), n=3))
    if name.endswith(".py"):
        return UsageError(f"attack {name!r} names a file only: write {name}:NAME, the attack in it.")
    return UsageError(f"unknown attack {name!r}.{did_you_mean(near)} {LISTED}")


def _nearest(name: str, bases: Sequence[str], most: int = 3) -> tuple[str, ...]:
    """Return the names in the catalog that are nearest to `name`, also to one without its prefix or to an alias.

    Those that one of the `bases` spells come first.
    """
    known = {**_OF_LIBRARY, **_NATIVE, **{key.lower(): key for key in CATALOG}}
    near = get_close_matches(name, known, n=len(known), cutoff=0.6)
    return tuple(dict.fromkeys(known[match] for match in (*bases, *near) if match in known))[:most]

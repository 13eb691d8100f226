"""Parsing of command-line values: numbers with fractions, lists of them, and ``name:key=value,…``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from stein_bench.errors import UsageError

ParameterValue = bool | int | float | str

_NAME = re.compile(r"[A-Za-z][\w.\-]*\Z")
_KEY = re.compile(r"[A-Za-z_]\w*\Z")
_HUGE_EXPONENT = re.compile(r"e[+-]?[\d_]{5}", re.IGNORECASE)
"""Beyond the range of floats, and too large for exact arithmetic."""
_WORDS: Mapping[str, bool] = MappingProxyType({"true": True, "false": False})


def parse_number(text: str, what: str) -> int | float:
    """Parse ``3``, ``0.03``, ``1e-3`` or a fraction such as ``8/255``.

    `what` names the number in the error, e.g. ``"eps in 'pgd:eps=8/0'"``. Only finite numbers are accepted.

    Raises:
        UsageError: the text is not a number, divides by zero or is not finite.
    """
    compact = text.strip().replace(" ", "")
    if _HUGE_EXPONENT.search(compact):
        raise UsageError(f"{what} has too large an exponent: {text.strip()!r}.")
    try:
        fraction = Fraction(compact)
    except ZeroDivisionError:
        raise UsageError(f"{what} divides by zero: {text.strip()!r}.") from None
    except ValueError:
        raise UsageError(
            f"{what} is not a number: {text.strip()!r}. Write 0.03, 1e-3 or a fraction like 8/255."
        ) from None
    try:
        value = float(fraction)
    except OverflowError:
        raise UsageError(f"{what} is too large: {text.strip()!r}.") from None
    whole = fraction.denominator == 1 and "." not in text and "e" not in text.lower()
    return int(fraction) if whole else value


def parse_numbers(text: str, what: str) -> tuple[float, ...]:
    """Parse a comma-separated list of numbers, e.g. ``2/255,4/255`` or ``0.485,0.456,0.406``."""
    return tuple(float(parse_number(part, what)) for part in text.split(","))


def parse_arguments(text: str, whole: str) -> dict[str, ParameterValue]:
    """Parse the arguments of a user's callable, ``key=value,…``, in that order.

    A value is a number (a fraction is allowed), ``true``, ``false``, or any other text, such as a path. `whole` is the
    spec that they are part of, for errors.

    Raises:
        UsageError: a part is not of the form ``key=value``, or a key is given twice.
    """
    arguments: dict[str, ParameterValue] = {}
    for part in text.split(",") if text else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or not _KEY.match(key):
            raise UsageError(f"{whole}: {part.strip()!r} is not of the form key=value.")
        if key in arguments:
            raise UsageError(f"{whole} gives {key!r} twice.")
        arguments[key] = _argument(value)
    return arguments


def _argument(value: str) -> ParameterValue:
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    try:
        return parse_number(value, value)
    except UsageError:
        return value


@dataclass(frozen=True)
class AttackSpec:
    """An attack as given by the user, ``name:key=value,…``: its name and explicit parameters, in that order."""

    name: str
    params: Mapping[str, ParameterValue] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={_format_value(value)}" for key, value in self.params.items())
        return f"{self.name}:{pairs}" if pairs else self.name

    def with_params(self, **extra: ParameterValue) -> AttackSpec:
        """Return the same spec with further parameters (later ones win)."""
        return AttackSpec(self.name, {**self.params, **extra})


def parse_attack_spec(text: str) -> AttackSpec:
    """Parse ``pgd``, ``pgd:eps=4/255,steps=20`` or ``torchattacks.MIFGSM:eps=8/255``.

    Values are numbers (fractions allowed), ``true``, ``false`` or words. The names are not looked up here.

    Raises:
        UsageError: the text does not follow the grammar; the message shows the part at fault.
    """
    name, colon, rest = text.strip().partition(":")
    name = name.strip()
    if not _NAME.match(name):
        raise UsageError(f"attack {text!r} does not start with a name. Write for example pgd:eps=8/255,steps=20.")
    if colon and not rest.strip():
        raise UsageError(f"attack {text!r} ends after the colon. Write for example {name}:eps=8/255.")
    params: dict[str, ParameterValue] = {}
    for part in rest.split(",") if colon else ():
        key, value = _parse_pair(part, text)
        if key in params:
            raise UsageError(f"attack {text!r} gives {key!r} twice.")
        params[key] = value
    return AttackSpec(name, params)


def _parse_pair(part: str, whole: str) -> tuple[str, ParameterValue]:
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals or not value or not _KEY.match(key):
        raise UsageError(f"attack {whole!r}: {part.strip()!r} is not of the form key=value.")
    if value.lower() in _WORDS:
        return key, _WORDS[value.lower()]
    if value[0].isalpha() and value.lower() not in {"inf", "nan", "infinity"}:
        return key, value
    return key, parse_number(value, f"{key} in {whole!r}")


def _format_value(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def format_eps(eps: float) -> str:
    """Format ε for display: ``8/255`` if it is a multiple of 1/255, else up to four significant digits.

    >>> format_eps(8 / 255), format_eps(0.03), format_eps(1.0)
    ('8/255', '0.03', '1')
    """
    steps = eps * 255
    if eps < 1 and math.isclose(steps, round(steps), rel_tol=1e-9) and round(steps) >= 1:
        return f"{round(steps)}/255"
    return f"{eps:.4g}"

"""Parsing of command-line values: numbers with fractions, lists of them, and ``name:key=value,…``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

from stein_bench.errors import UsageError

ParameterValue = bool | int | float | str

Norm = Literal["Linf", "L2", "L1", "L0"]
NORMS: Mapping[str, Norm] = MappingProxyType(
    {
        **dict.fromkeys(("linf", "inf", "l∞", "∞", "infinity", "linfinity", "np.inf"), "Linf"),
        **dict.fromkeys(("l2", "2"), "L2"),
        **dict.fromkeys(("l1", "1"), "L1"),
        **dict.fromkeys(("l0", "0"), "L0"),
    }
)
"""Spellings of norms, in lower case without ``_`` and ``-``."""

_NAME = re.compile(r"[A-Za-z][\w.\-&∞]*\Z")
_KEY = re.compile(r"[A-Za-z_]\w*\Z")
_HUGE_EXPONENT = re.compile(r"e[+-]?[\d_]{5}", re.IGNORECASE)
"""Beyond the range of floats, and too large for exact arithmetic."""
_WORDS: Mapping[str, bool] = MappingProxyType({"true": True, "false": False})
_SLASH = re.compile(r"\s*/\s*")
_BETWEEN_NUMBERS = re.compile(r"\s*,\s*|\s+")
_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"(?<![\d./])(\d+)\s*,\s*(0\d+)(?![\d.])")
"""In a list of numbers: nobody writes the number 3 as 03, so ``0,03`` is not a list of two."""
_ZERO_COMMA = re.compile(r"(?<![\d./])(0+)\s*,\s*(\d+)")
_DIGITS_COMMA = re.compile(r"\s*[+-]?(\d+),(\d+)\b")


def norm_name(text: str) -> Norm | None:
    """Return the norm that `text` spells, such as ``l2``, ``2``, ``inf`` or ``L_inf``; None if it spells none."""
    return NORMS.get(re.sub(r"[\s_-]", "", text.lower().replace("ℓ", "l")))


def parse_number(text: str, what: str) -> int | float:
    """Parse ``3``, ``0.03``, ``1e-3`` or a fraction such as ``8/255`` or ``0.5/255``.

    Arithmetic is exact: all spellings of a number give the same float, the nearest one.

    `what` names the number in the error, e.g. ``"eps in 'pgd:eps=8/0'"``. Only finite numbers are accepted.

    Raises:
        UsageError: the text is not a number, divides by zero or is not finite.
    """
    compact = _SLASH.sub("/", text.strip())
    if _HUGE_EXPONENT.search(compact):
        raise UsageError(f"{what} has too large an exponent: {text.strip()!r}.")
    try:
        fraction = _fraction(compact)
    except ZeroDivisionError:
        raise UsageError(f"{what} divides by zero: {text.strip()!r}.") from None
    except ValueError:
        if comma := _DIGITS_COMMA.match(text):
            raise _decimal_comma(what, text, comma) from None
        raise UsageError(
            f"{what} is not a number: {text.strip()!r}. Write 0.03, 1e-3 or a fraction like 8/255."
        ) from None
    try:
        value = float(fraction)
    except OverflowError:
        raise UsageError(f"{what} is too large: {text.strip()!r}.") from None
    whole = fraction.denominator == 1 and "." not in text and "e" not in text.lower()
    return int(fraction) if whole else value


def _fraction(text: str) -> Fraction:
    """Return a number, or the quotient of two, exactly. Raises ValueError or ZeroDivisionError."""
    above, slash, below = text.partition("/")
    if "/" in below or below[:1] in ("+", "-"):
        raise ValueError(text)
    return Fraction(above) / Fraction(below) if slash else Fraction(above)


def _decimal_comma(what: str, text: str, found: re.Match[str]) -> UsageError:
    return UsageError(f"{what} has a decimal comma: {text.strip()!r}. Write {found[1]}.{found[2]}.")


def parse_numbers(text: str, what: str, *, nonzero: bool = False) -> tuple[float, ...]:
    """Parse numbers separated by commas or spaces, e.g. ``2/255,4/255`` or ``[0.485, 0.456, 0.406]``.

    Args:
        text: the list, which may be in brackets.
        what: names the numbers in errors.
        nonzero: 0 is no possible value, so that ``0,5`` can only be meant as 0.5.

    Raises:
        UsageError: one is not a number, a comma has none beside it, or commas stand for decimal points.
    """
    comma = _DECIMAL_COMMA.search(text) or (_ZERO_COMMA.search(text) if nonzero else None)
    if comma:
        raise _decimal_comma(what, text, comma)
    inside = _BRACKETS.fullmatch(text.strip())
    listed = _SLASH.sub("/", (inside[1] or inside[2] or "") if inside else text).strip()
    parts = _BETWEEN_NUMBERS.split(listed)
    if len(parts) > 1 and "" in parts:
        raise UsageError(f"{what} has a comma without a number beside it: {text.strip()!r}.")
    return tuple(float(parse_number(part, what)) for part in parts)


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
        raise UsageError(
            f"attack {text!r} does not start with a name. Write for example pgd:eps=8/255,steps=20, and repeat the "
            "option for several attacks."
        )
    if colon and not rest.strip():
        raise UsageError(f"attack {text!r} ends after the colon. Write for example {name}:eps=8/255.")
    return AttackSpec(name, parse_parameters(rest, text) if colon else {})


def parse_parameters(text: str, whole: str) -> dict[str, ParameterValue]:
    """Parse ``key=value,…``, the parameters in the spec `whole` of an attack.

    Raises:
        UsageError: the text does not follow the grammar, or gives a parameter twice.
    """
    params: dict[str, ParameterValue] = {}
    for part in text.split(","):
        key, value = _parse_pair(part, whole)
        if key in params:
            raise UsageError(f"attack {whole!r} gives {key!r} twice.")
        params[key] = value
    return params


def _parse_pair(part: str, whole: str) -> tuple[str, ParameterValue]:
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals or not value or not _KEY.match(key):
        number = re.fullmatch(r"[\d./\s]*\d[\d./\s]*", part)
        hint = " Decimals have a point (0.03), and several budgets go to --eps (4/255,8/255)." if number else ""
        raise UsageError(f"attack {whole!r}: {part.strip()!r} is not of the form key=value.{hint}")
    if key.lower() == "norm" and norm_name(value) == "Linf":
        return key, value  # `inf` is no number here
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
    """Format ε for display: ``8/255`` if it is a multiple of 1/255 (for small ones of 0.25/255), else four digits.

    >>> format_eps(8 / 255), format_eps(0.5 / 255), format_eps(0.03), format_eps(0.2), format_eps(1.0)
    ('8/255', '0.5/255', '0.03', '0.2', '1')
    """
    if float(f"{eps:.4g}") == eps:  # as 0.2, which is 51/255
        return f"{eps:.4g}"
    steps = eps * 255
    finest = 4 if steps < SHORTEST_DECIMAL else 1
    rounded = round(steps * finest) / finest
    if eps < 1 and math.isclose(steps, rounded, rel_tol=1e-9) and rounded > 0:
        return f"{rounded:g}/255"
    return f"{eps:.4g}"


SHORTEST_DECIMAL = 12
"""Multiples of 0.25/255 are not short decimals below 12.75/255 = 0.05; from there on they are, such as 0.05 or 0.1."""

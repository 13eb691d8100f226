"""Numbers of any library as arguments."""

from __future__ import annotations

import operator
from typing import Any

from stein_bench.errors import UsageError


def whole_number(value: Any, name: str) -> int:
    """Return an integer of any library.

    Raises:
        UsageError: it is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {value!r}.") from None


def numbers(values: Any) -> Any:
    """Return numbers as a tuple, whatever sequence, array or tensor they come in; text and None as they are.

    Raises:
        UsageError: they are no numbers.
    """
    if values is None or isinstance(values, str | int | float):
        return values
    try:
        if getattr(values, "ndim", None) == 0 or not hasattr(values, "__iter__"):
            return float(values)
        return tuple(value if isinstance(value, str) else float(value) for value in values)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{values!r} is neither a number nor a list of numbers.") from None

"""What is wrong for every model of a sweep alike is said before the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stein_bench.errors import UsageError
from stein_bench.preparation.plan import check_without_model
from stein_bench.sweep.items import Item
from stein_bench.sweep.settings import Asked

_ABOUT_THE_MODEL = frozenset({"weights", "weights-key", "mean", "std", "image-size", "limit", "seed"})
"""Options of a line of which nothing is checked here, or that are wrong for that model alone."""


def check_settings(asked: Asked, items: Sequence[Item]) -> None:
    """Check the common settings, and those of lines of a list that set attacks, data, BN or the like for themselves.

    Raises:
        UsageError: something is unknown, missing or does not fit together; for options of a line, naming it.
    """
    seen: list[dict[str, Any]] = []
    for item in items:
        own = {key: value for key, value in item.entry.own.items() if key not in _ABOUT_THE_MODEL}
        if own in seen:
            continue
        if not own:  # the common settings alone may not fit together if every line adds its own
            check_without_model(asked.config(items[0].entry, None, own=False))
            seen.append(own)
            continue
        seen.append(own)
        try:
            check_without_model(item.config.model_copy(update={"weights": "auto", "weights_key": None}))
        except UsageError as error:
            raise item.entry.wrong(str(error)) from None

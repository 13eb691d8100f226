"""The per-sample columns that hold the values of metrics that people bring."""

from __future__ import annotations

_START, _END = "metric:", ":"
"""Around a metric's name in that of its column; at the end, because the numbers of draws are appended there."""


def column_name(metric: str) -> str:
    """Return the name of the column with the values of a metric."""
    return f"{_START}{metric}{_END}"


def metric_name(column: str) -> str:
    """Undo `column_name`."""
    return column.removeprefix(_START).removesuffix(_END)


def is_metric(column: str) -> bool:
    """Return whether a column has the values of a metric that somebody brings."""
    return column.startswith(_START)

"""From per-sample outcomes to accuracies, metrics and comparisons: the NumPy half of every task (see `tasks`)."""

from __future__ import annotations

from stein_bench.measures.binary import TwoClass
from stein_bench.measures.outcome import Columns, Outcome, RightOrWrong
from stein_bench.measures.segmentation import Segmented

__all__ = ["MEASURES", "Columns", "Outcome", "RightOrWrong", "Segmented", "TwoClass"]

MEASURES: dict[str, type[Outcome]] = {
    "binary": TwoClass,
    "classification": RightOrWrong,
    "segmentation": Segmented,
}
"""The outcome class of each task."""

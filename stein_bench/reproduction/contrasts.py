"""The main and the registered contrasts of an experiment: what they are, and their results. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stein_bench.comparison.pairing import WORST_CASE
from stein_bench.errors import UsageError
from stein_bench.measures.published import PUBLISHED_METRICS
from stein_bench.normalization.names import shown_estimator
from stein_bench.reproduction.document import Contrast, Registered, Row, Stats
from stein_bench.reproduction.experiment import PLAIN, Experiment, PlannedContrast, find_outcome
from stein_bench.reproduction.replicates import LEVEL
from stein_bench.reproduction.summary import ACCURACY, HEADLINE
from stein_bench.statistics.class_counts import METRICS
from stein_bench.statistics.paired_tests import holm

METRICS_OF_TASK = {
    "binary": (ACCURACY, "auc", "sensitivity", "specificity"),
    "segmentation": (ACCURACY, *METRICS, *PUBLISHED_METRICS),
}
"""The metrics that a contrast can be of; for other tasks accuracy alone."""


@dataclass(frozen=True)
class Sought:
    """A contrast by the names that reports and rows use.

    Attributes:
        part, bn, stats, outcome, metric: of the row that has it; `outcome` is a label.
        written: the outcome for display.
        kind: estimator or source.
    """

    part: str
    bn: str
    stats: Stats
    outcome: str
    metric: str
    written: str
    kind: str = "estimator"

    @property
    def against(self) -> tuple[str, Stats]:
        """The BN and the statistics source of the variant that is subtracted."""
        return (PLAIN, self.stats) if self.kind == "estimator" else (self.bn, "running")

    @property
    def reference(self) -> str:
        """The variant that is subtracted, e.g. ``sample/running``."""
        return "/".join(self.against)

    def __str__(self) -> str:
        metric = "" if self.metric == ACCURACY else f"{self.metric}, "
        return f"{self.bn}/{self.stats} minus {self.reference}, {metric}{self.written} ({self.part})"

    def row(self, rows: Sequence[Row]) -> Row | None:
        """Return the row that has the contrast."""
        key = (self.part, self.bn, self.stats, self.outcome, self.metric)
        return next((row for row in rows if (row.part, row.bn, row.stats, row.outcome, row.metric) == key), None)

    def result(self, rows: Sequence[Row]) -> Contrast | None:
        """Return the contrast as the rows have it; None without a seed that has both values."""
        row = self.row(rows)
        return next((c for c in row.contrasts if c.kind == self.kind), None) if row is not None else None


def sought(experiment: Experiment, task: str) -> list[Sought]:
    """Return the registered contrasts of an experiment, the main one first.

    Raises:
        UsageError: an outcome or a metric does not exist.
    """
    return [_sought(experiment, contrast, task) for contrast in experiment.contrasts]


def _sought(experiment: Experiment, contrast: PlannedContrast, task: str) -> Sought:
    part, known = experiment.part_of(contrast), METRICS_OF_TASK.get(task, (ACCURACY,))
    outcome = find_outcome(part, contrast.outcome)
    if outcome is None:
        raise UsageError(f"contrast {contrast}: part {part.name} has no such outcome.")
    if contrast.metric not in known:
        raise UsageError(
            f"contrast {contrast}: unknown metric {contrast.metric!r} for {task}. Known: {', '.join(known)}."
        )
    written = "worst case" if contrast.outcome == WORST_CASE else contrast.outcome
    bn = shown_estimator(contrast.bn)
    return Sought(part.name, bn, contrast.source, outcome, contrast.metric, written, contrast.kind)


def main_contrast(experiment: Experiment, task: str) -> Sought | None:
    """Return the main contrast: the first registered one.

    Without any, the worst case of the first estimator that is not plain BN, under running statistics, in the first
    part, by the task's headline metric (mIoU for segmentation, else accuracy). None if plain BN, running statistics or
    an attack is missing.
    """
    if experiment.contrasts:
        return sought(experiment, task)[0]
    part = experiment.parts[0]
    outcome = find_outcome(part, WORST_CASE)
    under_running = [bn for bn in experiment.bn if "running" in experiment.sources(part, bn)]
    first = next((bn for bn in under_running if bn != PLAIN), None)
    if outcome is None or first is None or PLAIN not in under_running:
        return None
    metric = HEADLINE.get(task, ACCURACY)
    return Sought(part.name, shown_estimator(first), "running", outcome, metric, "worst case")


def registered_results(rows: Sequence[Row], contrasts: Sequence[Sought], left_out: int = 0) -> list[Registered]:
    """Return the results of the registered contrasts, with p adjusted over all that were registered (Holm).

    A contrast without a test (one seed, equal differences, failed cells) counts among them with p = 1, and so does one
    that options have `left_out`: what was registered depends neither on the results nor on options given later.
    """
    found = [contrast.result(rows) for contrast in contrasts]
    adjusted = holm([*(1.0 if one is None or one.p is None else one.p for one in found), *[1.0] * left_out])
    return [
        _registered(contrast, rows, one, p)
        for contrast, one, p in zip(contrasts, found, adjusted[: len(found)], strict=True)
    ]


def _registered(contrast: Sought, rows: Sequence[Row], found: Contrast | None, adjusted: float) -> Registered:
    row = contrast.row(rows)
    tested = found is not None and found.p is not None
    return Registered.model_validate(
        {
            "part": contrast.part, "bn": contrast.bn, "stats": contrast.stats, "outcome": contrast.outcome,
            "title": contrast.written if row is None else row.title, "metric": contrast.metric,
            "kind": contrast.kind, "against": contrast.reference,
            "seeds": 0 if found is None else found.seeds,
            "mean": None if found is None else found.mean,
            "sd": None if found is None else found.sd,
            "ci95": None if found is None else found.ci95,
            "p": None if found is None else found.p,
            "p_adjusted": adjusted if tested else None,
            "decided": tested and adjusted < LEVEL,
        }
    )  # fmt: skip

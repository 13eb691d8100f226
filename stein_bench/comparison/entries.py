"""What is ranked: the variants of all reports, each with what it can be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from stein_bench.comparison.document import Rated
from stein_bench.comparison.pairing import Subject
from stein_bench.report.results import Figure


@dataclass(frozen=True)
class Entry:
    """One variant of the report called `source`, with its `doubts`."""

    source: str
    subject: Subject
    own_doubts: dict[str, str]

    @property
    def key(self) -> tuple[object, ...]:
        """Everything that must be equal for a comparison."""
        report, variant = self.subject.report, self.subject.variant
        return (
            report.data.task, report.data.sha256, report.run.preset, variant.stats,
            variant.outcomes.sample_ids_sha256, self.subject.batch_size,
        )  # fmt: skip


def rated(figure: Figure) -> Rated:
    """Convert a figure to its part of the document."""
    return Rated(value=figure.value or 0.0, interval=figure.ci95 or (0.0, 1.0))

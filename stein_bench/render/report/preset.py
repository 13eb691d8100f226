"""Notes on reports with the settings of the published code."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.measures.published import PUBLISHED_METRICS
from stein_bench.report.document import Report


def preset_notes(report: Report) -> Iterator[str]:
    """Yield the notes on the published preset: what is confounded, and what its metrics are."""
    if report.run.preset is None:
        return
    batch = [variant.bn for variant in report.variants if variant.stats == "batch"]
    running = [variant.bn for variant in report.variants if variant.stats == "running"]
    if batch and running:
        yield (
            f"preset {report.run.preset}: confounded, as in the published code: {', '.join(batch)} with the statistics "
            f"of the test batch, {', '.join(running)} with running ones; a gap between them cannot be attributed to "
            "the estimator alone, and is not tested"
        )
    else:
        yield f"preset {report.run.preset}: settings of the published code, for comparison with the paper"
    shown = report.variants[0].clean.metrics or {}
    yield from (f"{name}: {meaning}" for name, meaning in PUBLISHED_METRICS.items() if name in shown)

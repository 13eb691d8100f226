"""Accuracy and metrics by site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stein_bench.measures import Outcome
from stein_bench.report.results import SiteResult


def site_results(draws: Sequence[Outcome], sites: Sequence[str] | None) -> dict[str, SiteResult] | None:
    """Return accuracy and metrics by site name, sorted; None if sites are unknown.

    Args:
        draws: one outcome of all samples, or one per draw of a corruption, which are averaged.
        sites: site of each sample.
    """
    if sites is None or not draws:
        return None
    names, codes = np.unique(np.asarray(sites), return_inverse=True)
    return {str(name): _site(draws, np.flatnonzero(codes == code)) for code, name in enumerate(names)}


def _site(draws: Sequence[Outcome], indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SiteResult:
    measure = type(draws[0])
    chosen = [draw.select(indices) for draw in draws]
    rate = measure.mean_accuracy(chosen)
    metrics = measure.mean_metrics(chosen) if len(chosen) > 1 else chosen[0].metrics()
    return SiteResult(samples=len(indices), accuracy=rate.value, ci95=(rate.low, rate.high), metrics=metrics or None)

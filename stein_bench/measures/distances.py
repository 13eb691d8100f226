"""Distances of the adversarial inputs found by minimum-norm attacks, and spreads of perturbation norms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stein_bench.report.results import Distances, Spread
from stein_bench.statistics.rates import Bits

QUANTILES = (0.05, 0.25, 0.75, 0.95)
CURVE_POINTS = 20


def distance_statistics(distances: NDArray[np.float64], correct: Bits) -> Distances:
    """Summarize the distances found, and derive robust accuracy as a function of ε.

    Args:
        distances: per sample, in the attack's norm; NaN if no adversarial input was found at any distance.
        correct: which samples are correct on the clean input; the others are excluded, as they need no attack.
    """
    found = np.sort(distances[correct & np.isfinite(distances)])
    standing, samples = int(correct.sum()), max(len(correct), 1)
    curve = [(0.0, standing / samples)]
    for part in range(1, CURVE_POINTS + 1):
        radius = float(found[-(-part * len(found) // CURVE_POINTS) - 1]) if len(found) else 0.0
        if radius > curve[-1][0]:
            within = int(np.searchsorted(found, radius, side="right"))
            curve.append((radius, (standing - within) / samples))
    return Distances(
        found=len(found),
        samples=standing,
        mean=float(found.mean()) if len(found) else None,
        median=float(np.median(found)) if len(found) else None,
        quantiles={f"{q:g}": float(np.quantile(found, q)) for q in QUANTILES} if len(found) else {},
        curve=curve,
    )


def spread(values: NDArray[np.float64]) -> Spread | None:
    """Return mean, median and maximum of `values`; None if there are none."""
    if values.size == 0:
        return None
    return Spread(mean=float(values.mean()), median=float(np.median(values)), max=float(values.max()))

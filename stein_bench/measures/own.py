"""Metrics that people bring: per-sample values, as columns of the units, and their means with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stein_bench.measures.outcome import Columns
from stein_bench.report.metric_columns import is_metric, metric_name
from stein_bench.report.results import Figure
from stein_bench.statistics.rates import Z95, Bits, independent_units, mean_accuracy


def own_figures(draws: Sequence[Columns], cluster: int = 1) -> dict[str, Figure] | None:
    """Return the mean of every metric in the columns over the samples, with 95 % intervals; None without metrics.

    Booleans are a share with Wilson's interval. Other values have the interval of the normal approximation, from the
    spread between samples, or between base images if `cluster` consecutive samples are versions of one. A figure is
    null if the value of a sample is not finite.

    Args:
        draws: the columns of several draws of the same samples, or of one; draws are averaged for each sample.
        cluster: see `statistics.rates.mean_accuracy`.
    """
    names = [name for name in draws[0] if is_metric(name)] if draws else []
    found = {}
    for name in names:
        values = [columns[name] for columns in draws]
        label = metric_name(name)
        if values[0].dtype == np.bool_:
            rate = mean_accuracy([one.astype(np.bool_) for one in values], cluster)
            found[label] = Figure(value=rate.value, ci95=(rate.low, rate.high))
        else:
            found[label] = _mean(np.mean([one.astype(np.float64) for one in values], axis=0), cluster)
    return found or None


def under_attack(clean: Columns, adversarial: Mapping[str, NDArray[np.generic]], void: Bits) -> Columns:
    """Return the metrics' columns under an attack: on its inputs, and on the clean ones where those are `void`."""
    names = [name for name in adversarial if is_metric(name)]
    return {name: np.where(void, clean[name], adversarial[name]) for name in names}


def _mean(values: NDArray[np.float64], cluster: int) -> Figure:
    if not values.size or not np.isfinite(values).all():
        return Figure(value=None, ci95=None)
    mean, units = float(values.mean()), independent_units(values.size, cluster)
    if units < 2:
        return Figure(value=mean, ci95=None)
    means = values[: units * cluster].reshape(units, -1).mean(axis=1)
    half = Z95 * float(means.std(ddof=1)) / math.sqrt(units)
    return Figure(value=mean, ci95=(mean - half, mean + half))

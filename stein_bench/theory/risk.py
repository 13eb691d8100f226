"""Monte Carlo risk (squared error) of channel mean and variance estimators, compared with the sample ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from stein_bench.progress import Progress, Silent, phase
from stein_bench.theory.estimators import batched_estimator
from stein_bench.theory.intervals import RatioEstimate, estimate_known_ratio, estimate_ratio
from stein_bench.theory.names import TARGETS, Target
from stein_bench.theory.population import known_risk, sample_risks, true_means, true_variances
from stein_bench.theory.sampling import Batches, Moments, draw_moments
from stein_bench.theory.settings import BY_ELEMENT, Population, RiskSettings

_CHUNK_MOMENTS = 2**16
_MOST_WORKERS = 8


@dataclass(frozen=True)
class RiskEstimate:
    """A mean loss, summed over channels, in σ² (means) or σ⁴ (variances).

    Attributes:
        risk, error: the mean over the batches drawn, and its standard error.
        closed_form: the exact risk if it is known, else None.
    """

    risk: float
    error: float
    closed_form: float | None


@dataclass(frozen=True)
class Comparison:
    """An estimator of one target compared with the sample one on the same batches."""

    estimator: str
    target: Target
    risk: RiskEstimate
    ratio: RatioEstimate


@dataclass(frozen=True)
class Cell:
    """One setting of the grid.

    Attributes:
        channels, elements, spread, contamination: the setting.
        draws: number of batches drawn.
        sample: risk of the sample estimators by target.
        comparisons: one per estimator and target.
    """

    channels: int
    elements: int
    spread: float
    contamination: str
    draws: int
    sample: dict[Target, RiskEstimate]
    comparisons: tuple[Comparison, ...]


def simulate_risk(settings: RiskSettings, *, progress: Progress | None = None) -> list[Cell]:
    """Simulate all settings of the grid, in the order contamination, C, N, spread.

    The same seed gives the same result, whatever the number of threads. All spreads of one setting use the
    same draws. An interrupt takes effect after the current blocks.
    """
    groups = list(product(settings.contaminations, settings.channels, settings.elements))
    by_cost = sorted(groups, key=lambda group: -_cost(settings, *group))
    watch = _Watch(progress or Silent())
    found: dict[tuple[str, int, int], list[Cell]] = {}
    with (
        phase(watch.progress, "risk", _batches(settings, groups)),
        _one_thread_each() as workers,
        ThreadPoolExecutor(workers) as pool,
    ):
        try:
            tasks = {pool.submit(_simulate_group, settings, *group, watch): group for group in by_cost}
            for task in as_completed(tasks):
                found[tasks[task]] = task.result()
        except BaseException:
            watch.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [cell for group in groups for cell in found[group]]


class _StoppedError(Exception):
    """Another thread failed or the user interrupted."""


class _Watch:
    """Called by all threads after each block: counts their batches, and stops them once one has failed."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, batches: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        with self._lock:
            self.progress.advance(batches)

    def stop(self) -> None:
        self._stopped.set()


def _batches(settings: RiskSettings, groups: list[tuple[str, int, int]]) -> int:
    return sum(settings.draws_of(c, n, contamination in BY_ELEMENT) for contamination, c, n in groups)


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Limit torch to one thread per worker, and yield the number of workers for the usable cores."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield max(1, min(usable, before, _MOST_WORKERS))
    finally:
        torch.set_num_threads(before)


def _cost(settings: RiskSettings, contamination: str, channels: int, elements: int) -> float:
    by_element = contamination in BY_ELEMENT
    draws = settings.draws_of(channels, elements, by_element)
    passes = len(settings.spreads) if contamination == "clipped-cauchy" else 1
    return float(draws * channels * (passes * elements * by_element + 20 * len(settings.spreads)))


def _simulate_group(
    settings: RiskSettings, contamination: str, channels: int, elements: int, watch: _Watch
) -> list[Cell]:
    """Return the cells of all spreads for one contamination, C and N."""
    populations = tuple(Population(spread, settings.offset, settings.variance_spread) for spread in settings.spreads)
    variances = true_variances(channels, populations[0])
    draws = settings.draws_of(channels, elements, contamination in BY_ELEMENT)
    batches = Batches(variances, elements, contamination, settings.strength, populations, draws, settings.seed)
    cells = []
    for population, moments in zip(populations, draw_moments(batches, watch), strict=True):
        watch(0)
        means = true_means(channels, population)
        losses = _losses(("sample", *settings.estimators), moments, elements, (means, variances))
        cells.append(_cell(settings, batches, population, means, losses, moments))
    return cells


Losses = dict[tuple[str, Target], Tensor]
"""Maps (estimator, target) to the loss in every batch, (n,) float64."""


def _losses(estimators: tuple[str, ...], moments: Moments, count: int, truth: Moments) -> Losses:
    channels = truth[0].numel()
    size = max(_CHUNK_MOMENTS // channels, 1)
    losses: Losses = {}
    for name in estimators:
        function = batched_estimator(name)
        parts = [
            function(mean, variance, count, truth[1] / count)
            for mean, variance in zip(torch.split(moments[0], size), torch.split(moments[1], size), strict=True)
        ]
        for index, target in enumerate(TARGETS):
            losses[name, target] = torch.cat([(part[index] - truth[index]).square().sum(1) for part in parts])
    return losses


def _cell(
    settings: RiskSettings, batches: Batches, population: Population, means: Tensor, losses: Losses, moments: Moments
) -> Cell:
    variances, elements, contamination = batches.variances, batches.elements, batches.contamination
    known = sample_risks(variances, elements, contamination, batches.strength)
    exact = dict(zip(TARGETS, known, strict=True)) if known else {}
    sample = {target: _estimate(losses["sample", target], exact.get(target)) for target in TARGETS}
    controls = _controls(batches, means, moments, losses, known) if known else {}
    comparisons = []
    for name in settings.estimators:
        closed = known_risk(name, means, variances, elements, contamination)
        for target in TARGETS:
            loss = losses[name, target]
            reference = losses["sample", target]
            if target in controls:
                ratio = estimate_known_ratio(loss, reference, exact[target], controls[target])
            else:
                ratio = estimate_ratio(loss, reference)
            comparisons.append(Comparison(name, target, _estimate(loss, closed.get(target)), ratio))
    return Cell(
        variances.numel(), elements, population.spread, contamination, batches.draws, sample, tuple(comparisons)
    )


def _controls(
    batches: Batches, means: Tensor, moments: Moments, losses: Losses, known: tuple[float, float]
) -> dict[Target, Tensor]:
    """Return, for each target, two quantities of every batch whose expectation is 0, scaled to order 1: (n, 2).

    They are the loss of the sample estimator minus its known risk, and an error that is linear in the moments.
    """
    count = batches.elements
    noise = batches.strength**2 if batches.contamination != "none" else 0.0
    expected = (count - 1) / count * (batches.variances + noise)
    along = ((moments[0] - means) * (means if bool(means.any()) else 1.0)).sum(1)
    linear = {"mean": along, "variance": ((moments[1] - expected) * batches.variances).sum(1)}
    columns: dict[Target, Tensor] = {}
    for target, risk in zip(TARGETS, known, strict=True):
        column = torch.stack([losses["sample", target] - risk, linear[target]], 1)
        columns[target] = column / column.square().mean(0).sqrt()
    return columns


def _estimate(losses: Tensor, closed_form: float | None) -> RiskEstimate:
    return RiskEstimate(float(losses.mean()), float(losses.std() / losses.numel() ** 0.5), closed_form)

"""An attack tried as it is, of which only the calls of the model are seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from stein_bench.attacks.passes import Bounds, Passes
from stein_bench.evaluation.costs.lines import wait
from stein_bench.evaluation.costs.recorder import CutShort, Deadline, Recorder
from stein_bench.evaluation.costs.results import Estimate
from stein_bench.evaluation.costs.tries import Tried, run_attack, spread

FEW = 8
"""Samples on which attacks are tried that are known by their calls alone. So few are one chunk."""


def estimate_by_calls(tried: Tried, limits: Bounds | None, seconds: float) -> Estimate:
    """The attack runs as it is, on a whole batch if its number of passes is known and that is quick, else on a few."""
    setting = tried.evaluated.setting
    count, size = len(setting.samples), min(setting.batch_size, len(setting.samples))
    exact = limits is not None and limits.least == limits.most
    few = min(FEW, size)
    on_all = tried.evaluated.batch_dependent or (exact and _predicted(tried, limits, size) < seconds)
    used = size if on_all else few
    recorder = Recorder(tried.model, Deadline(seconds))
    taken, cut = _timed(
        lambda: run_attack(tried, recorder, spread(count)[:used] if not on_all else list(range(used))), tried
    )
    made = Passes(recorder.forward_passes / used, recorder.backward_passes / used)
    expected, least, most = _completed(made, limits, recorder, used, cut=cut)
    per_sample = taken / max(made.total, 1e-9) / used  # per pass
    if used < size:
        # Larger batches spare calls: how much is told by the passes alone.
        per_sample *= (_pass(tried, made, size) / size) / (_pass(tried, made, used) / used)
    cost, lowest, highest = (per_sample * passes.total * count for passes in (expected, least, most))
    return Estimate(
        cost, cost - lowest, highest - cost, limits, expected, used, at_least=cut and limits is None,
    )  # fmt: skip


def _timed(compute: Callable[[], None], tried: Tried) -> tuple[float, bool]:
    started, cut = time.perf_counter(), False
    try:
        compute()
    except CutShort:
        cut = True
    wait(tried.evaluated.setting.device)
    return time.perf_counter() - started, cut


def _completed(
    made: Passes, limits: Bounds | None, recorder: Recorder, used: int, *, cut: bool
) -> tuple[Passes, Passes, Passes]:
    """Return the expected passes per sample, the least and the most, after `made` ones.

    Of an attack that was cut short, the samples of its last call are expected to go on to the end.
    """
    if not cut or limits is None:
        return made, made, made
    if limits.least == limits.most:
        return limits.most, limits.most, limits.most
    alive = recorder.last / used
    rest = Passes(*(max(most - own, 0.0) for most, own in zip(limits.most, made, strict=True)))
    return made.plus(rest, alive), made, made.plus(rest)


def _pass(tried: Tried, made: Passes, samples: int) -> float:
    """Return the seconds of such passes on so many samples."""
    both = min(made.backward, made.forward)
    return tried.both.at(samples) * both + tried.forward.at(samples) * max(made.forward - both, 0.0) or 1e-9


def _predicted(tried: Tried, limits: Bounds | None, size: int) -> float:
    return math.inf if limits is None else _pass(tried, limits.most, size)

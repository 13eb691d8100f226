"""Accuracies under corruptions as they are compared: which results each is a mean over, and their paired outcomes.

A noise is one accuracy, over all its draws. A common corruption is one accuracy over its severities, and `CORRUPTIONS`
is the mean over all common corruptions and severities. Single severities are not tested: 75 further tests would take
the power from all others (Holm), and the severities of one corruption say much the same.

The draws and severities of a sample are versions of it and not independent of each other. An outcome over several has
them one after the other, so that tests exchange whole samples and intervals count samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stein_bench.measures import MEASURES, RightOrWrong
from stein_bench.report.attack_names import SEVERITY
from stein_bench.report.packing import unpack_bits
from stein_bench.report.results import CorruptionResult, Outcomes
from stein_bench.specs import format_eps
from stein_bench.statistics.paired_tests import BATCHES, Paired, batch_losses

CORRUPTIONS = "corruptions"
"""The mean accuracy over all common corruptions and severities; before a corruption's name, the key of its own mean."""

Draws = Mapping[str, tuple[RightOrWrong, ...]]
"""Outcomes by label of the corruption, one per draw."""


@dataclass(frozen=True)
class Average:
    """An accuracy under corruptions, the mean over some results of a variant.

    Attributes:
        key: its identity: the label of a noise, ``corruptions/fog``, or ``corruptions`` for the mean over
            all common ones.
        name: by which rules match it besides: ``noise-gaussian``, ``fog``, ``corruptions``.
        title: short form for display.
        labels: of the results that it is a mean over.
    """

    key: str
    name: str
    title: str
    labels: tuple[str, ...]


def averages(results: Iterable[CorruptionResult]) -> list[Average]:
    """Return the accuracies to compare of these results: the mean of the common ones if there are several, then each.

    Those of common corruptions are in the order of first appearance and over their severities, then noises follow.
    """
    results = list(results)
    common: dict[tuple[str, str], list[CorruptionResult]] = {}
    for result in results:
        if SEVERITY in result.params:
            common.setdefault((result.name, _further(result)), []).append(result)
    names = [name for name, _ in common]
    found = []
    for (name, further), own in common.items():
        apart = further if names.count(name) > 1 else ""
        own.sort(key=lambda one: int(one.params[SEVERITY]))
        labels = tuple(one.label for one in own)
        found.append(Average(f"{CORRUPTIONS}/{name}{apart}", name, f"{name}{apart}{_severities(own)}", labels))
    if len(found) > 1:
        every = tuple(label for one in found for label in one.labels)
        found.insert(0, Average(CORRUPTIONS, CORRUPTIONS, f"{len(found)} corruptions", every))
    noises = [result for result in results if SEVERITY not in result.params]
    return [*found, *(Average(one.label, one.name, _noise(one, noises), (one.label,)) for one in noises)]


def _further(result: CorruptionResult) -> str:
    """Return the parameters besides the severity, such as the archive that the images are from; often empty."""
    return "".join(f":{key}={value}" for key, value in sorted(result.params.items()) if key != SEVERITY)


def _severities(results: Sequence[CorruptionResult]) -> str:
    """Return the severities, unless they are all five."""
    found = [int(result.params[SEVERITY]) for result in results]
    return "" if found == [1, 2, 3, 4, 5] else f" at {ranges(found)}"


def _noise(result: CorruptionResult, noises: Sequence[CorruptionResult]) -> str:
    kind = "std" if "std" in result.params else "amount"
    if kind not in result.params:
        return result.label
    title = f"{result.name} {format_eps(float(result.params[kind]))}"
    same = [one for one in noises if (one.name, one.params.get(kind)) == (result.name, result.params[kind])]
    return title if len(same) == 1 else result.label


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers in short, e.g. ``1-3, 5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def listed(results: Iterable[CorruptionResult]) -> str:
    """Return corruptions in one line: common ones with their severities, noises by label."""
    severities: dict[str, list[int]] = {}
    noises = []
    for result in results:
        if SEVERITY in result.params:
            severities.setdefault(result.name + _further(result), []).append(int(result.params[SEVERITY]))
        else:
            noises.append(result.label)
    return "; ".join([*(f"{name} at severity {ranges(own)}" for name, own in severities.items()), *noises])


def unpacked(task: str, kept: Outcomes) -> dict[str, tuple[RightOrWrong, ...]]:
    """Return the outcomes under each corruption by label, one per draw; empty if samples are graded (segmentation).

    Raises:
        UsageError: the packed outcomes are damaged.
    """
    measure, cluster = MEASURES[task], kept.cluster_size or 1
    if not issubclass(measure, RightOrWrong):
        return {}
    return {
        label: tuple(measure(unpack_bits(text, kept.samples), cluster=cluster) for text in draws)
        for label, draws in kept.corrupted_correct.items()
    }


def versions(outcomes: Draws, labels: Sequence[str]) -> int:
    """Return how many versions each sample has under these corruptions: the sum of their draws."""
    return sum(len(outcomes.get(label, ())) for label in labels)


def together(outcomes: Draws, labels: Sequence[str]) -> RightOrWrong:
    """Return one outcome of all draws of some corruptions: the versions of the first sample, then of the second, …"""
    draws = [draw for label in labels for draw in outcomes[label]]
    correct = np.stack([draw.correct for draw in draws], axis=1).reshape(-1)
    return replace(draws[0], correct=correct, cluster=len(draws) * draws[0].cluster)


def versus(first: RightOrWrong, second: RightOrWrong, batch_size: int | None, versions: int) -> Paired:
    """Compare two outcomes of `together` over as many `versions` of each sample.

    `lost`, `gained` and `n` count versions; `units` are samples, base images or, under batch statistics with batches of
    `batch_size` samples, whole batches. What is `flipped` are base images only if the data set consists of versions.
    """
    result = first.versus(second, None if batch_size is None else batch_size * versions)
    alone = math.lcm(first.cluster, second.cluster) == versions
    return replace(result, flipped=BATCHES) if alone else result


def worse(now: RightOrWrong, before: RightOrWrong, versions: int) -> NDArray[np.int64]:
    """Return the positions of the samples that got worse: with fewer of their `versions` right now than before."""
    return np.flatnonzero(batch_losses(before.correct, now.correct, versions) > 0)

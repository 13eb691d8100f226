"""The common corruptions of one variant, summarized over severities and corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from stein_bench.corruptions.names import SEVERITIES, STANDARD
from stein_bench.measures.mce import ALEXNET, ALEXNET_CLEAN, corruption_error, mce, relative_mce
from stein_bench.measures.outcome import Outcome
from stein_bench.report.document import Report
from stein_bench.report.results import (
    CommonCorruptions,
    CorruptionMean,
    MeanCorruptionError,
    VariantResult,
    headline,
    shown,
)

UNKNOWN = (0.0, 1.0)
"""The interval of a mean that is known from a single image."""

Cell = tuple[str, int]
"""A corruption and a severity."""


@dataclass(frozen=True)
class Baseline:
    """The errors of a baseline under common corruptions.

    Attributes:
        name: AlexNet, or model and variant of its report.
        run: id of its report; None for AlexNet.
        errors: its top-1 errors by corruption, in the order of the severities that they are for.
        clean: its error on the clean samples.
        samples, sha256: those that its report is on, for messages, and their hash; "" for AlexNet.
    """

    name: str
    run: str | None
    errors: Mapping[str, Mapping[int, float]]
    clean: float
    samples: str = ""
    sha256: str = ""


ALEXNET_BASELINE = Baseline(
    "AlexNet",
    None,
    {name: dict(zip(SEVERITIES, errors, strict=True)) for name, errors in ALEXNET.items()},
    ALEXNET_CLEAN,
)
"""AlexNet's published errors on ImageNet-C."""


def baseline_of(report: Report, variant: VariantResult) -> Baseline:
    """Return the errors of one variant of a report; without errors if it has no common corruptions."""
    found = variant.common_corruptions
    errors = {
        name: {severity: 1 - share for severity, share in zip(one.severities, one.accuracies, strict=True)}
        for name, one in (found.corruptions if found else {}).items()
    }
    name = f"{report.model.name}, {variant.bn}/{variant.stats}"
    clean = variant.clean
    accuracy = shown(headline(clean.accuracy, clean.ci95, clean.metrics), clean.expected_accuracy).value
    data = report.data
    return Baseline(
        name, report.run.id, errors, 1 - (accuracy or 0.0), f"{data.samples} samples of {data.name}", data.sha256
    )


def cells_of_groups(clean: Outcome, cells: Sequence[str] | None) -> dict[Cell, list[Outcome]]:
    """Return the outcomes of a corrupted test set by corruption and severity; empty for other data.

    Args:
        clean: the outcome of all samples, base image by base image.
        cells: names of the cells, such as ``fog/3``; sample i is in cell i modulo their number. Base images whose cells
            are not all there (the last one may be cut off) are left out.
    """
    whole = len(clean) // len(cells) if cells else 0
    found: dict[Cell, list[Outcome]] = {}
    for place, name in enumerate(cells or ()):
        corruption, _, severity = name.rpartition("/")
        if whole and severity.isdigit():
            found[corruption, int(severity)] = [clean.select(np.arange(whole) * len(cells or ()) + place)]
    return found


def summarize(
    cells: Mapping[Cell, Sequence[Outcome]], clean: float | None, baseline: Baseline | None
) -> CommonCorruptions | None:
    """Return the summary of the outcomes of the same samples under every corruption at every severity.

    Args:
        cells: the outcomes of each draw: one, several of a random model.
        clean: the accuracy on the clean samples, for segmentation the mIoU; None if they were not evaluated.
        baseline: what mCE is relative to; None for no mCE.

    Returns:
        means of accuracies, for segmentation of the mIoU; None without outcomes.
    """
    if not cells:
        return None
    measure = type(next(iter(cells.values()))[0])
    corruptions = {}
    for name in dict.fromkeys(name for name, _ in cells):
        own = {severity: cells[name, severity] for other, severity in sorted(cells) if other == name}
        mean = measure.mean_headline([outcome for draws in own.values() for outcome in draws])
        found = [measure.mean_headline(draws).value for draws in own.values()]
        shares = [share for share in found if share is not None]
        if mean.value is None or len(shares) < len(found):
            return None
        base = None if baseline is None else _errors(baseline, name, list(own))
        corruptions[name] = CorruptionMean(
            severities=list(own), accuracies=shares, accuracy=mean.value, ci95=mean.ci95 or UNKNOWN,
            corruption_error=None if base is None else corruption_error([1 - share for share in shares], base),
        )  # fmt: skip
    mean = measure.mean_headline([outcome for draws in cells.values() for outcome in draws])
    if mean.value is None:
        return None
    return CommonCorruptions(
        corruptions=corruptions,
        accuracy=mean.value,
        ci95=mean.ci95 or UNKNOWN,
        standard=set(cells) == set(product(STANDARD, SEVERITIES)),
        mce=None if baseline is None else _mce(corruptions, clean, baseline),
    )


def _errors(baseline: Baseline, name: str, severities: Sequence[int]) -> list[float] | None:
    found = [baseline.errors.get(name, {}).get(severity) for severity in severities]
    return [error for error in found if error is not None] if None not in found else None


def _mce(
    corruptions: Mapping[str, CorruptionMean], clean: float | None, baseline: Baseline
) -> MeanCorruptionError | None:
    errors = {name: [1 - share for share in one.accuracies] for name, one in corruptions.items()}
    base = {name: _errors(baseline, name, one.severities) for name, one in corruptions.items()}
    known = {name: found for name, found in base.items() if found is not None}
    if known.keys() != errors.keys():
        return None
    return MeanCorruptionError(
        baseline=baseline.name,
        baseline_run=baseline.run,
        mce=mce(errors, known),
        relative_mce=None if clean is None else relative_mce(errors, 1 - clean, known, baseline.clean),
    )

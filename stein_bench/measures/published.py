"""The Cityscapes metrics of the published code (arXiv 2507.08261): its names for them, and the standard ones."""

from __future__ import annotations

from stein_bench.measures.segmentation import Segmented
from stein_bench.report.results import Figure, Metrics, VariantResult
from stein_bench.statistics.class_counts import METRICS, ClassCounts, metrics, published_js

PUBLISHED_METRICS = {
    "published_js": "its 'js': not mIoU, but the micro-averaged Jaccard index of a batch, void pixels counted as "
    "wrong, averaged over batches",
    "published_precision": "its 'Precision': the recall",
    "published_sensitivity": "its 'Sensitivity': the precision",
    "published_f1": "its F1: the harmonic mean of the macro-averaged precision and recall, not the mean of the "
    "classes' F1",
}
"""The meaning of each published metric."""


def published_metrics(counts: ClassCounts, pixels: int, batch_size: int) -> dict[str, Figure]:
    """Return the `PUBLISHED_METRICS` of images in evaluation order, without intervals.

    Args:
        counts: of the images, void pixels excluded.
        pixels: per image, void ones included.
        batch_size: images per batch.
    """
    found = dict(zip(METRICS, metrics(counts.total()).tolist(), strict=True))
    precision, recall = found["precision"], found["recall"]
    values = {
        "published_js": published_js(counts.intersection.sum(axis=1), pixels, batch_size),
        "published_precision": recall,
        "published_sensitivity": precision,
        "published_f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }
    return {name: Figure(value=value, ci95=None) for name, value in values.items()}


def with_published_metrics(result: VariantResult, pixels: int, batch_size: int) -> VariantResult:
    """Return the segmentation results of a variant with the published metrics added.

    They are added to the clean results and to every attack. Under attack they are those of the worse of the clean and
    the adversarial image, like all figures here.
    """
    clean, robust = Segmented.unpacked(result.outcomes)

    def added(own: Metrics, outcome: Segmented) -> dict[str, Figure]:
        return {**(own or {}), **published_metrics(outcome.counts, pixels, batch_size)}

    attacks = [
        attack.model_copy(update={"metrics": added(attack.metrics, robust[attack.label])})
        if attack.label in robust
        else attack
        for attack in result.attacks
    ]
    shown = result.clean.model_copy(update={"metrics": added(result.clean.metrics, clean)})
    return result.model_copy(update={"clean": shown, "attacks": attacks})

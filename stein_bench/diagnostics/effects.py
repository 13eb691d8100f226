"""Effects of the estimator and of the statistics source, and their interaction: paired, on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stein_bench.measures import MEASURES, Outcome
from stein_bench.report.results import Effect, VariantResult
from stein_bench.statistics.paired_tests import LEAST_BATCHES, Paired, flip_test


def with_effects(variants: Sequence[VariantResult], batch_size: int, task: str) -> list[VariantResult]:
    """Return the variants; the first of each changed BN gets its effects if all four of its cells are present.

    Comparisons under running statistics treat samples as independent (exact McNemar) or, if several are versions of a
    base image, flip whole base images; all others flip whole batches of `batch_size`, or blocks that split neither.
    Tests that flip fewer than ten of them are omitted.
    """
    cells = {(variant.bn, variant.stats): variant for variant in variants}
    found, seen = [], set()
    for variant in variants:
        corners = [cells.get((bn, stats)) for bn in ("sample", variant.bn) for stats in ("running", "batch")]
        complete = [corner for corner in corners if corner is not None]
        if variant.bn == "sample" or variant.bn in seen or len(complete) < len(corners):
            found.append(variant)
            continue
        seen.add(variant.bn)
        found.append(variant.model_copy(update={"effects": list(_effects(complete, batch_size, task))}))
    return found


def _effects(corners: Sequence[VariantResult], batch_size: int, task: str) -> Iterator[Effect]:
    """Yield the five effects of every outcome that all four corners have.

    The corners are plain BN and the variant, each under running and under batch statistics.
    """
    outcomes = [_outcomes(corner, task) for corner in corners]
    for outcome in outcomes[0]:
        if all(outcome in other for other in outcomes):
            plain_running, plain_batch, own_running, own_batch = (other[outcome] for other in outcomes)
            yield _effect(outcome, "estimator-running", plain_running.versus(own_running))
            yield _effect(outcome, "estimator-batch", plain_batch.versus(own_batch, batch_size))
            yield _effect(outcome, "source-sample", plain_running.versus(plain_batch, batch_size))
            yield _effect(outcome, "source-variant", own_running.versus(own_batch, batch_size))
            yield _interaction(outcome, plain_running, plain_batch, own_running, own_batch, batch_size)


def _outcomes(variant: VariantResult, task: str) -> dict[str, Outcome]:
    """Return the outcomes of the samples: clean, under each attack, and in the worst case."""
    clean, attacks = MEASURES[task].unpacked(variant.outcomes)
    found = {"clean": clean, **attacks}
    if len(attacks) > 1 and variant.worst_case_accuracy is not None:
        found["worst-case"] = type(clean).worst_case(list(attacks.values()))
    return found


def _effect(outcome: str, name: str, result: Paired) -> Effect:
    fields = {"outcome": outcome, "name": name, "difference": result.difference}
    return Effect.model_validate({**fields, "ci95": result.interval, "p": result.p})


def _interaction(
    outcome: str,
    plain_running: Outcome,
    plain_batch: Outcome,
    own_running: Outcome,
    own_batch: Outcome,
    batch_size: int,
) -> Effect:
    # Per batch: how much more the estimator helps under batch than under running statistics.
    under_batch, under_running = (
        own.batch_gains(plain, batch_size) for own, plain in ((own_batch, plain_batch), (own_running, plain_running))
    )
    if under_batch is None or under_running is None:
        # mIoU is not a sum over batches, and no exchange of images leaves both estimators' effects unchanged.
        values = [one.value() for one in (own_batch, plain_batch, own_running, plain_running)]
        difference = values[0] - values[1] - (values[2] - values[3])
        return Effect(outcome=outcome, name="interaction", difference=difference, ci95=None, p=None)
    gains, p = under_batch - under_running, None
    if gains.size >= LEAST_BATCHES:
        p = min(1.0, 2 * min(flip_test(gains), flip_test(-gains)))
    difference = float(np.sum(gains)) / len(plain_running)
    return Effect(outcome=outcome, name="interaction", difference=difference, ci95=None, p=p)

"""What an estimator does, what the statistics source does, and how the two interact: paired, on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stein_bench.metrics import Bits, worst_case
from stein_bench.outcomes import unpack_bits
from stein_bench.paired import LEAST_BATCHES, Paired, batch_losses, flip_test, paired
from stein_bench.results import Effect, VariantResult


def with_effects(variants: Sequence[VariantResult], batch_size: int) -> list[VariantResult]:
    """Return the variants, the first of each changed BN with its effects where all four of its cells are there.

    Comparisons under running statistics take samples as independent (exact McNemar); all others flip whole batches
    of `batch_size`, and their tests are left out below ten of them.
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
        found.append(variant.model_copy(update={"effects": list(_effects(complete, batch_size))}))
    return found


def _effects(corners: Sequence[VariantResult], batch_size: int) -> Iterator[Effect]:
    """Yield the five effects of every outcome that all four corners have.

    The corners are plain BN and the variant, each under running and under batch statistics.
    """
    outcomes = [_outcomes(corner) for corner in corners]
    for outcome in outcomes[0]:
        if all(outcome in other for other in outcomes):
            plain_running, plain_batch, own_running, own_batch = (other[outcome] for other in outcomes)
            yield _effect(outcome, "estimator-running", paired(plain_running, own_running))
            yield _effect(outcome, "estimator-batch", paired(plain_batch, own_batch, batch_size))
            yield _effect(outcome, "source-sample", paired(plain_running, plain_batch, batch_size))
            yield _effect(outcome, "source-variant", paired(own_running, own_batch, batch_size))
            yield _interaction(outcome, plain_running, plain_batch, own_running, own_batch, batch_size)


def _outcomes(variant: VariantResult) -> dict[str, Bits]:
    """Return which samples are right: clean, under each attack, and under all of them."""
    kept = variant.outcomes
    attacks = {label: unpack_bits(bits, kept.samples) for label, bits in kept.robust.items()}
    found = {"clean": unpack_bits(kept.clean_correct, kept.samples), **attacks}
    if len(attacks) > 1 and variant.worst_case_accuracy is not None:
        found["worst-case"] = worst_case(list(attacks.values()))
    return found


def _effect(outcome: str, name: str, result: Paired) -> Effect:
    fields = {"outcome": outcome, "name": name, "difference": result.counts.difference}
    return Effect.model_validate({**fields, "ci95": result.interval, "p": result.p})


def _interaction(
    outcome: str, plain_running: Bits, plain_batch: Bits, own_running: Bits, own_batch: Bits, batch_size: int
) -> Effect:
    # Per batch: by how much more the estimator helps under batch than under running statistics.
    gains = batch_losses(own_batch, plain_batch, batch_size) - batch_losses(own_running, plain_running, batch_size)
    p = None
    if gains.size >= LEAST_BATCHES:
        p = min(1.0, 2 * min(flip_test(gains), flip_test(-gains)))
    difference = float(np.sum(gains)) / plain_running.size
    return Effect(outcome=outcome, name="interaction", difference=difference, ci95=None, p=p)

"""Outcomes of segmented images: what counts under attack, the worst case, comparisons, packing."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.errors import RunError, UsageError
from stein_bench.measures import MEASURES, Segmented
from stein_bench.report.packing import hash_ids
from stein_bench.report.results import Outcomes
from stein_bench.statistics.class_counts import ClassCounts, image_miou, miou
from stein_bench.statistics.paired_tests import LEAST_BATCHES

PIXELS = 20


def outcome(*right, classes=2):
    """Images half of one class, half of the other, with that many pixels right in each; the others change places."""
    right = np.array(right, np.int64)[:, None] // 2
    half = np.full((len(right), 2), PIXELS // 2)
    counts = ClassCounts(np.broadcast_to(right, half.shape).copy(), half.copy(), half.copy())
    return Segmented(counts.widened(classes))


def right_pixels(one):
    return one.counts.intersection.sum(axis=1).tolist()


def kept(clean, robust, corrupted=None):
    return Outcomes(
        samples=len(clean),
        sample_ids_sha256=hash_ids([str(i) for i in range(len(clean))]),
        **Segmented.packed(clean, robust, corrupted or {}),
    )


def test_under_attack_an_image_is_the_worse_one_and_an_input_that_does_not_count_the_clean_one():
    clean, adversarial = outcome(16, 16, 10), outcome(4, 4, 18)
    left = clean.under_attack(adversarial, np.array([False, True, False]))
    assert right_pixels(left) == [4, 16, 10]
    assert left.worse_than(clean).tolist() == [True, False, False]
    assert clean.success_rate(left) is None


def test_the_worst_case_is_the_lowest_miou_image_by_image():
    worst = Segmented.worst_case([outcome(4, 16, 10), outcome(8, 2, 10), outcome(6, 6, 6)])
    assert right_pixels(worst) == [4, 2, 6]


def test_the_accuracy_is_of_all_labeled_pixels_and_the_headline_the_miou():
    one = outcome(20, 10, 6)
    rate = one.accuracy()
    assert (rate.value, rate.n) == (pytest.approx(36 / 60), 60)
    assert rate.low <= rate.value <= rate.high
    assert one.headline().value == one.value() == pytest.approx(float(miou(one.counts.total())))
    assert one.metrics()["pixel_accuracy"].value == pytest.approx(36 / 60)


def test_one_image_has_no_interval_and_no_labeled_pixel_is_a_failed_run():
    assert outcome(10).headline().ci95 is None
    assert (outcome(10).accuracy().low, outcome(10).accuracy().high) == (0, 1)
    nothing = Segmented(ClassCounts(*(np.zeros((2, 3), np.int64) for _ in range(3))))
    with pytest.raises(RunError, match="has a labeled pixel"):
        nothing.accuracy()


def test_the_mean_over_draws_is_that_of_their_metrics():
    draws = [outcome(20, 10, 6), outcome(10, 10, 10)]
    assert Segmented.mean_accuracy(draws).value == pytest.approx((36 + 30) / 120)
    assert Segmented.mean_metrics(draws)["miou"].value == pytest.approx(np.mean([one.value() for one in draws]))


def test_a_verdict_is_another_one_where_the_miou_moves_by_more_than_a_hundredth():
    one = outcome(20, 10, 10)
    more = one.counts.intersection + np.array([[0, 0], [0, 1], [0, 0]])
    near = ClassCounts(more, one.counts.prediction, one.counts.target)
    moved = Segmented(near).differs(one)
    assert moved.tolist() == (np.abs(image_miou(near) - image_miou(one.counts)) > 0.01).tolist() == [False, True, False]


def test_a_comparison_counts_images_and_is_left_out_below_ten_batches():
    first, second = outcome(16, 16, 10, 10), outcome(4, 16, 12, 6)
    result = first.versus(second)
    assert (result.lost, result.gained, result.n, result.units, result.graded) == (2, 1, 4, 4, True)
    assert result.difference == pytest.approx(second.value() - first.value())
    assert result.p_drop is not None
    assert result.p_drop < result.p_gain
    assert first.versus(second, 2).p is None
    many = [outcome(*[20, 0] * LEAST_BATCHES), outcome(*[18, 0] * LEAST_BATCHES)]
    assert many[0].versus(many[1], 2).p_drop == pytest.approx(1 / 2**LEAST_BATCHES)


def test_outcomes_come_back_from_a_report_under_their_class_indices():
    clean, robust = outcome(16, 10, classes=7), {"pgd": outcome(4, 10, classes=7)}
    packed = kept(clean, robust, {"noise": [outcome(2, 2, classes=7)]})
    assert packed.class_counts.classes == [0, 1]
    found, attacked = Segmented.unpacked(packed)
    assert right_pixels(found) == [16, 10]
    assert right_pixels(attacked["pgd"]) == [4, 10]
    shifted = Segmented(ClassCounts(*(np.roll(part, 3, axis=1) for part in vars(clean.counts).values())))
    back, _ = Segmented.unpacked(kept(shifted, {}))
    assert back.counts.target.tolist() == shifted.counts.target[:, :5].tolist()
    assert back.versus(found).lost == 0  # other classes, as good
    assert len(kept(clean, {}).class_counts.target) == 4 * -(-4 * 2 * 2 // 3)


def test_a_damaged_report_is_called_so():
    packed = kept(outcome(4, 6), {})
    without = packed.model_copy(update={"class_counts": None})
    with pytest.raises(UsageError, match="no counts per class; the report is damaged"):
        Segmented.unpacked(without)
    cut = packed.class_counts.model_copy(update={"target": "AAAA"})
    with pytest.raises(UsageError, match=r"hold|not base64"):
        Segmented.unpacked(packed.model_copy(update={"class_counts": cut}))


def test_every_task_has_its_measure():
    from stein_bench.tasks import TASKS

    assert MEASURES.keys() == TASKS.keys()
    assert MEASURES["segmentation"] is Segmented

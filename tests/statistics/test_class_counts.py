"""Segmentation metrics from counts: against scikit-learn, against enumeration, and what their intervals promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from stein_bench.statistics.class_counts import (
    METRICS,
    PERMUTATIONS,
    ClassCounts,
    aligned,
    difference_interval,
    image_miou,
    intervals,
    least_p,
    metrics,
    miou,
    permutation_test,
    published_js,
    where,
)
from stein_bench.tasks import IGNORE, TASKS

TASK = TASKS["segmentation"]


def counted(predicted, labels, classes):
    """Count maps as evaluation does: from logits that are highest at the predicted class."""
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), classes).movedim(-1, 1).float()
    columns = TASK.outcomes(logits, torch.from_numpy(labels))
    parts = (columns[name].numpy().astype(np.int64) for name in ("intersection", "prediction", "target"))
    return ClassCounts(*parts)


def maps(rng, images=4, classes=6, used=4, void=0.3):
    """Random maps in which some classes never occur, and void pixels anywhere."""
    labels = rng.integers(0, used, (images, 5, 7))
    predicted = np.where(rng.random(labels.shape) < 0.5, labels, rng.integers(0, used + 1, labels.shape))
    return predicted, np.where(rng.random(labels.shape) < void, IGNORE, labels), classes


def random_counts(seed, images=6, classes=3, quality=0.6):
    rng = np.random.default_rng(seed)
    target = rng.integers(5, 50, (images, classes))
    intersection = rng.binomial(target, quality)
    moved = target - intersection
    return ClassCounts(intersection, intersection + np.roll(moved, 1, axis=1), target)


@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0, 0.9))
@settings(max_examples=40, deadline=None)
def test_metrics_are_scikit_learns_over_all_labeled_pixels(seed, used, void):
    predicted, labels, classes = maps(np.random.default_rng(seed), used=used, void=void)
    valid = labels != IGNORE
    if not valid.any():
        return
    truth, guess = labels[valid], predicted[valid]
    present = sorted(set(truth) | set(guess))
    macro = {"labels": present, "average": "macro", "zero_division": 0}
    expected = {
        "miou": jaccard_score(truth, guess, **macro),
        "pixel_accuracy": accuracy_score(truth, guess),
        "precision": precision_score(truth, guess, **macro),
        "recall": recall_score(truth, guess, **macro),
        "f1": f1_score(truth, guess, **macro),
        "jaccard": jaccard_score(truth, guess, average="micro"),
    }
    found = dict(zip(METRICS, metrics(counted(predicted, labels, classes).total()), strict=True))
    assert found == pytest.approx(expected, abs=1e-12)


def test_an_image_by_itself_is_measured_over_its_own_classes():
    predicted, labels, classes = maps(np.random.default_rng(5))
    counts = counted(predicted, labels, classes)
    for image, found in enumerate(image_miou(counts)):
        valid = labels[image] != IGNORE
        truth, guess = labels[image][valid], predicted[image][valid]
        present = sorted(set(truth) | set(guess))
        assert found == pytest.approx(jaccard_score(truth, guess, labels=present, average="macro", zero_division=0))
    assert TASK.quality(logits_of(predicted, classes), torch.from_numpy(labels)).numpy() == pytest.approx(
        image_miou(counts)
    )


def logits_of(predicted, classes):
    return torch.nn.functional.one_hot(torch.from_numpy(predicted), classes).movedim(-1, 1).float()


def test_an_image_of_void_alone_is_worth_nothing_and_worse_than_none():
    labels = np.full((2, 3, 3), IGNORE)
    labels[1] = 1
    counts = counted(np.ones((2, 3, 3), np.int64), labels, 3)
    assert np.isnan(image_miou(counts)[0])
    assert TASK.quality(logits_of(np.ones((2, 3, 3), np.int64), 3), torch.from_numpy(labels)).tolist() == [0, 1]
    assert miou(counts.total()) == 1
    assert TASK.loss(torch.zeros(2, 3, 3, 3), torch.from_numpy(labels)).tolist() == pytest.approx([0, np.log(3)])


def test_void_pixels_have_no_loss_and_no_gradient():
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    labels = torch.randint(0, 4, (1, 3, 3))
    labels[0, 0] = IGNORE
    TASK.loss(logits, labels).sum().backward()
    assert (logits.grad[:, :, 0] == 0).all()
    assert (logits.grad[:, :, 1:] != 0).all()
    valid = torch.nn.functional.cross_entropy(logits[:, :, 1:], labels[:, 1:])
    assert TASK.loss(logits, labels).item() == pytest.approx(valid.item())


def test_outputs_that_are_not_finite_are_as_wrong_as_can_be():
    labels = torch.zeros(2, 2, 2, dtype=torch.long)
    logits = torch.zeros(2, 3, 2, 2)
    logits[0, 0] = torch.nan
    columns = TASK.outcomes(logits, labels)
    assert columns["intersection"].tolist() == [[0, 0, 0], [4, 0, 0]]
    assert columns["prediction"][0].sum() == 0
    assert columns["target"].tolist() == [[4, 0, 0], [4, 0, 0]]


def test_all_exchanges_are_tried_where_there_are_few():
    first, second = random_counts(0, quality=0.8), random_counts(0, quality=0.6)
    differences = []
    for pattern in itertools.product([False, True], repeat=len(first)):
        swapped = np.array(pattern)
        one, other = where(swapped, second, first), where(swapped, first, second)
        differences.append(miou(other.total()) - miou(one.total()))
    observed = differences[0]
    expected = (
        np.mean([d <= observed + 1e-12 for d in differences]),
        np.mean([d >= observed - 1e-12 for d in differences]),
    )
    assert permutation_test(first, second) == pytest.approx(expected)
    assert permutation_test(second, first) == pytest.approx(expected[::-1])


def test_many_images_are_exchanged_at_random_and_a_clear_difference_is_found():
    first, second = random_counts(1, images=40, quality=0.8), random_counts(1, images=40, quality=0.6)
    drop, gain = permutation_test(first, second)
    assert drop == 1 / (PERMUTATIONS + 1) == least_p(40)
    assert gain == 1
    assert permutation_test(first, first) == (1, 1)


def test_whole_batches_are_exchanged_where_they_couple_their_images():
    first, second = random_counts(2, images=12, quality=0.8), random_counts(2, images=12, quality=0.6)
    assert permutation_test(first, second, unit=4)[0] == 1 / 2**3


@pytest.mark.slow
def test_the_exchange_test_errs_as_seldom_as_it_promises():
    rng = np.random.default_rng(0)
    errors = 0
    for seed in range(300):
        one, other = random_counts(2 * seed, images=9), random_counts(2 * seed + 1, images=9)
        swapped = rng.random(9) < 0.5
        errors += permutation_test(where(swapped, one, other), where(swapped, other, one))[0] <= 0.05
    assert errors / 300 < 0.08


def test_intervals_are_over_images_not_over_pixels():
    counts = random_counts(3, images=30)
    found = intervals([counts])
    value = metrics(counts.total())
    assert (found[:, 0] < value).all()
    assert (value < found[:, 1]).all()
    larger = ClassCounts(counts.intersection * 100, counts.prediction * 100, counts.target * 100)
    assert intervals([larger]) == pytest.approx(found)  # more pixels of the same images say nothing more
    assert intervals([counts, counts]) == pytest.approx(found)  # and so do equal draws
    assert intervals([counts.select(np.array([0]))]) is None


def test_two_images_have_an_interval_and_one_has_none():
    two = ClassCounts(*(np.array([[3, 1], [1, 2]]) for _ in range(3)))
    assert intervals([two]) is not None
    assert intervals([two.select(np.array([0]))]) is None
    assert difference_interval(two, two) == (0, 0)
    assert difference_interval(*[two.select(np.array([0]))] * 2) == (-1, 1)


@pytest.mark.parametrize("images", [1, 5])
def test_aligned_counts_have_the_classes_of_the_wider_whatever_the_number_of_images(images):
    wide, narrow = (ClassCounts(*[np.ones((images, classes), np.int64)] * 3) for classes in (3, 2))
    for pair in (aligned(wide, narrow), aligned(narrow, wide)):
        assert [counts.target.shape for counts in pair] == [(images, 3)] * 2


def test_the_bootstrap_agrees_with_a_plain_one():
    counts = random_counts(4, images=25)
    rng = np.random.default_rng(1)
    found = [metrics(counts.select(rng.integers(0, 25, 25)).total()) for _ in range(4000)]
    assert intervals([counts]) == pytest.approx(np.quantile(found, [0.025, 0.975], axis=0).T, abs=0.004)


def test_the_difference_of_equals_is_nothing_and_pairing_narrows_it():
    first, second = random_counts(5, images=30, quality=0.7), random_counts(5, images=30, quality=0.5)
    assert difference_interval(first, first) == (0, 0)
    low, high = difference_interval(first, second)
    assert low < miou(second.total()) - miou(first.total()) < high < 0
    assert difference_interval(first.select(np.array([0])), second.select(np.array([0]))) == (-1, 1)


def test_the_published_js_counts_void_and_averages_batches():
    right, pixels = np.array([10, 20, 30]), 40
    expected = np.mean([30 / (160 - 30), 30 / (80 - 30)])
    assert published_js(right, pixels, 2) == pytest.approx(expected)
    labels = np.array([[0, 1, IGNORE, 2]])
    predicted = np.array([[0, 1, 2, 1]])
    void_as_class = jaccard_score(labels[0], predicted[0], average="micro")
    assert published_js(np.array([2]), 4, 1) == pytest.approx(void_as_class)


def test_a_class_that_only_one_of_two_knows_is_no_obstacle():
    first, second = random_counts(6), random_counts(7)
    wider = second.widened(5)
    assert permutation_test(first, wider) == permutation_test(first, second)
    assert difference_interval(first, wider) == difference_interval(first, second)
    assert metrics(wider.total()) == pytest.approx(metrics(second.total()))

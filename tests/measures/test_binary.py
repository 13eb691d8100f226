"""Two classes and one logit: the loss, the verdicts, and metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from stein_bench.errors import UsageError
from stein_bench.measures import MEASURES
from stein_bench.measures.sites import site_results
from stein_bench.statistics.rates import wilson
from stein_bench.tasks import TASKS, single_logit, two_logits

TASK, MEASURE = TASKS["binary"], MEASURES["binary"]
RNG = np.random.default_rng(5)
LABELS = torch.tensor(RNG.integers(0, 2, 80))
LOGITS = torch.tensor(RNG.normal(size=80)) + LABELS - 0.4


def outcome(logits, labels=LABELS):
    return MEASURE.from_columns({name: c.numpy() for name, c in TASK.outcomes(logits, labels).items()})


@pytest.mark.parametrize("form", [lambda z: z, lambda z: z[:, None], lambda z: torch.stack((1 - z, 1 + z), 1) / 2])
def test_the_loss_is_the_cross_entropy_of_either_form(form):
    """One logit z, or two whose difference is z: the binary cross-entropy of z, and that of the two-column view."""
    logits = form(LOGITS)
    expected = -torch.where(LABELS == 1, torch.sigmoid(LOGITS).log(), torch.sigmoid(-LOGITS).log())
    assert torch.allclose(TASK.loss(logits, LABELS), expected)
    assert torch.allclose(F.cross_entropy(two_logits(logits), LABELS, reduction="none"), expected)
    assert torch.equal(TASK.correct(logits, LABELS), two_logits(logits).argmax(1) == LABELS)
    assert torch.allclose(single_logit(logits), LOGITS)
    assert torch.equal(TASK.quality(logits, LABELS), TASK.correct(logits, LABELS).float())


def test_a_logit_of_zero_is_class_0_in_both_views():
    zero, labels = torch.zeros(2), torch.tensor([0, 1])
    assert TASK.correct(zero, labels).tolist() == [True, False]
    assert (two_logits(zero).argmax(1) == labels).tolist() == [True, False]


def test_metrics_are_those_of_an_independent_implementation():
    found, predicted, labels = outcome(LOGITS), (LOGITS > 0).numpy(), LABELS.numpy()
    metrics = found.metrics()
    assert found.accuracy().value == pytest.approx(accuracy_score(labels, predicted))
    assert metrics["auc"].value == pytest.approx(roc_auc_score(labels, LOGITS.numpy()))
    assert metrics["sensitivity"].value == pytest.approx(recall_score(labels, predicted))
    assert metrics["specificity"].value == pytest.approx(recall_score(labels, predicted, pos_label=0))
    positives = int(labels.sum())
    rate = wilson(int(predicted[labels == 1].sum()), positives)
    assert metrics["sensitivity"].ci95 == (rate.low, rate.high)


def test_outputs_that_are_not_finite_are_wrong_and_ranked_last():
    labels = torch.tensor([1, 0, 1, 0])
    found = outcome(torch.tensor([torch.nan, torch.inf, 1.0, -1.0]), labels)
    assert found.correct.tolist() == [False, False, True, True]
    assert found.score.tolist() == [-np.inf, np.inf, 1, -1]
    assert found.metrics()["auc"].value == pytest.approx(roc_auc_score(labels, [-9, 9, 1, -1]))


def test_under_attack_each_sample_has_the_worse_of_two_scores_unless_the_input_is_void():
    labels = torch.tensor([1, 1, 0, 0, 1])
    clean, adversarial = torch.tensor([2.0, 2, -2, -2, -1]), torch.tensor([-1.0, -1, 1, -3, 4])
    void = np.array([False, True, False, False, False])
    found = outcome(clean, labels).under_attack(outcome(adversarial, labels), void)
    assert found.score.tolist() == [-1, 2, 1, -2, -1]
    assert found.correct.tolist() == [False, True, False, True, False]
    assert ((found.score > 0) == (labels.numpy() == 1)).tolist() == found.correct.tolist()


def test_the_worst_case_is_that_of_every_sample():
    first, second = outcome(LOGITS), outcome(LOGITS.flip(0).roll(3))
    worst = MEASURE.worst_case([first, second])
    assert np.array_equal(worst.correct, first.correct & second.correct)
    sign = np.where(LABELS == 1, 1, -1)
    assert np.array_equal(worst.score * sign, np.minimum(first.score * sign, second.score * sign))


def test_what_a_report_keeps_are_the_bits_of_a_classification():
    found = outcome(LOGITS)
    packed = MEASURE.packed(found, {"pgd": found}, {})
    bits = MEASURES["classification"].from_columns({"correct": found.correct})
    assert packed == MEASURES["classification"].packed(bits, {"pgd": bits}, {})
    assert MEASURE(found.correct).metrics() == {}


def test_a_class_without_samples_has_no_figure():
    metrics = outcome(torch.tensor([1.0, -1.0]), torch.tensor([1, 1])).metrics()
    assert (metrics["auc"].value, metrics["specificity"].value, metrics["sensitivity"].value) == (None, None, 0.5)


def test_the_mean_over_draws_has_the_interval_of_the_samples():
    draws = [outcome(LOGITS), outcome(LOGITS - 1), outcome(LOGITS + 1)]
    mean = MEASURE.mean_metrics(draws)
    for name in ("auc", "sensitivity", "specificity"):
        assert mean[name].value == pytest.approx(np.mean([draw.metrics()[name].value for draw in draws]))
    assert mean["sensitivity"].ci95 == pytest.approx(
        (rate := wilson(mean["sensitivity"].value * int(LABELS.sum()), int(LABELS.sum()))) and (rate.low, rate.high)
    )


def test_figures_by_site_are_those_of_its_samples():
    sites = ["Oslo" if index % 3 else "Bergen" for index in range(80)]
    found = site_results([outcome(LOGITS)], sites)
    assert list(found) == ["Bergen", "Oslo"]
    for name, result in found.items():
        chosen = torch.tensor([site == name for site in sites])
        alone = outcome(LOGITS[chosen], LABELS[chosen])
        assert result.samples == int(chosen.sum())
        assert result.accuracy == alone.accuracy().value
        assert result.metrics == alone.metrics()
    draws = [outcome(LOGITS), outcome(-LOGITS)]
    assert {result.accuracy for result in site_results(draws, sites).values()} == {0.5}
    assert site_results(draws, None) is None


def test_figures_by_site_are_those_of_any_task():
    bits = MEASURES["classification"](np.array([True, False, True]))
    found = site_results([bits], ["a", "a", "b"])
    assert [(result.accuracy, result.metrics) for result in found.values()] == [(0.5, None), (1.0, None)]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_one_logit_or_two_per_sample_fit(shape):
    assert TASK.check(torch.zeros(shape), 3, 2) == 2


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        (
            (3, 3),
            2,
            r"returns shape \(3, 3\) for 3 samples of two classes; expected one logit each, \(3,\) or \(3, 1\)",
        ),
        ((2, 1), 2, r"returns shape \(2, 1\) for 3 samples"),
        ((3, 1), 3, r"^the model has two classes, but the data has labels up to 2\.$"),
    ],
)
def test_other_outputs_or_labels_do_not(shape, classes, message):
    with pytest.raises(UsageError, match=message):
        TASK.check(torch.zeros(shape), 3, classes)

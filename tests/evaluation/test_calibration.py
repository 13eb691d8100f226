"""Confidence and calibration in whole runs: of which inputs, of which models, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import stein_bench
from stein_bench.attacks.noise import corrupt
from stein_bench.evaluation.measured import confidence, measured
from stein_bench.tasks import TASKS
from tests.api.brightest import brightest, network

IMAGES, LABELS = brightest()
pytestmark = pytest.mark.usefixtures("unchecked")


def evaluated(model=None, attacks="fgsm", data=(IMAGES, LABELS), **options):
    model = network() if model is None else model
    return stein_bench.evaluate(model, data, attacks, progress=False, **{"eps": 4 / 255, **options}).variants[0]


def by_hand(logits, labels=LABELS, bins=15):
    """The figures from logits, with softmax and bins of their own."""
    exponentials = np.exp(logits.detach().double().numpy())
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    predicted, p = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels.numpy()
    ece = 0.0
    for low in np.arange(bins) / bins:
        inside = (p > low) & (p <= low + 1 / bins)
        ece += abs(right[inside].sum() - p[inside].sum()) / len(p)
    wrong = None if right.all() else pytest.approx(p[~right].mean(), abs=2e-6)
    return {
        "predictions": len(p), "accuracy": pytest.approx(right.mean()),
        "confidence": pytest.approx(p.mean(), abs=2e-6), "confidence_when_wrong": wrong,
        "overconfidence": pytest.approx(p.mean() - right.mean(), abs=2e-6), "ece": pytest.approx(ece, abs=2e-6),
    }  # fmt: skip


def figures(found):
    return {name: value for name, value in found.model_dump().items() if name != "ece_if_calibrated"}


def darker(model, inputs, labels):
    """An attack that does not look at the model: the label's channel gets darker, for every sample."""
    moved = inputs.clone()
    moved[torch.arange(len(labels)), labels] -= 4 / 255
    return moved.clamp(0, 1)


def brighter(model, inputs, labels):
    """The opposite, which makes wrong samples right."""
    return (2 * inputs - darker(model, inputs, labels)).clamp(0, 1)


@pytest.mark.parametrize("attack", [darker, brighter])
def test_it_is_of_the_clean_and_of_the_adversarial_inputs(attack):
    model, mislabeled = network().eval(), torch.where(torch.arange(60) < 6, (LABELS + 1) % 3, LABELS)
    variant = evaluated(attacks=attack, data=(IMAGES, mislabeled))
    assert figures(variant.clean.calibration) == by_hand(model(IMAGES), mislabeled)
    (attacked,) = variant.attacks
    adversarial = model(attack(model, IMAGES, mislabeled))
    assert figures(attacked.calibration) == by_hand(adversarial, mislabeled)
    if attack is brighter:  # robust would be: right on the clean input too
        assert attacked.calibration.accuracy > attacked.robust_accuracy


def test_void_adversarial_inputs_count_with_the_clean_one():
    def far(model, inputs, labels):
        return 1 - inputs

    variant = evaluated(attacks=far)
    assert variant.attacks[0].over_budget == 60
    assert variant.attacks[0].calibration == variant.clean.calibration


def test_under_a_corruption_errors_are_means_over_its_draws():
    variant = evaluated(attacks="noise-gaussian:std=0.2,seeds=3")
    found = variant.corruptions[0].calibration
    assert (found.predictions, found.accuracy) == (180, pytest.approx(variant.corruptions[0].accuracy))
    model, errors = network().eval(), []
    for number in range(40):  # other random numbers: the same up to their scatter
        noisy = corrupt("noise-gaussian", {"std": 0.2}, IMAGES, list(range(60)), number)
        errors.append(by_hand(model(noisy))["ece"].expected)
    assert found.ece == pytest.approx(np.mean(errors), abs=4 * np.std(errors) / np.sqrt(3))


def test_it_does_not_depend_on_the_size_of_batches():
    whole, parts = (evaluated(attacks=["fgsm", "noise-uniform"], batch_size=size) for size in (60, 7))
    for one, other in (
        (whole.clean, parts.clean), (whole.attacks[0], parts.attacks[0]), (whole.corruptions[0], parts.corruptions[0])
    ):  # fmt: skip
        assert one.calibration.model_dump() == pytest.approx(other.calibration.model_dump(), abs=2e-6)


class Ending(nn.Module):
    """The network with something at its end."""

    def __init__(self, ending):
        super().__init__()
        self.inner, self.ending = network(), ending

    def forward(self, x):
        return self.ending(self.inner(x))


@pytest.mark.parametrize(
    "ending",
    [lambda z: z.softmax(dim=1), lambda z: z.softmax(dim=1) * 1.0, lambda z: z.log_softmax(dim=1)],
    ids=["softmax", "unseen", "logarithms"],
)
def test_of_a_model_that_returns_probabilities_it_is_that_of_its_logits(ending):
    """Another softmax on top of them would leave a confidence of hardly more than one in three."""
    probabilities, logits = evaluated(Ending(ending)), evaluated()
    for one, other in (
        (probabilities.clean, logits.clean), (probabilities.attacks[0], logits.attacks[0])
    ):  # fmt: skip
        assert one.calibration.model_dump() == pytest.approx(other.calibration.model_dump(), abs=2e-6)


def test_two_classes_have_the_same_calibration_with_one_logit_two_logits_and_a_probability():
    data = (IMAGES[LABELS < 2], LABELS[LABELS < 2])
    endings = {
        "two": lambda z: z[:, :2], "one": lambda z: z[:, 1] - z[:, 0],
        "sigmoid": lambda z: torch.sigmoid(z[:, 1] - z[:, 0]),
    }  # fmt: skip
    found = {name: evaluated(Ending(ending), data=data) for name, ending in endings.items()}
    for name in ("one", "sigmoid"):
        for part in (lambda v: v.clean, lambda v: v.attacks[0]):
            assert part(found[name]).calibration.model_dump() == pytest.approx(
                part(found["two"]).calibration.model_dump(), abs=2e-5
            )
    assert figures(found["two"].clean.calibration) == by_hand(network().eval()(data[0])[:, :2], data[1])


def test_there_is_none_for_a_random_model():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x + 0.05 * torch.randn_like(x))

    variant = evaluated(Noisy(), ["fgsm", "noise-gaussian"], draws=4, battery=None)
    assert variant.clean.expected_accuracy is not None
    for part in (variant.clean, variant.attacks[0], variant.corruptions[0]):
        assert part.calibration is None
        assert "calibration" not in part.model_dump()


def test_there_is_none_for_a_class_per_pixel():
    columns = measured(TASKS["segmentation"], ()).outcomes(torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=int))
    assert "confidence" not in columns


def test_predictions_that_are_not_finite_have_no_confidence():
    logits = torch.tensor([[1.0, 2.0], [torch.inf, 0.0], [torch.nan, 0.0]])
    found = confidence(logits)
    assert found[0].item() == pytest.approx(1 / (1 + np.exp(-1)))
    assert found[1:].isnan().all()
    assert confidence(torch.tensor([-3.0, torch.nan]))[0].item() == pytest.approx(1 / (1 + np.exp(-3)))
    assert confidence(torch.tensor([[0.2, 0.8], [1.0001, 0.0]]), probabilities=True).tolist() == pytest.approx([0.8, 1])


def test_half_precision_is_widened_before_the_softmax():
    logits = torch.tensor([[3.0, 2.5, 0.0]])
    assert confidence(logits.bfloat16()).dtype == torch.float32
    assert confidence(logits.bfloat16()).item() == pytest.approx(confidence(logits).item(), abs=1e-6)

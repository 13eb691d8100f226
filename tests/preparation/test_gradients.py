"""A network that hides the gradient of its input is evaluated, and a note and a failed check say what that means."""

from __future__ import annotations

import pytest
import torch

from stein_bench.attacks.losses import loss_gradient, targeted_margin
from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from tests.tiny import write_data

NETWORKS = """
import torch
from torch import nn


class Raising(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no derivative")


class Net(nn.Module):
    def __init__(self, num_classes, how):
        super().__init__()
        self.linear, self.how = nn.Linear(192, num_classes), how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                return self.linear(x.flatten(1))
        if self.how == "inference":
            with torch.inference_mode():
                return self.linear(x.flatten(1))
        if self.how == "detached":
            return self.linear(x.detach().flatten(1))
        if self.how == "heaviside":
            return self.linear(torch.heaviside(x - 0.5, torch.ones(())).flatten(1))
        if self.how == "raising":
            return self.linear(Raising.apply(x).flatten(1))
        return self.linear(x.flatten(1))


def make(how, num_classes=3):
    return Net(num_classes, how)
"""
EVERY_KIND = ("pgd", "autoattack:steps=2,queries=2", "mifgsm", "fab:steps=2", "torchattacks.PGD", "noise-gaussian")


def config(folder, how, *attacks, **options):
    (folder / "nets.py").write_text(NETWORKS)
    fields = {"data": write_data(folder), "weights": "none", "attack": attacks, "limit": 8, **options}
    return RunConfig(model=f"{folder / 'nets.py'}:make,how={how}", **fields)


@pytest.mark.parametrize("how", ["no_grad", "inference", "detached"])
def test_a_hidden_gradient_is_noted_and_no_attack_fails_of_it(tmp_path, how):
    report = run_evaluation(config(tmp_path, how, *EVERY_KIND))
    (note,) = [note for note in report.model.notes if "gradient" in note]
    assert note.startswith("no gradient arrives at the input of ")
    assert "under pgd, autoattack, mifgsm, fab, torchattacks.PGD is no evidence of robustness" in note
    assert "--adaptive" in note
    assert {attack.status for attack in report.variants[0].attacks} == {"ok"}
    if report.variants[0].clean.accuracy:
        assert "input-gradients" in {check.name for check in report.diagnostics if check.status == "fail"}


def test_a_function_without_a_derivative_hides_the_gradient_too(tmp_path):
    report = run_evaluation(config(tmp_path, "heaviside", "pgd", "fab:steps=2"))
    assert any(note.startswith("no gradient arrives at the input of ") for note in report.model.notes)
    assert {attack.status for attack in report.variants[0].attacks} == {"ok"}


def test_attacks_without_gradients_need_no_note(tmp_path):
    report = run_evaluation(config(tmp_path, "no_grad", "square:queries=2", "noise-gaussian"))
    assert not any("gradient" in note for note in report.model.notes or ())


@pytest.mark.parametrize("how", ["no_grad", "raising"])
def test_a_network_that_cannot_be_trained_or_fails_backwards_is_refused(tmp_path, how):
    message = (
        r"Training needs gradients: give --weights\.$" if how == "no_grad" else r"has no gradient: no derivative\."
    )
    with pytest.raises(UsageError, match=message):
        run_evaluation(config(tmp_path, how, "pgd", weights="fit" if how == "no_grad" else "none"))


def test_a_surrogate_that_hides_its_gradient_is_refused(tmp_path):
    surrogate = f"{tmp_path / 'nets.py'}:make,how=no_grad"
    chosen = config(tmp_path, "shown", "transfer.pgd", surrogate=surrogate, surrogate_weights="auto")
    with pytest.raises(UsageError, match=r"^--surrogate .*: no gradient arrives at the input of "):
        run_evaluation(chosen)


def test_a_hidden_gradient_is_zero_and_another_one_what_it_was():
    points, labels = torch.rand(3, 4), torch.tensor([0, 1, 2])
    targets = (labels + 1) % 3
    weight = torch.rand(4, 3)
    gradient, _, _ = loss_gradient(lambda x: x @ weight, points, labels, targets, targeted_margin)
    torch.testing.assert_close(gradient, (weight[:, targets] - weight[:, labels]).T)
    hidden, _, losses = loss_gradient(lambda x: x.detach() @ weight, points, labels, targets, targeted_margin)
    assert not hidden.any()
    elsewhere = weight.clone().requires_grad_()
    assert not loss_gradient(lambda x: x.detach() @ elsewhere, points, labels, targets, targeted_margin)[0].any()
    torch.testing.assert_close(losses, targeted_margin(points @ weight, labels, targets))

"""`stein_bench.attack`: verified adversarial inputs in one call."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import stein_bench
from stein_bench import RunError, UsageError
from tests.api.brightest import brightest, network

IMAGES, LABELS = brightest()


def wrong(model, inputs, labels=LABELS):
    return copy.deepcopy(model).eval()(inputs).argmax(1) != labels


@pytest.mark.parametrize(
    ("attack", "options", "order"),
    [
        ("autoattack:queries=50", {"eps": 4 / 255}, torch.inf),
        ("pgd", {"eps": 4 / 255}, torch.inf),
        ("pgd:steps=20", {"eps": 0.5, "norm": "L2"}, 2),
        ("cw:steps=20", {"eps": 0.5}, 2),
        ("torchattacks.PGD:steps=3", {"eps": 4 / 255}, torch.inf),
        ("rays:queries=200", {}, torch.inf),
    ],
)
def test_every_input_is_in_the_box_and_within_the_budget(attack, options, order):
    model = network()
    found = stein_bench.attack(model, IMAGES, LABELS, attack, **options)
    size = torch.linalg.vector_norm((found - IMAGES).double().flatten(1), ord=order, dim=1)
    assert found.shape == IMAGES.shape
    assert float(size.max()) <= options.get("eps", 8 / 255) * (1 + 1e-5) + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert int(wrong(model, found).sum()) > int(wrong(model, IMAGES).sum())


def test_the_verdicts_are_those_of_an_evaluation():
    model = network()
    found = stein_bench.attack(model, IMAGES, LABELS, "pgd:random_start=false", eps=3 / 255)
    report = stein_bench.evaluate(
        model, (IMAGES, LABELS), "pgd:random_start=false", eps=3 / 255, progress=False, device="cpu"
    )
    assert (~wrong(model, found)).tolist() == report.outcomes(attack="pgd").tolist()


def test_no_verdict_depends_on_the_batch_size():
    model = network()
    one, other = (stein_bench.attack(model, IMAGES, LABELS, "pgd", eps=3 / 255, batch_size=n) for n in (60, 7))
    assert torch.equal(wrong(model, one), wrong(model, other))
    assert torch.allclose(one, other, atol=1e-5)


def test_over_budget_points_of_minimizing_attacks_are_not_returned():
    model = network()
    found = stein_bench.attack(model, IMAGES, LABELS, "deepfool", eps=0.3)
    moved = (found - IMAGES).flatten(1).norm(dim=1)
    assert 0 < int(wrong(model, found).sum()) < 60
    assert bool(((moved == 0) | (moved <= 0.3 + 1e-5)).all())


def test_model_inputs_and_random_numbers_stay_as_they_were():
    model, inputs = network(), IMAGES.clone()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with torch.no_grad():
        stein_bench.attack(model, inputs, LABELS, "torchattacks.PGD")
    assert model.training
    assert model[2].training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(inputs, IMAGES)


def test_a_model_with_batch_statistics_gets_all_inputs_as_one_batch():
    model = network()
    stein_bench.convert_batchnorm(model, "stein", stats="batch")
    sizes = []
    model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    found = stein_bench.attack(model, IMAGES, LABELS, "pgd:steps=3", batch_size=7)
    assert set(sizes[1:]) <= {60, 2}  # 2: the first pass, which tells the task
    assert bool(wrong(model, found).any())


def test_a_callable_and_an_attack_object_of_a_library_work_as_names_do():
    import torchattacks

    def own(model, inputs, labels, *, eps, seed):
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed))
        return (inputs + eps * noise.sign()).clamp(0, 1)

    model = network()
    found = stein_bench.attack(model, IMAGES, LABELS, own, eps=2 / 255)
    assert torch.allclose((found - IMAGES).abs().amax(dim=(1, 2, 3)), torch.full((60,), 2 / 255), atol=1e-6)
    settings = torchattacks.PGD(nn.Identity(), eps=4 / 255, alpha=1 / 255, steps=4, random_start=False)
    by_name = "torchattacks.PGD:eps=4/255,alpha=1/255,steps=4,random_start=false"
    expected = stein_bench.attack(model, IMAGES, LABELS, by_name)
    assert torch.equal(stein_bench.attack(model, IMAGES, LABELS, settings), expected)


def test_binary_models_dense_ones_and_probabilities_are_recognized():
    single = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    with torch.no_grad():
        single[1].weight.fill_(1)
        single[1].bias.fill_(-6)
    inputs, labels = torch.full((4, 3, 2, 2), 0.501), torch.ones(4, dtype=torch.int64)
    assert bool((single(stein_bench.attack(single, inputs, labels, "pgd", eps=2 / 255)) < 0).all())

    dense = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        dense.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        dense.bias.zero_()
    maps = IMAGES.argmax(dim=1)
    found = stein_bench.attack(dense, IMAGES, maps, "pgd", eps=8 / 255)
    assert (dense(found).argmax(1) == maps).float().mean() < 0.95

    probabilities = nn.Sequential(network(), nn.Softmax(dim=1))
    with torch.no_grad():
        probabilities[0][5].weight.mul_(500)  # saturated: their own gradient is exactly zero
    found = stein_bench.attack(probabilities, IMAGES, LABELS, "pgd", eps=8 / 255)
    assert int(wrong(probabilities, found).sum()) > int(wrong(probabilities, IMAGES).sum())


def test_a_transfer_attack_is_crafted_on_the_surrogate():
    found = stein_bench.attack(network(), IMAGES, LABELS, "transfer.fgsm", eps=2 / 255, surrogate=network())
    expected = stein_bench.attack(network(), IMAGES, LABELS, "fgsm", eps=2 / 255)
    right = ~wrong(network(), IMAGES)
    assert torch.allclose(found[right], expected[right], atol=1e-6)


def test_an_attack_that_cheats_or_fails_is_an_error_and_the_model_is_restored():
    def cheats(model, inputs, labels, eps):
        return inputs + 2 * eps

    def spoils(model, inputs, labels):
        model.train()
        for parameter in model.parameters():
            parameter.data.zero_()
        raise ValueError("half-way")

    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RunError, match="60 of 60 adversarial inputs are outside the ε-ball"):
        stein_bench.attack(model, IMAGES, LABELS, cheats)
    with pytest.raises(RunError, match="spoils failed: ValueError: half-way"):
        stein_bench.attack(model.eval(), IMAGES, LABELS, spoils)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": (IMAGES * 255).to(torch.uint8)}, r"inputs are torch.uint8: give float32 in \[0, 1\]"),
        ({"inputs": IMAGES * 2 - 1}, "they must be finite and in"),
        ({"inputs": IMAGES.numpy()}, "inputs must be a tensor, not a ndarray"),
        ({"labels": LABELS[:5]}, "do not fit"),
        ({"labels": LABELS.float()}, "labels are torch.float32: give int64"),
        ({"labels": LABELS + 1}, "the model has 3 outputs, but the data has labels up to 3"),
        ({"labels": LABELS - 1}, "labels go down to -1"),
        ({"attack": "pdg"}, "unknown attack 'pdg'"),
        ({"attack": "pgd:eps=1/255", "eps": 0.5}, "names a budget of its own"),
        ({"attack": "noise-gaussian"}, "a corruption, not an attack"),
        ({"attack": "adaptive"}, "adaptive=True"),
        ({"attack": "transfer.pgd"}, "give it as surrogate"),
        ({"attack": "segpgd"}, "supports segmentation"),
        ({"norm": "L9"}, "norm 'L9' is none of"),
        ({"eps": 8}, "above 1"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"std": 0.0}, "std has a value that is not above 0"),
        ({"model": print}, "give a torch.nn.Module"),
    ],
)
def test_a_wrong_argument_gets_one_line(changes, message):
    arguments = {"model": network(), "inputs": IMAGES, "labels": LABELS, "attack": "pgd", **changes}
    with pytest.raises(UsageError, match=message) as caught:
        stein_bench.attack(**arguments)
    assert "\n" not in str(caught.value)

"""Each sanity check fires on a model that is made to trip it, and on no sound one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attacks
from stein_bench.diagnostics.consistency import consistency
from stein_bench.diagnostics.probe import Probe, probe_count
from stein_bench.diagnostics.probes import CHECKS, diagnose
from stein_bench.evaluation.assemble import replay_result
from stein_bench.evaluation.replay import Kept, replay_shuffled, replay_singly, replayed_batches
from stein_bench.evaluation.units import Unit, replay_phase
from stein_bench.measures import RightOrWrong
from stein_bench.tasks import Classification

TASK = Classification()
SAMPLES = 60


def data() -> tuple[Tensor, Tensor]:
    """Grey images whose left half tells the class, by margins of different size."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES) % 2
    inputs = torch.full((SAMPLES, 1, 4, 4), 0.5) + 0.02 * torch.rand(SAMPLES, 1, 4, 4, generator=generator)
    margins = 0.02 + 0.12 * torch.rand(SAMPLES, 1, 1, 1, generator=generator)
    inputs[..., :2] += margins * (2 * labels - 1).view(-1, 1, 1, 1)
    return inputs.clamp(0, 1), labels


class Sound(nn.Module):
    """Compares the halves: linear, so that every attack does what theory says."""

    def forward(self, inputs: Tensor) -> Tensor:
        difference = 20 * (inputs[..., :2].mean(dim=(1, 2, 3)) - inputs[..., 2:].mean(dim=(1, 2, 3)))
        return torch.stack([-difference, difference], dim=1)


class Rounded(Sound):
    """Rounds what it sees: the gradient is zero everywhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(torch.round(inputs * 100) / 100)


class Saturated(Sound):
    """Logits so far apart that the cross-entropy is exactly flat."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 1e4 * super().forward(inputs)


class Random(Sound):
    """Dropout that was left on."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(inputs, 0.5, training=True))


class OfItsBatch(Sound):
    """Compares each sample with the mean of its batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) - super().forward(inputs).mean(dim=0)


class Detecting(Sound):
    """Remembers the clean inputs; whatever lies far from all of them gets the label of the nearest."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.known, self.known_labels = inputs.flatten(1), labels

    def forward(self, inputs: Tensor) -> Tensor:
        distance, nearest = torch.cdist(inputs.detach().flatten(1), self.known, p=torch.inf).min(dim=1)
        remembered = 40.0 * nn.functional.one_hot(self.known_labels[nearest], 2)
        return torch.where((distance > 0.025)[:, None], remembered, super().forward(inputs))


class Masked(Sound):
    """A gradient that points the wrong way: noise does better than following it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(2 * inputs.detach() - inputs)


def checks(model: nn.Module, *, batch_dependent: bool = False, norm: str = "Linf", eps: float = 0.06) -> dict[str, str]:
    inputs, labels = data()
    probe = Probe(inputs, labels, list(range(SAMPLES)), TASK, 2, norm, eps, batch_dependent)
    found = list(diagnose("sample/running", model.eval(), probe))
    assert len(found) == CHECKS
    assert all("\n" not in result.message for result in found)
    return {result.name: result.status for result in found}


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.06), ("L2", 0.2), ("L1", 0.8)])
def test_a_sound_model_passes_every_check(norm: str, eps: float) -> None:
    assert set(checks(Sound(), norm=norm, eps=eps).values()) == {"pass"}


@pytest.mark.parametrize(
    ("model", "failing"),
    [
        (Rounded, {"input-gradients", "unbounded-attack"}),
        (Saturated, {"input-gradients"}),
        (Random, {"repeatable"}),
        (OfItsBatch, {"same-in-another-batch"}),
        (lambda: Detecting(*data()), {"probe-larger-eps", "unbounded-attack"}),
        (Masked, {"unbounded-attack", "probe-white-box-vs-noise"}),
    ],
    ids=["rounded", "saturated", "dropout", "batch", "detecting", "masked"],
)
def test_each_check_fires_on_a_model_made_to_trip_it(model: Callable[[], nn.Module], failing: set[str]) -> None:
    found = checks(model(), eps=0.2 if model is Masked else 0.06)
    assert {name for name in failing if found[name] == "pass"} == set()


def test_the_model_and_the_generators_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    inputs, labels = data()
    list(diagnose("x", model, Probe(inputs, labels, list(range(SAMPLES)), TASK, 2, "Linf", 0.06, True)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def bits(robust: int, n: int = 100) -> np.ndarray:
    return np.arange(n) < robust


@pytest.mark.parametrize(
    ("specs", "robust", "name", "status"),
    [
        (["fgsm", "pgd"], [50, 40], "iterated-vs-one-step", "pass"),
        (["fgsm", "pgd"], [50, 52], "iterated-vs-one-step", "warn"),
        (["fgsm", "pgd"], [50, 70], "iterated-vs-one-step", "fail"),
        (["pgd:eps=4/255", "pgd:eps=8/255"], [50, 70], "larger-eps", "fail"),
        (["pgd:eps=8/255", "pgd:eps=4/255"], [50, 70], "larger-eps", "pass"),
        (["torchattacks.Square", "pgd"], [20, 60], "white-box-vs-black-box", "fail"),
        (["torchattacks.Square", "pgd"], [60, 20], "white-box-vs-black-box", "pass"),
    ],
)
def test_results_of_a_battery_are_held_against_each_other(
    specs: list[str], robust: list[int], name: str, status: str
) -> None:
    attacks = resolve_attacks(specs)
    found = consistency(
        "v", attacks, {a.label: RightOrWrong(bits(r)) for a, r in zip(attacks, robust, strict=True)}, None
    )
    assert [(result.name, result.status) for result in found] == [(name, status)]


def test_other_budgets_are_not_compared_and_few_coupled_batches_only_warn() -> None:
    attacks = resolve_attacks(["fgsm:eps=4/255", "pgd:eps=8/255"])
    assert consistency("v", attacks, {a.label: RightOrWrong(bits(50)) for a in attacks}, None) == []
    attacks = resolve_attacks(["fgsm", "pgd"])
    robust = {a.label: RightOrWrong(bits(r)) for a, r in zip(attacks, [50, 90], strict=True)}
    (result,) = consistency("v", attacks, robust, 50)
    assert result.status == "warn"
    assert "no test: fewer than 10 batches" in result.message


def kept(size: int = 20) -> Kept:
    inputs, labels = data()
    found = Kept()
    for number, start in enumerate(range(0, SAMPLES, size)):
        part = slice(start, start + size)
        found.add(number, np.arange(SAMPLES)[part], inputs[part], 1 - inputs[part], labels[part])
    return found


def test_replays_of_an_independent_model_change_no_verdict() -> None:
    inputs, labels = data()
    expected = TASK.correct(Sound()(1 - inputs), labels).numpy()
    device = torch.device("cpu")
    indices, columns = replay_shuffled(Sound(), TASK, kept(), device, 3)
    assert columns["shuffled.correct"].tolist() == expected[indices].tolist()
    indices, columns = replay_singly(Sound(), TASK, kept(), device)
    assert len(indices) == SAMPLES
    assert columns["among_clean.correct"].tolist() == columns["alone.correct"].tolist() == expected[indices].tolist()


def test_replays_put_each_sample_into_the_batch_that_they_name() -> None:
    """Recomputed sample by sample for a model that compares each with the mean of its batch."""
    inputs, labels = data()
    model = OfItsBatch()
    indices, columns = replay_singly(model, TASK, kept(), torch.device("cpu"))
    for place, index in enumerate(indices):
        start = index // 20 * 20
        mixed = inputs[start : start + 20].clone()
        mixed[index - start] = 1 - inputs[index]
        assert (
            columns["among_clean.correct"][place]
            == TASK.correct(model(mixed), labels[start : start + 20])[index - start]
        )
        assert columns["alone.correct"][place] == (labels[index] == 0)  # alone it is its own mean: a tie, so class 0


def test_a_single_batch_cannot_be_shuffled_and_single_elements_not_be_normalized() -> None:
    indices, columns = replay_shuffled(Sound(), TASK, kept(SAMPLES), torch.device("cpu"), 0)
    assert len(indices) == len(columns) == 0
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2)).eval()
    assert "alone.correct" not in replay_singly(model, TASK, kept(), torch.device("cpu"))[1]


def test_what_does_not_fit_into_memory_is_not_kept() -> None:
    inputs, labels = data()
    assert [replayed_batches([20, 20, 5], 4, most) for most in (79, 80, 159, 160, 179, 180, 999)] == [
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    small = Kept(limit=1)
    assert small.missing(range(3)) == [0]
    for number in (1, 0):
        small.add(number, np.arange(20 * number, 20 * number + 20), inputs[:20], inputs[:20], labels[:20])
    assert [batch.indices[0] for batch in small.batches] == [0]
    assert small.missing(range(3)) == []


def test_shares_and_flips_of_a_replay_are_those_of_its_bits() -> None:
    clean, robust = np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 0], bool)
    phase = replay_phase("pgd")
    units = [
        Unit("v", phase, 0, np.array([2, 0, 1, 3]), {"shuffled.correct": np.array([True, True, False, True])}),
        Unit("v", phase, 1, np.array([0, 1]), {"among_clean.correct": np.array([False, True])}),
    ]
    found = replay_result(units, "pgd", RightOrWrong(clean), RightOrWrong(robust), np.zeros(4, bool))
    assert found is not None
    assert (found.joint, found.shuffled, found.shuffled_flipped) == (0.25, 0.5, 0.25)
    assert (found.single_joint, found.among_clean, found.among_clean_flipped) == (0.5, 0.5, 1.0)
    assert (found.alone, found.alone_flipped) == (None, None)
    assert (found.samples, found.single_samples) == (4, 2)
    assert replay_result(units[:1], "pgd", RightOrWrong(clean), RightOrWrong(robust), np.zeros(4, bool)) is None
    # Sample 1 is beyond eps: wrong in another batch too, and no success there either.
    found = replay_result(
        units, "pgd", RightOrWrong(clean), RightOrWrong(np.array([1, 1, 0, 0], bool)), np.array([0, 1, 0, 0], bool)
    )
    assert found is not None
    assert (found.joint, found.shuffled, found.shuffled_flipped) == (0.5, 0.75, 0.25)


def test_a_row_that_is_not_finite_does_not_spoil_its_batch() -> None:
    inputs, labels = data()
    broken = 1 - inputs[:20]
    broken[3] = torch.nan
    found = Kept()
    found.add(0, np.arange(20), inputs[:20], broken, labels[:20])
    assert torch.equal(found.batches[0].adv_inputs[3], inputs[3])
    assert torch.equal(found.batches[0].adv_inputs[4], broken[4])


@pytest.mark.parametrize(
    ("shape", "dense", "count"),
    [((3, 224, 224), False, 100), ((1, 128, 128, 64), False, 32), ((1, 512, 512, 512), False, 8), ((3, 8, 8), True, 8)],
)
def test_few_volumes_are_checked_where_they_are_large(shape: tuple[int, ...], dense: bool, count: int) -> None:
    """They are one batch, which has to fit into memory."""
    assert probe_count(shape, dense=dense) == count

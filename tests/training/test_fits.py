"""`FitsOnce`, with which the tests of evaluations train: its answers are those of training."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stein_bench.progress import Silent
from stein_bench.training.fit import fit
from tests.fits import FitsOnce
from tests.training.small import CPU, TASK, recipe, stripes

RECIPE = recipe(epochs=2)


def made(channels: int = 4) -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout(0.2))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


class Shown(Silent):
    """Keeps the phases and the samples counted in them."""

    def __init__(self) -> None:
        self.phases: dict[str, int] = {}
        self.phase = ""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phase, self.phases[phase] = phase, -total

    def advance(self, samples: int, note: str = "") -> None:
        self.phases[self.phase] += samples


def test_the_second_time_gives_the_same_without_training() -> None:
    fits, samples = FitsOnce(fit), stripes(48)
    options = {"recipe": RECIPE, "seed": 3, "device": CPU, "title": "fit it"}
    networks, shown = [made() for _ in range(3)], [Shown() for _ in range(3)]
    losses = [
        fits(net, samples, TASK, **options, progress=seen) for net, seen in zip(networks[:2], shown, strict=False)
    ]
    losses.append(fit(networks[2], samples, TASK, **options, progress=shown[2]))
    assert fits.trained == 1
    assert len(set(losses)) == 1
    assert [seen.phases for seen in shown] == [{"fit it": 0}] * 3
    assert not any(net.training for net in networks)
    expected = networks[2].state_dict()
    assert not torch.equal(expected["0.0.weight"], made().state_dict()["0.0.weight"])
    for net in networks[:2]:
        assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())


class Own(nn.Sequential):
    """A network with code of its own."""


def hooked(net: nn.Module) -> nn.Module:
    net.register_forward_hook(lambda module, args, output: -output)
    return net


def patched(net: nn.Module) -> nn.Module:
    net.forward = lambda x: x.flatten(1)[:, :3] * net[3].bias  # type: ignore[method-assign]
    return net


def without_dropout(net: nn.Module) -> nn.Module:
    net[0][3].p = 0.0
    return net


def frozen(net: nn.Module) -> nn.Module:
    net[0][0].weight.requires_grad_(False)
    return net


@pytest.mark.parametrize("change", [hooked, patched, Own, without_dropout, frozen])
def test_another_network_is_trained(change: Callable[[nn.Module], nn.Module]) -> None:
    fits = FitsOnce(fit)
    for net in (made(), change(made())):
        fits(net, stripes(48), TASK, recipe=RECIPE, seed=3, device=CPU)
    assert fits.trained == 2


def test_other_samples_recipes_and_seeds_are_trained_and_so_is_an_own_class_each_time() -> None:
    fits, common = FitsOnce(fit), {"recipe": RECIPE, "seed": 3}
    fits(made(), stripes(48), TASK, **common, device=CPU)
    for count, changes in ((51, {}), (48, {"seed": 4}), (48, {"recipe": recipe(epochs=1)})):
        fits(made(), stripes(count), TASK, **{**common, **changes}, device=CPU)
    assert fits.trained == 4
    for _ in range(2):
        fits(Own(*copy.deepcopy(made())), stripes(48), TASK, **common, device=CPU)
    assert fits.trained == 6


def test_what_a_test_gets_may_be_changed_without_changing_what_the_next_gets() -> None:
    fits = FitsOnce(fit)
    first, second = made(), made()
    found: list[Tensor] = []
    for net in (first, second):
        fits(net, stripes(48), TASK, recipe=RECIPE, seed=3, device=CPU)
        found.append(net[3].weight.detach().clone())
        with torch.no_grad():
            net[3].weight.zero_()
    assert torch.equal(*found)

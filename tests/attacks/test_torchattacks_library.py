"""The torchattacks adapter: every class that can run does, and its side effects stay inside."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn
from torchattacks.attack import Attack as LibraryAttack

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.torchattacks_catalog import TORCHATTACKS
from stein_bench.attacks.verify import verify
from stein_bench.errors import UsageError
from stein_bench.guard import model_untouched
from stein_bench.tasks import Classification
from tests.attacks.known import QUICK

TASK = Classification()
AVAILABLE = [info.name for info in TORCHATTACKS if not info.unavailable]
SLOW = "torchattacks.AutoAttack"
"""Its 5,000 queries are no parameter of a spec."""


def network(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, classes)).eval()


def batch(n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, 3, 16, 16, generator=generator), torch.arange(n) % 2


def run(spec: str, model: nn.Module, inputs: Tensor, labels: Tensor, classes: int = 5) -> Tensor:
    attack = resolve_attack(spec)
    return attack.run(model, inputs, labels, TASK, classes=classes, seeds=list(range(len(inputs))))


def spec_of(name: str) -> str:
    quick = QUICK.get(name.removeprefix("torchattacks."))
    return f"{name}:{quick}" if quick else name


def test_the_catalog_has_every_class_of_the_library() -> None:
    classes = {
        name for name in torchattacks.__all__
        if isinstance(getattr(torchattacks, name), type) and issubclass(getattr(torchattacks, name), LibraryAttack)
    }  # fmt: skip
    assert {info.name for info in TORCHATTACKS} == {f"torchattacks.{name}" for name in classes}
    assert (len(TORCHATTACKS), len(AVAILABLE)) == (39, 36)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == SLOW else ()) for name in AVAILABLE],
)
def test_every_available_class_runs_and_keeps_what_it_promises(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, (inputs, labels) = network(), batch()
    attack = resolve_attack(spec_of(name))
    torch.manual_seed(5)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    model[1].train()
    flags = [module.training for module in model.modules()]
    buffers = {key: value.clone() for key, value in model.state_dict().items()}
    with model_untouched(model):
        adv = attack.run(model, inputs, labels, TASK, classes=5, seeds=[1, 2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert [module.training for module in model.modules()] == flags
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, buffers[key]) for key, value in model.state_dict().items())
    model.eval()
    assert capsys.readouterr().out == ""
    verdicts = verify(
        model, inputs, adv, labels, TASK,
        norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps,
    )  # fmt: skip
    assert not verdicts.invalid.any()


@pytest.mark.parametrize("name", ["PGD", "APGD", "APGDT", "FAB", "Square", "Pixle"])
def test_the_same_seeds_give_the_same_result(name: str) -> None:
    model, (inputs, labels) = network(), batch()
    spec = spec_of(f"torchattacks.{name}")
    first = run(spec, model, inputs, labels)
    torch.manual_seed(99)
    assert torch.equal(first, run(spec, model, inputs, labels))


@pytest.mark.parametrize("name", [name for name in AVAILABLE if CATALOG[name].min_classes == 2])
@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_few_classes_work(name: str, classes: int) -> None:
    """All but those with a targeted difference-of-logits ratio, which are refused below four classes."""
    inputs, labels = batch()
    adv = run(spec_of(name), network(classes), inputs, labels, classes)
    assert adv.shape == inputs.shape


def test_fab_gets_contiguous_inputs() -> None:
    inputs, labels = batch()
    channels_last = inputs.contiguous(memory_format=torch.channels_last)
    adv = run("torchattacks.FAB", network(), channels_last, labels)
    assert torch.equal(adv, run("torchattacks.FAB", network(), inputs, labels))


def test_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="takes images"):
        run("torchattacks.PGD", network(), torch.rand(2, 1, 4, 4, 4), torch.zeros(2, dtype=torch.long))


def test_pgd_of_the_library_and_the_native_one_agree_without_a_random_start() -> None:
    """Same model, same parameters, no randomness: same steps; the native one may only stop earlier."""
    model, (inputs, labels) = network(), batch(8)
    library = run("torchattacks.PGD:random_start=false,eps=8/255", model, inputs, labels)
    attack = resolve_attack("pgd:random_start=false,eps=8/255")
    native = attack.run(model, inputs, labels, TASK, classes=5, seeds=list(range(8)), batch_dependent=True)
    assert torch.allclose(library, native, atol=1e-6)


@pytest.mark.parametrize("name", ["torchattacks.JSMA", "torchattacks.LGV", "torchattacks.MultiAttack"])
def test_what_cannot_run_says_why(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is not available: it "):
        resolve_attack(name)


def test_the_budget_goes_under_the_class_own_name() -> None:
    attack = resolve_attack("torchattacks.PIFGSM:eps=4/255")
    assert attack._library_arguments()["max_epsilon"] == pytest.approx(4 / 255)
    with pytest.raises(UsageError, match="gives its budget twice"):
        resolve_attack("torchattacks.PIFGSM:eps=4/255,max_epsilon=2/255")


def test_every_name_and_norm_is_known_to_the_report() -> None:
    assert {norm for info in CATALOG.values() for norm in info.norms} <= {"Linf", "L2", "L1", "L0"}


@pytest.mark.parametrize("name", ["EADL1", "EADEN"])
def test_rounding_at_the_edge_of_the_box_is_no_violation(name: str) -> None:
    """These two return about -1e-8 for black pixels; images here are half black, half white."""
    attack = resolve_attack(f"torchattacks.{name}:max_iterations=10,binary_search_steps=1")
    images = torch.zeros(2, 3, 16, 16)
    images[..., 8:] = 1
    labels = torch.tensor([0, 1])
    model = network().eval()
    adv_inputs = attack.run(model, images, labels, TASK, classes=5, seeds=[1, 2])
    assert adv_inputs.min() >= 0
    assert adv_inputs.max() <= 1


def test_half_precision_is_refused_clearly_for_the_library_too() -> None:
    """APGD, FAB and Square of the library would crash inside."""
    inputs, labels = batch()
    for name in AVAILABLE:
        with pytest.raises(UsageError, match=f"attack {name} takes float32 inputs, not float16"):
            run(name, network().half(), inputs.half(), labels)


def test_training_flags_are_kept_also_when_the_library_raises() -> None:
    """The library switches modes and does not put them back in a finally; a module in training stays so."""

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.calls = network(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("out of luck")
            return self.body(x)

    model, (inputs, labels) = Breaks(), batch()
    model.train()
    model.body[1].eval()
    flags = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError, match="out of luck"), model_untouched(model):
        run("torchattacks.PGD", model, inputs, labels)
    assert [module.training for module in model.modules()] == flags
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["DeepFool", "CW", "FAB", "Square"])
def test_failures_that_return_the_clean_image_count_as_failures(name: str) -> None:
    """The model never errs: whatever comes back, the clean image included, is no success."""

    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0]]) + 1e-3 * x.flatten(1)[:, :5]

    inputs, _ = batch()
    labels = torch.zeros(2, dtype=torch.long)
    attack = resolve_attack(spec_of(f"torchattacks.{name}"))
    adv = attack.run(Sure(), inputs, labels, TASK, classes=5, seeds=[1, 2])
    verdicts = verify(
        Sure(), inputs, adv, labels, TASK, norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps
    )
    assert not verdicts.broken.any()


@pytest.mark.parametrize(("classes", "targets"), [(2, 1), (3, 2), (12, 9)])
def test_the_library_gets_the_reference_number_of_targets(
    classes: int, targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library turns n_classes into n_classes - 1 targets; 10 of them, its default, break on 2 or 3 classes."""
    seen: list[int] = []
    original = torchattacks.FAB.__init__

    @functools.wraps(original)
    def recording(self: torchattacks.FAB, *arguments: object, **options: object) -> None:
        original(self, *arguments, **options)
        seen.append(self.n_target_classes)

    monkeypatch.setattr(torchattacks.FAB, "__init__", recording)
    inputs, labels = batch()
    run("torchattacks.FAB:steps=1", network(classes), inputs, labels, classes)
    assert seen == [targets]


@pytest.mark.parametrize("name", ["EADL1", "EADEN"])
def test_a_steep_model_does_not_drive_these_out_of_the_box(name: str) -> None:
    """The library moves the image that it clips to along with its iterate: by 3e-3 here."""
    steep = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5))
    with torch.no_grad():
        steep[1].weight.mul_(3000)
    images = torch.zeros(2, 3, 8, 8)
    images[..., 4:] = 1
    labels = steep(images).argmax(dim=1)
    found = run(f"torchattacks.{name}:max_iterations=100,binary_search_steps=2", steep.eval(), images, labels)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.integration
def test_deepfool_crosses_the_boundary_in_every_batch_not_only_in_its_own() -> None:
    """On a linear model it would end within rounding of the boundary; the distance hardly grows."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)).eval()
    with torch.no_grad():
        model[1].weight.mul_(20)
    images = 0.5 + 0.1 * torch.rand(20, 3, 8, 8)
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(dim=1)
    found = run("torchattacks.DeepFool:overshoot=0", model, images, labels)
    with torch.no_grad():
        logits = model(found)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    assert (logits.gather(1, labels[:, None]).squeeze(1) - others < -1e-5).all()

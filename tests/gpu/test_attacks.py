"""Attacks on a CUDA device: they stay there, and find what they find on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import NATIVE
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.noise import NOISES, corrupt
from stein_bench.attacks.torchattacks_catalog import TORCHATTACKS
from stein_bench.attacks.verify import verify
from stein_bench.guard import model_untouched
from stein_bench.tasks import TASKS, Task
from tests.attacks.known import QUICK
from tests.gpu.twins import CLASSES, CUDA, network, on_cuda, predictions, samples

pytestmark = pytest.mark.gpu

COUNT = 32
APART = 2
"""Samples of `COUNT` in which rounding may lead an attack elsewhere: a step follows the sign of a tiny gradient."""
SHAPES = {"images": (3, 8, 8), "volumes": (1, 8, 8, 8)}
ENSEMBLES = ("autoattack", "fast-ensemble", "strongest-ensemble", "adaptive")
NATIVE_SPECS = {
    **dict.fromkeys(ENSEMBLES, "steps=5,queries=20"),
    "square": "queries=50",
    **dict.fromkeys(("nes", "spsa"), "queries=60,samples=6"),
    **dict.fromkeys(("rays", "hopskipjump"), "queries=60"),
    "fgsm": "",
}
EPS = {"Linf": 0.02, "L2": 0.15}
TASK = TASKS["classification"]


def spec_of(name: str, **pairs: object) -> str:
    own = NATIVE_SPECS.get(name, "steps=5")
    return f"{name}:" + ",".join([*([own] if own else []), *(f"{key}={value}" for key, value in pairs.items())])


def found(
    spec: str, model: nn.Module, inputs: Tensor, labels: Tensor, *, task: Task = TASK, batch_dependent: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the candidates, and which samples they break unless samples are judged pixel by pixel, on the CPU."""
    attack = resolve_attack(spec)
    with model_untouched(model):
        adv = attack.run(
            model, inputs, labels, task,
            classes=CLASSES, seeds=list(range(len(inputs))), batch_dependent=batch_dependent,
        )  # fmt: skip
        assert adv.device.type == inputs.device.type
        verdicts = verify(
            model, inputs, adv, labels, task,
            norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps,
        )  # fmt: skip
    assert not verdicts.invalid.any()
    broken = torch.empty(0) if task.name == "segmentation" else torch.as_tensor(verdicts.broken).cpu()
    return adv.cpu(), broken


def elsewhere(first: Tensor, second: Tensor) -> int:
    """Return in how many samples more than a few values differ by more than rounding."""
    differ = ((first - second).abs() > 1e-4).flatten(1).float().mean(dim=1)
    return int((differ > 0.02).sum())


@pytest.mark.parametrize("batch_dependent", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("name", "norm"), [(info.name, norm) for info in NATIVE if "classification" in info.tasks for norm in info.norms]
)
def test_native_attacks_find_what_they_find_on_the_cpu(name: str, norm: str, kind: str, batch_dependent: bool) -> None:
    shape = SHAPES[kind]
    model, inputs = network(shape[0], dimensions=len(shape) - 1), samples(shape, COUNT)
    labels, twin = predictions(model, inputs), on_cuda(model)
    spec = spec_of(name, norm=norm, eps=EPS[norm])
    adv, broken = found(spec, model, inputs, labels, batch_dependent=batch_dependent)
    there, broken_there = found(spec, twin, inputs.to(CUDA), labels.to(CUDA), batch_dependent=batch_dependent)
    assert (broken != broken_there).sum() <= APART
    assert elsewhere(adv, there) <= APART
    again, _ = found(spec, twin, inputs.to(CUDA), labels.to(CUDA), batch_dependent=batch_dependent)
    assert torch.equal(there, again)


def test_some_samples_of_these_break_and_some_stand() -> None:
    """Otherwise the comparison of verdicts would say little."""
    model, inputs = network(), samples(SHAPES["images"], COUNT)
    labels = predictions(model, inputs).to(CUDA)
    _, broken = found(spec_of("pgd", eps=EPS["Linf"]), on_cuda(model), inputs.to(CUDA), labels)
    assert 4 < broken.sum() < COUNT - 4


class EveryPixel(nn.Module):
    """Scores of every pixel, by two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("name", [info.name for info in NATIVE if "segmentation" in info.tasks])
def test_dense_attacks_find_what_they_find_on_the_cpu(name: str) -> None:
    model, inputs = EveryPixel().eval(), samples(SHAPES["images"], COUNT)
    labels, task = predictions(model, inputs), TASKS["segmentation"]
    labels[:, 0] = 255  # void
    spec = spec_of(name, eps=0.05)
    adv, _ = found(spec, model, inputs, labels, task=task)
    there, _ = found(spec, on_cuda(model), inputs.to(CUDA), labels.to(CUDA), task=task)
    assert elsewhere(adv, there) <= APART


@pytest.mark.parametrize("name", ["pgd", "square", "fab-t"])
def test_one_logit_is_attacked_as_on_the_cpu(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 1)).eval()
    inputs, task = samples(SHAPES["images"], COUNT), TASKS["binary"]
    labels = (model(inputs).squeeze(1) > 0).long()
    spec = spec_of(name, eps=0.02)
    _, broken = found(spec, model, inputs, labels, task=task)
    _, broken_there = found(spec, on_cuda(model), inputs.to(CUDA), labels.to(CUDA), task=task)
    assert (broken != broken_there).sum() <= APART


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_random_starts_are_those_of_the_cpu(norm: str) -> None:
    """A step of no length leaves the start in place."""
    model, inputs = network(), samples(SHAPES["images"], 4)
    seeds = list(range(4))
    start = random_start(inputs.shape, seeds, norm, 0.1)
    spec = f"pgd:norm={norm},eps=0.1,steps=1,alpha=1e-12"
    labels = predictions(model, inputs)
    there, _ = found(spec, on_cuda(model), inputs.to(CUDA), labels.to(CUDA), batch_dependent=True)
    torch.testing.assert_close(there, (inputs + start).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_that_of_the_cpu(name: str) -> None:
    attack = resolve_attack(name)
    inputs = samples(SHAPES["images"], 4)
    for number in range(2):
        here, there = (corrupt(name, attack.params, x, [1, 2, 3, 4], number) for x in (inputs, inputs.to(CUDA)))
        assert there.device.type == "cuda"
        assert torch.equal(here, there.cpu())


LIBRARY = [info.name.removeprefix("torchattacks.") for info in TORCHATTACKS if not info.unavailable]
WITHOUT_CHANCE = ("BIM", "CW", "DeepFool", "EADEN", "EADL1", "FGSM", "MIFGSM", "NIFGSM", "SINIFGSM", "VANILA")
"""Classes that draw no random numbers, which a CUDA device would draw otherwise than the CPU."""


@pytest.mark.parametrize("name", LIBRARY)
def test_classes_of_torchattacks_run_on_the_device(name: str) -> None:
    pytest.importorskip("torchattacks")
    model, inputs = network(size=16), samples((3, 16, 16), 8)
    labels, twin = predictions(model, inputs), on_cuda(model)
    spec = f"torchattacks.{name}" + (f":{QUICK[name]}" if name in QUICK else "")
    there, broken_there = found(spec, twin, inputs.to(CUDA), labels.to(CUDA))
    if name != "AutoAttack":  # its thousands of queries take seconds
        again, _ = found(spec, twin, inputs.to(CUDA), labels.to(CUDA))
        assert torch.equal(there, again)
    if name in WITHOUT_CHANCE:
        adv, broken = found(spec, model, inputs, labels)
        assert (broken != broken_there).sum() <= 1
        assert elsewhere(adv, there) <= 1

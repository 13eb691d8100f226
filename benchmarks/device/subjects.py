"""A network under attack with its images, made from nothing: random weights, random images, its own predictions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.device import networks
from benchmarks.device.scale import Scale, Subject
from benchmarks.normalization import interleaved_times
from stein_bench.guard import repeatable_backends
from stein_bench.models.preprocessing import Preprocessed

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
STEPS = 10
"""Of `pgd`."""
ALPHA = 2.5
"""The step size is this times eps/steps, as in `pgd`."""
SETTLED = 4
"""Batches that the running statistics are averaged over."""
PROBED = 64
"""Samples on which the head is scaled."""
HALVINGS = 12
EPS = {"falls": 16 / 255, "stands": 4 / 255}
"""Budgets: at ``stands`` about half of the samples survive `pgd`, as with a robust network; at ``falls``, four times as
much, fewer do, as with an undefended one."""


@dataclass(frozen=True)
class Prepared:
    """A network with random weights and images that it classifies as labeled.

    Attributes:
        subject: its description.
        model: maps [0, 1] to logits, in eval mode with frozen parameters, on the device.
        inputs, labels: the images (n, 3, H, W) and the network's own predictions, on the CPU.
        weights, data: the files from which `stein-bench evaluate` reads both.
    """

    subject: Subject
    model: nn.Module
    inputs: Tensor
    labels: Tensor
    weights: Path
    data: Path


@contextmanager
def prepared(subject: Subject, scale: Scale) -> Iterator[Prepared]:
    """Make network, images and files in a temporary folder."""
    torch.manual_seed(0)
    network = getattr(networks, subject.factory)(subject.classes).to(scale.device)
    some = images(SETTLED * subject.batch_size, subject.size)
    scaled = (some.to(scale.device) - MEAN[0]) / STD[0]
    networks.settle(network, list(scaled.split(subject.batch_size)))
    model = Preprocessed(network, MEAN, STD).to(scale.device).eval().requires_grad_(False)
    soften(
        model,
        [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1],
        some[:PROBED].to(scale.device),
    )
    batch = some[: subject.batch_size].to(scale.device)
    seconds = statistics.median(bare_times(model, batch, scale.device, rounds=3)[0])
    count = samples_for(seconds, subject, scale)
    inputs = images(count, subject.size)
    labels = predictions(model, inputs, subject.batch_size, scale.device)
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_file(
            {key: value.cpu().contiguous() for key, value in network.state_dict().items()}, folder / "net.safetensors"
        )
        pixels = (inputs * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        classes = np.array([f"class {number}" for number in range(subject.classes)])
        np.savez(folder / "test.npz", images=pixels, labels=labels.numpy(), classes=classes)
        yield Prepared(subject, model, inputs, labels, folder / "net.safetensors", folder / "test.npz")


class Workshop:
    """Makes every network with its images when first needed, and removes its files at the end."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._stack = ExitStack()
        self._made: dict[str, Prepared] = {}

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, subject: Subject) -> Prepared:
        """Return the prepared network of that description."""
        if subject.name not in self._made:
            with repeatable_backends():
                self._made[subject.name] = self._stack.enter_context(prepared(subject, self.scale))
        return self._made[subject.name]


def samples_for(seconds: float, subject: Subject, scale: Scale) -> int:
    """Return how many samples keep `pgd` busy for the time wanted, in whole batches.

    Args:
        seconds: of forward and backward of one batch.
        subject, scale: what is attacked, and for how long.
    """
    batches = round(scale.attack_seconds / (0.6 * STEPS * seconds))  # half of the samples stop early
    return subject.batch_size * max(2, min(batches, scale.most_batches))


def images(count: int, size: int) -> Tensor:
    """Return random images (count, 3, size, size) of 8-bit values in [0, 1]: smooth patterns of all contrasts."""
    generator = torch.Generator().manual_seed(1)
    rough = torch.rand(count, 3, 5, 5, generator=generator)
    contrast = torch.rand(count, 1, 1, 1, generator=generator)
    smooth = F.interpolate(0.5 + contrast * (rough - 0.5), size=(size, size), mode="bilinear", align_corners=True)
    noise = 0.1 * (torch.rand(count, 3, size, size, generator=generator) - 0.5)
    return ((smooth + noise).clamp(0, 1) * 255).round() / 255


@torch.no_grad()
def predictions(model: nn.Module, inputs: Tensor, batch_size: int, device: str) -> Tensor:
    """Return the predicted classes, on the CPU."""
    return torch.cat([model(batch.to(device)).argmax(dim=1).cpu() for batch in inputs.split(batch_size)])


@torch.no_grad()
def soften(model: nn.Module, head: nn.Linear, inputs: Tensor) -> None:
    """Scale the head so that about half of the samples survive at the budget ``stands``.

    Random networks are so steep that any perturbation breaks them. Here the first class gets a lead of 1, and all
    other differences between logits are made small enough, by bisection of the logarithm of their scale.
    """
    weight = head.weight.clone()
    head.bias.zero_()
    head.bias[0] = 1
    low, high = 2.0**-24, 2.0**4
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        head.weight.copy_(middle * weight)
        share = surviving(model, inputs, model(inputs).argmax(dim=1), EPS["stands"])
        if 0.4 <= share <= 0.6:
            return
        low, high = (middle, high) if share > 0.5 else (low, middle)


@torch.enable_grad()
def surviving(model: nn.Module, inputs: Tensor, labels: Tensor, eps: float) -> float:
    """Return the share of samples that are right at every iterate of a simple projected gradient ascent."""
    current, standing = inputs, torch.ones_like(labels, dtype=torch.bool)
    for _ in range(STEPS):
        gradient, logits = gradient_of(model, current, labels)
        standing &= logits.argmax(dim=1) == labels
        moved = current + ALPHA * eps / STEPS * gradient.sign()
        current = torch.minimum(torch.maximum(moved, inputs - eps), inputs + eps).clamp(0, 1)
    with torch.no_grad():
        standing &= model(current).argmax(dim=1) == labels
    return float(standing.float().mean())


def gradient_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of the summed cross-entropy with respect to the inputs, and the logits."""
    inputs = inputs.detach().requires_grad_()
    logits = model(inputs)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), inputs)
    return gradient, logits.detach()


def bare_times(model: nn.Module, batch: Tensor, device: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of forward and backward, and of forward alone, for one batch in every round."""
    labels = torch.zeros(len(batch), dtype=torch.long, device=batch.device)

    @torch.no_grad()
    def forward() -> Tensor:
        return model(batch)

    both, one = interleaved_times([lambda: gradient_of(model, batch, labels), forward], rounds, device)
    return both, one

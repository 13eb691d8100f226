"""Models whose exact robustness is known in closed form, and inputs so near to mid-grey that the box never binds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, resolve_attack
from stein_bench.attacks.refill import run_search
from stein_bench.attacks.search import Batch, Search
from stein_bench.tasks import Classification

TASK = Classification()

QUICK = {
    "CW": "steps=2",
    "DeepFool": "steps=2",
    "EADEN": "max_iterations=10,binary_search_steps=1",
    "EADL1": "max_iterations=10,binary_search_steps=1",
    "OnePixel": "steps=1,popsize=2",
    "PGDRS": "steps=1,noise_batch_size=2",
    "PGDRSL2": "steps=1,noise_batch_size=2",
    "Pixle": "restarts=2,max_iterations=1",
    "SparseFool": "steps=1",
    "Square": "n_queries=5",
    "SPSA": "nb_sample=2,max_batch_size=2",
}
"""Parameters of torchattacks' slow classes that make them quick enough for a smoke test."""


class LinearClasses(nn.Module):
    """K classes: logits W·x. A sample is robust iff no other class is within eps of it in the dual norm.

    With `uneven`, classes differ in their slopes, so that the likeliest other class is often not the nearest.
    """

    def __init__(self, classes: int, features: int, seed: int = 0, *, uneven: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(classes, features, generator=generator)
        if uneven:
            weight = weight * torch.linspace(0.2, 3, classes)[:, None]
        self.weight = nn.Parameter(weight - weight.mean(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T

    def robust(self, inputs: Tensor, labels: Tensor, eps: float, norm: str) -> Tensor:
        logits = self(inputs)
        gaps = logits.gather(1, labels[:, None]) - logits
        dual = (self.weight[:, None] - self.weight[None]).norm(dim=2, p=1 if norm == "Linf" else 2)[labels]
        others = torch.ones_like(gaps, dtype=torch.bool).scatter(1, labels[:, None], False)
        return ((gaps > eps * dual) | ~others).all(dim=1)


class Padded(nn.Module):
    """A model with further classes that never win: for losses that need more of them. Robustness stays the same."""

    def __init__(self, model: LinearClasses, more: int) -> None:
        super().__init__()
        self.model, self.more = model, more

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pad(self.model(x), (0, self.more), value=-50.0)

    def robust(self, inputs: Tensor, labels: Tensor, eps: float, norm: str) -> Tensor:
        return self.model.robust(inputs, labels, eps, norm)


class HingeClasses(nn.Module):
    """Piecewise linear: class k sums weighted hinges over pixels of its own, so that Linf's worst case is a corner.

    Where a hinge is flat its gradient is zero, so that one step from the clean input does not show the way.
    """

    def __init__(self, classes: int, features: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        owner = torch.arange(features) % classes
        self.weight = nn.Parameter(
            torch.rand(classes, features, generator=generator) * (owner == torch.arange(classes)[:, None])
        )
        self.knee = nn.Parameter(0.5 + 0.05 * torch.randn(features, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.knee).relu() @ self.weight.T

    def robust(self, inputs: Tensor, labels: Tensor, eps: float, norm: str) -> Tensor:
        assert norm == "Linf"
        high, low = self(inputs + eps), self(inputs - eps)
        own = low.gather(1, labels[:, None]).squeeze(1)
        return own > high.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def problem(model: nn.Module, shape: tuple[int, ...], n: int, spread: float = 0.06) -> tuple[Tensor, Tensor]:
    """Return inputs with the labels that the model gives them."""
    generator = torch.Generator().manual_seed(1)
    inputs = 0.5 + spread * torch.randn(n, *shape, generator=generator).clamp(-3, 3)
    with torch.no_grad():
        return inputs, model(inputs).argmax(dim=1)


def seeds_of(n: int) -> list[int]:
    return [1000 + i for i in range(n)]


def searched(
    search: Search[Any],
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    batch_dependent: bool = False,
) -> Tensor:
    """Return what one search finds for one batch; `targets` are target classes (n,)."""
    batch = Batch.untargeted(inputs, labels, seeds_of(len(inputs)))
    if targets is not None:
        batch = Batch(inputs, labels, batch.seeds, targets[:, None])
    return run_search(search, model, batch, batch_dependent=batch_dependent)


def run(
    spec: str | Attack,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int | None = None,
    batch_dependent: bool = False,
) -> Tensor:
    """Run an attack batch by batch, as evaluation does; seeds belong to samples."""
    attack = resolve_attack(spec) if isinstance(spec, str) else spec
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    seeds, found = seeds_of(len(inputs)), []
    size = batch_size or len(inputs)
    classes = model(inputs[:1]).shape[1]
    for i in range(0, len(inputs), size):
        part = slice(i, i + size)
        found.append(
            attack.run(
                model,
                inputs[part],
                labels[part],
                TASK,
                classes=classes,
                seeds=seeds[part],
                batch_dependent=batch_dependent,
            )
        )
    return torch.cat(found)


@torch.no_grad()
def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return TASK.correct(model(inputs), labels)

"""Trains the three networks of the zoo: ``python -m tests.defences.weights`` writes their weights beside this file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from stein_bench.data.digits import Digits
from tests.defences.zoo import Normalized, Standard, Trained

EPS = 0.15
"""Linf radius of the adversarial training."""
EPOCHS = 40
FOLDER = Path(__file__).parent


def path(network: type[nn.Module]) -> Path:
    """Return the file of the weights that fit a class of the zoo."""
    own = network.__name__ if network in (Standard, Normalized) else "Trained"
    return FOLDER / f"{own.lower()}.safetensors"


def weighted(network: type[Trained]) -> Trained:
    """Return a network of the zoo, or one of its parameters, with its weights, in evaluation mode."""
    model = network(num_classes=10)
    model.load_state_dict(load_file(path(network)))
    return model.eval()


def trained(network: type[Trained], eps: float, *, epochs: int = EPOCHS, seed: int = 0) -> Trained:
    """Train on the digits: with `eps` above 0 on the images that PGD of seven steps finds (Madry et al. 2018)."""
    torch.manual_seed(seed)
    model = network(num_classes=10)
    images, labels = digits("train")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * (len(labels) // 64 + 1))
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            shown = _worst(model, images[rows], labels[rows], eps) if eps else images[rows]
            optimizer.zero_grad()
            functional.cross_entropy(model(shown), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def digits(split: str, count: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images in [0, 1] and labels."""
    samples = Digits().samples(split)
    inputs, labels = samples.batch(range(len(samples) if count is None else count))
    return inputs, labels


def _worst(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    shift = torch.empty_like(images).uniform_(-eps, eps)
    for _ in range(7):
        shown = (images + shift).clamp(0, 1).requires_grad_(True)
        (slope,) = torch.autograd.grad(functional.cross_entropy(model(shown), labels), shown)
        shift = (shift + eps / 3 * slope.sign()).clamp(-eps, eps)
    return (images + shift).clamp(0, 1)


def main() -> None:
    """Train the three and write their weights."""
    for network, eps in ((Trained, EPS), (Standard, 0.0), (Normalized, EPS)):
        save_file(trained(network, eps).state_dict(), path(network))


if __name__ == "__main__":
    main()

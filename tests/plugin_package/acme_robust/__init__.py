"""One part of each kind."""

import torch
from torch import nn


def noise(model, inputs, labels, *, eps, seed, draws: int = 2):
    """Random corners of the ε-ball, the worst of a few."""
    generator = torch.Generator().manual_seed(seed)
    best, lowest = inputs, torch.full((len(inputs),), torch.inf)
    for _ in range(draws):
        signs = torch.randint(0, 2, inputs.shape, generator=generator) * 2 - 1
        candidates = (inputs + eps * signs).clamp(0, 1)
        own = model(candidates).gather(1, labels[:, None])[:, 0].detach()
        worse = (own < lowest).view(-1, *[1] * (inputs.ndim - 1))
        best, lowest = torch.where(worse, candidates, best), torch.minimum(own, lowest)
    return best


def half(mean, variance, count):
    """Half of the mean, the sample variance."""
    return mean / 2, variance


def stripes(split="test"):
    """Stripes in two directions."""
    generator = torch.Generator().manual_seed(int(split == "train"))
    count = 40 if split == "test" else 400
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 8, 8, generator=generator) / 4 + 0.25
    for image, label in zip(images, labels, strict=True):
        (image[0] if label else image[0].T)[::2] += 0.3
    return images, labels


class Net(nn.Sequential):
    """A convolution with BN."""

    def __init__(self, num_classes=2, in_channels=1, width=8):
        super().__init__(
            nn.Conv2d(in_channels, width, 3),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, num_classes),
        )


def margin(logits, labels):
    """Logit of the label minus the largest other."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return logits.gather(1, labels[:, None])[:, 0] - others.amax(dim=1)

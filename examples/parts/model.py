"""A model: a function or class that returns a torch.nn.Module, from images in [0, 1] to logits."""

from torch import nn


def small_net(num_classes, in_channels=3, width=16):
    """Two convolutions with batch normalization.

    `num_classes` and `in_channels` are given because the signature has them: the numbers that the data have. `width` is
    a setting that a command can change.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, num_classes),
    )  # fmt: skip

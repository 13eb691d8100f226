"""Estimators as a user writes them, good and bad ones."""

import torch


def half(mean, variance, count):
    """Half of the mean."""
    return mean / 2, variance


def like_stein(mean, variance, count):
    """The formulas of arXiv 2507.08261, written straightforwardly."""
    channels = mean.numel()
    spread = (mean - mean.mean()).square().mean() / mean.square().sum()
    geometric = variance.clamp_min(1e-38).log().mean().exp()
    scale = 1 / (1 + 1 / count)
    pull = 4 * (channels - 1) * scale / ((count - 1) * channels + 2)
    shrunk = mean * (1 - (channels - 2) * channels / (channels + 1) * spread) if channels > 2 else mean
    return shrunk, scale * variance + pull * geometric


def like_james_stein(mean, variance, count):
    """Positive-part James-Stein."""
    if mean.numel() < 3:
        return mean, variance / (1 + 1 / count)
    kept = 1 - (mean.numel() - 2) * variance.mean() / count / mean.square().sum()
    return mean * kept.clamp_min(0), variance / (1 + 1 / count)


def negative(mean, variance, count):
    return mean, -variance


def unbounded(mean, variance, count):
    return mean * count, variance


def whole_numbers(mean, variance, count):
    return mean.round().long(), variance


def only_one(mean, variance, count):
    return mean


def other_shape(mean, variance, count):
    return mean, variance.mean()


def raises(mean, variance, count):
    raise ValueError("no")


def wrong_pull_back(mean, variance, count):
    return mean / 2, variance


wrong_pull_back.pull_back = lambda mean, variance, count, mean_grad, variance_grad: (mean_grad, variance_grad)
number = torch.tensor(3.0)

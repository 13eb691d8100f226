"""A small network for the embedded digits, and defenses around it that hide its gradient from an attack.

Every class is called with ``num_classes=`` and has the parameters of `Trained`, so that one file of weights fits all::

    stein-bench evaluate tests/defences/zoo.py:Argmax --weights tests/defences/trained.safetensors --mean 0 --std 1

Unless its docstring says otherwise a defense leaves (nearly) all predictions as they are: it is no more robust than the
undefended network. Inputs are expected in [0, 1].
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Trained(nn.Module):
    """The undefended network: two convolutions and a linear layer, 7,000 parameters.

    A defense overrides one of the stages `images`, `features`, `outputs`, or the whole.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 4, stride=4)
        self.conv2 = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.linear = nn.Linear(384, num_classes)

    def images(self, x: Tensor) -> Tensor:
        """Return what the first layer sees of the images."""
        return x

    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer sees."""
        return functional.relu(self.conv2(functional.relu(self.conv1(x)))).flatten(1)

    def outputs(self, scores: Tensor) -> Tensor:
        """Return what the network returns in place of its logits."""
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(self.linear(self.features(self.images(x))))


class Standard(Trained):
    """The same network; its weights are those of a standard training."""


class Normalized(Trained):
    """Undefended, with BN (and weights of its own)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.bn1, self.bn2 = nn.BatchNorm2d(12), nn.BatchNorm2d(24)

    def features(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))).flatten(1)


class Dropped(Trained):
    """Undefended, with a dropout layer, which is off in evaluation mode."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.dropout = nn.Dropout(0.3)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.dropout(super().features(x))
        return features


# Outputs that are not the logits.


class SaturatedSoftmax(Trained):
    """Probabilities that are exactly 0 and 1 in float32."""

    def outputs(self, scores: Tensor) -> Tensor:
        return torch.softmax(200 * scores, dim=1)


class RoundedSoftmax(Trained):
    """Probabilities with two decimals."""

    def outputs(self, scores: Tensor) -> Tensor:
        return torch.round(100 * torch.softmax(scores, dim=1)) / 100


class ClampedSoftmax(Trained):
    """Sharp probabilities that are never below 0.001."""

    def outputs(self, scores: Tensor) -> Tensor:
        return torch.softmax(10 * scores, dim=1).clamp(1e-3, 1 - 1e-3)


class SharpLogSoftmax(Trained):
    """Logarithms of sharp probabilities, which are logits: their cross-entropy is nearly flat."""

    def outputs(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(100 * scores, dim=1)


class Argmax(Trained):
    """One-hot vectors of the predicted class."""

    def outputs(self, scores: Tensor) -> Tensor:
        return functional.one_hot(scores.argmax(dim=1), scores.shape[1]).float()


class _Hard(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, scores: Tensor) -> Tensor:
        return functional.one_hot(scores.argmax(dim=1), scores.shape[1]).float()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


class HardOutputs(Trained):
    """One-hot vectors of the predicted class, from a function whose backward pass returns zeros."""

    def outputs(self, scores: Tensor) -> Tensor:
        found: Tensor = _Hard.apply(scores)  # type: ignore[no-untyped-call]
        return found


class TinyLogits(Trained):
    """Logits so small that the cross-entropy hardly depends on them."""

    def outputs(self, scores: Tensor) -> Tensor:
        return 1e-6 * scores


class HugeLogits(Trained):
    """Logits so large that the cross-entropy is exactly flat in float32."""

    def outputs(self, scores: Tensor) -> Tensor:
        return 1e4 * scores


class RoundedLogits(Trained):
    """Logits in steps of a quarter. Some of the largest become equal, and the first class of these is predicted."""

    def outputs(self, scores: Tensor) -> Tensor:
        return torch.round(4 * scores) / 4


# Images that are changed by something without a useful gradient.


class RoundedPixels(Trained):
    """Pixels in steps of 1/8, which changes predictions."""

    def images(self, x: Tensor) -> Tensor:
        return torch.round(8 * x) / 8


class BytePixels(Trained):
    """Pixels as bytes: an integer type, to which no gradient goes."""

    def images(self, x: Tensor) -> Tensor:
        return (255 * x + 0.5).clamp(0, 255).to(torch.uint8).float() / 255


class LookupPixels(Trained):
    """Pixels looked up in a table of ten values, which changes predictions."""

    def images(self, x: Tensor) -> Tensor:
        bounds = torch.linspace(0.05, 0.95, 9, device=x.device)
        return torch.linspace(0, 1, 10, device=x.device)[torch.bucketize(x.detach(), bounds)]


class BinaryPixels(Trained):
    """Black and white pixels, which changes predictions."""

    def images(self, x: Tensor) -> Tensor:
        return torch.heaviside(x - 0.5, torch.ones((), device=x.device))


class SignFeatures(Trained):
    """Features of which only those are told that exceed a threshold, which changes predictions."""

    def features(self, x: Tensor) -> Tensor:
        features = super().features(x)
        return (torch.sign(features - 0.3) + 1) / 2


class ClampedPixels(Trained):
    """Pixels limited to [0, 1], where they are already: on the limits themselves there is no gradient."""

    def images(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)


class PositivePixels(Trained):
    """Pixels through a ReLU, which changes none: black ones have no gradient."""

    def images(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class JpegPixels(Trained):
    """Images through a JPEG file each, outside torch, which changes predictions."""

    def images(self, x: Tensor) -> Tensor:
        from PIL import Image

        arrays = (255 * x.detach().cpu().clamp(0, 1)).round().byte().permute(0, 2, 3, 1).numpy()
        found = []
        for array in arrays:
            file = io.BytesIO()
            Image.fromarray(array).save(file, "JPEG", quality=50)
            found.append(np.asarray(Image.open(file), dtype=np.float32) / 255)
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(x.device)


class MedianPixels(Trained):
    """Each pixel is the median of the 5×5 around it, which changes predictions."""

    def images(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (2, 2, 2, 2), mode="replicate")
        return padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4).median(dim=-1).values


class SmoothedPixels(Trained):
    """Images with less total variation, found by a few steps without gradients, which changes predictions."""

    @torch.no_grad()
    def images(self, x: Tensor) -> Tensor:
        found = x.clone()
        for _ in range(10):
            down, right = found.diff(dim=2).sign(), found.diff(dim=3).sign()
            slope = functional.pad(down, (0, 0, 1, 0)) - functional.pad(down, (0, 0, 0, 1))
            slope += functional.pad(right, (1, 0)) - functional.pad(right, (0, 1))
            found -= 0.01 * slope + 0.1 * (found - x)
        return found.clamp(0, 1)


class SawtoothPixels(Trained):
    """Pixels with a ripple: tiny, but its slope is eight times that of the image."""

    def images(self, x: Tensor) -> Tensor:
        return x + 0.004 * torch.sin(2000 * x)


class SparseFeatures(Trained):
    """Only the largest fifth of the features (k winners take all), which changes predictions."""

    def features(self, x: Tensor) -> Tensor:
        features = super().features(x)
        least = features.topk(features.shape[1] // 5, dim=1).values[:, -1:]
        return torch.where(features >= least, features, 0.0)


# Gradients that are cut off, or not those of the function.


class NoGradients(Trained):
    """All of the network within ``torch.no_grad()``."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class NoImageGradients(Trained):
    """Preprocessing within ``torch.no_grad()``: only the layers after it have a gradient."""

    def images(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.clamp(0, 1)


class DetachedFeatures(Trained):
    """Features without a gradient."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).detach()


class _Zeros(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


class _Negated(_Zeros):
    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


class ZeroGradients(Trained):
    """A function that changes nothing and whose backward pass returns zeros."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(_Zeros.apply(x))  # type: ignore[no-untyped-call]


class NanGradients(Trained):
    """Another formula for negative pixels, of which there are none: its slope is not a number elsewhere."""

    def images(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, x, torch.sqrt(-x - 1))


class NegatedGradients(Trained):
    """A function that changes nothing and whose backward pass turns the gradient around."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(_Negated.apply(x))  # type: ignore[no-untyped-call]


# Another function while gradients are computed.


class NoiseIfTracked(Trained):
    """Noise on images that need a gradient: an attack sees another function than the one that is evaluated."""

    def images(self, x: Tensor) -> Tensor:
        return x + 0.5 * torch.randn_like(x) if x.requires_grad else x


class WrongIfEnabled(Trained):
    """Logits of other classes while gradients are enabled."""

    def outputs(self, scores: Tensor) -> Tensor:
        return scores.roll(1, dims=1) if torch.is_grad_enabled() else scores


class FlatIfTracked(Trained):
    """Features with a history are squeezed: their gradient vanishes."""

    def features(self, x: Tensor) -> Tensor:
        features = super().features(x)
        return features.detach() + 0.0 * features if features.grad_fn is not None else features


# Randomness, which makes the network more robust in part: the attack must use the mean over it.


class RandomNoise(Trained):
    """Noise on every image. What counts is the expected accuracy, under attacks on the expected loss."""

    def images(self, x: Tensor) -> Tensor:
        return x + 0.2 * torch.randn_like(x)


class RandomShift(Trained):
    """Every batch is shrunk and moved by chance. What counts is the expected accuracy."""

    def images(self, x: Tensor) -> Tensor:
        size = int(torch.randint(29, 33, ()))
        left, top = (int(torch.randint(0, 33 - size, ())) for _ in range(2))
        small = functional.interpolate(x, size=(size, size), mode="bilinear")
        return functional.pad(small, (left, 32 - size - left, top, 32 - size - top))


class Decisions(Trained):
    """The class of the nearest mean image, found outside torch: nothing but decisions tells the way."""

    def forward(self, x: Tensor) -> Tensor:
        from tests.defences.weights import digits

        images, labels = (part.numpy() for part in digits("train"))
        means = np.stack([images[labels == label].mean(axis=0).ravel() for label in range(10)])
        pixels = x.detach().cpu().flatten(1).numpy()
        distances = ((pixels[:, None] - means) ** 2).sum(axis=2)
        return torch.from_numpy(np.eye(10, dtype=np.float32)[distances.argmin(axis=1)]).to(x.device)


SOUND = (Trained, Standard, Normalized, Dropped)
"""Undefended networks: no check may warn of them."""

DEFENCES = (
    SaturatedSoftmax, RoundedSoftmax, ClampedSoftmax, SharpLogSoftmax, Argmax, HardOutputs, TinyLogits, HugeLogits,
    RoundedLogits, RoundedPixels, BytePixels, LookupPixels, BinaryPixels, SignFeatures, ClampedPixels, PositivePixels,
    JpegPixels, MedianPixels,
    SmoothedPixels, SawtoothPixels, SparseFeatures, NoGradients, NoImageGradients, DetachedFeatures, ZeroGradients,
    NanGradients, NegatedGradients, NoiseIfTracked, WrongIfEnabled, FlatIfTracked, RandomNoise, RandomShift,
)  # fmt: skip
"""Networks that hide their gradient or make an attack's single step a matter of chance."""

RANDOM = (RandomNoise, RandomShift)

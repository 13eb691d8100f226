"""The common corruptions of Hendrycks and Dietterich, for images of any size.

Names, severities and strengths are the published ones (`names`, `published`); the formulas are those of the code that
made CIFAR-10-C and ImageNet-C, https://github.com/hendrycks/robustness, written anew on NumPy, SciPy and Pillow. What
differs from the published data sets:

- the random draws are our own, one generator for each sample;
- `frost` has a texture of its own (`weather.frost`);
- the motion blur, of ImageMagick there, is the same sum of shifted images (`motion.moved`) up to its arithmetic;
- images are not stored as JPEG of quality 85 in the end, which ImageNet-C's files are;
- images that are no squares are allowed, and images of one channel.

Images of one channel: noise is drawn for that channel, colors of snow, frost and spatter are taken at their gray
value, JPEG files are gray, and `saturate` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stein_bench.corruptions import blur, digital, noise, weather
from stein_bench.corruptions.names import EXTRA, OWN_TEXTURE, SEVERITIES, STANDARD
from stein_bench.corruptions.pixels import Bytes, Corruption, Floats, cut
from stein_bench.corruptions.published import parameters, strengths
from stein_bench.errors import UsageError, unknown_name

__all__ = ["CORRUPTIONS", "OWN_TEXTURE", "SMALLEST", "corrupted", "parameters"]

SMALLEST = 8
"""Least number of pixels of a side."""

ROUNDING = 1e-6
"""In gray levels: a value that falls short of a whole one by less than that does so by rounding, and is whole."""

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}


def corrupted(name: str, severity: int, images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return the `images` under a common corruption, as stored with 8 bits.

    Images are rounded to 8-bit values first, as the published corruptions start from such. Of the result values
    outside [0, 255] are clipped and fractions are cut off, as by the published code. A sample's result is a function
    of its image, `name`, `severity` and its seed.

    Args:
        name: one of `STANDARD` or `EXTRA`.
        severity: 1 to 5; below a shorter side of 64 pixels the strengths of 32×32 images are used, from there on those
            of 224×224 (`parameters`).
        images: (n, C, H, W) float32 in [0, 1] on the CPU, with one or three channels (red, green, blue) and sides of at
            least `SMALLEST`.
        seeds: a non-negative integer for each image.

    Returns:
        A new (n, C, H, W) float32 tensor of multiples of 1/255 in [0, 1].

    Raises:
        UsageError: an unknown name or severity, or images or seeds that are not as above.
    """
    _check(name, severity, images, seeds)
    side = min(images.shape[2:])
    corruption, strength = CORRUPTIONS[name], strengths(name, severity, side)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    found = np.empty_like(pixels)
    for i, seed in enumerate(seeds):
        values = corruption(pixels[i], strength, np.random.default_rng(seed))
        found[i] = _stored(values)
    return torch.from_numpy(found).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255


def _stored(values: Floats) -> Bytes:
    return cut(np.clip(values + ROUNDING, 0, 255))


def _check(name: str, severity: int, images: Tensor, seeds: Sequence[int]) -> None:
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, (*STANDARD, *EXTRA))
    if severity not in SEVERITIES:
        raise UsageError(f"corruption {name}: severity {severity} is not one of 1 to 5")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(
            f"corruption {name}: images of shape {tuple(images.shape)}; it needs (n, C, H, W) with one or three "
            "channels"
        )
    if min(images.shape[2:]) < SMALLEST:
        height, width = images.shape[2:]
        raise UsageError(
            f"corruption {name}: images of {height}×{width} pixels are too small; the smallest side is {SMALLEST}"
        )
    if len(seeds) != len(images):
        raise UsageError(f"corruption {name}: {len(seeds)} seeds for {len(images)} images; one each is needed")
    # A comparison with NaN is false.
    if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
        raise UsageError(f"corruption {name}: the images have values outside [0, 1]")

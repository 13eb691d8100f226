"""What the corruptions share: arrays of pixels, and small filters on them.

Images are arrays of shape (height, width, channels) with one or three channels (red, green, blue). Borders are
continued as in the libraries of the published code: "mirror" of `scipy.ndimage` is reflection without repeating the
border pixel (OpenCV's default), "nearest" repeats the border pixel (scikit-image's default for blurring).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft, ndimage

from stein_bench.corruptions.published import Numbers

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Corruption = Callable[[Bytes, Numbers, Generator], Floats]
"""Maps (image of 8-bit values, published strength, generator of the sample) to values of which those in [0, 255] are
kept as they are, those outside are clipped and fractions are cut off."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a gray value (ITU-R BT.601, as in OpenCV and Pillow)."""

FEW = 50
"""Entries of a kernel from which on Fourier transforms are faster."""


def unit(image: Bytes) -> Floats:
    """Return the image with values in [0, 1]."""
    return image / 255.0


def cut(values: Floats) -> Bytes:
    """Return values in [0, 255] as 8-bit ones without their fractions."""
    return values.astype(np.uint8)


def gray(image: Floats) -> Floats:
    """Return the (height, width) gray values of an image of one or three channels."""
    if image.shape[2] == 1:
        return image[:, :, 0]
    red, green, blue = (weight * image[:, :, k] for k, weight in enumerate(LUMINANCE))
    return np.asarray(red + green + blue)


def tint(red: float, green: float, blue: float, channels: int) -> Floats:
    """Return a color as (channels,) values: itself, or its gray value for images of one channel."""
    color = np.array([red, green, blue])
    return color if channels == 3 else np.array([float((LUMINANCE * color).sum())])


def blurred(values: Floats, sigma: float) -> Floats:
    """Return (height, width, …) values after a Gaussian blur that is cut at four standard deviations."""
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=4.0, axes=(0, 1)))


def correlated(values: Floats, kernel: Floats) -> Floats:
    """Return the correlation of (height, width, …) values with a `kernel` of odd sides, mirrored at the borders.

    A sum over shifted images for few entries that are not zero, else a product of Fourier transforms.
    """
    above, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    height, width = values.shape[:2]
    padding = ((above, above), (left, left), *((0, 0),) * (values.ndim - 2))
    wide = np.pad(values, padding, mode="reflect")
    if np.count_nonzero(kernel) > FEW:
        sizes = [fft.next_fast_len(side, real=True) for side in wide.shape[:2]]
        turned = fft.rfft2(kernel[::-1, ::-1], sizes).reshape(sizes[0], -1, *(1,) * (values.ndim - 2))
        product = fft.irfft2(fft.rfft2(wide, sizes, axes=(0, 1)) * turned, sizes, axes=(0, 1))
        return np.asarray(product[2 * above : 2 * above + height, 2 * left : 2 * left + width])
    total = np.zeros_like(values)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        total += kernel[row, column] * wide[row : row + height, column : column + width]
    return total

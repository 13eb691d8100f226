"""One sample as a data set's `__getitem__` gives it: an image of several possible types, and a label.

The types and layouts are those of PyTorch's and torchvision's data sets: tensors are (C, …), as ToTensor returns them,
NumPy arrays (…, C), as Pillow gives them, and images are Pillow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stein_bench.data.layouts import sizes
from stein_bench.data.samples import MAX_CLASSES
from stein_bench.errors import UsageError, suggestion

ROUNDING = 1e-6
"""Rounding error by which values may exceed [0, 1] and still count as inside."""
IMAGE_KEYS = ("image", "images", "img", "pixel_values")
LABEL_KEYS = ("label", "labels", "target")
"""Keys of a sample that is a dictionary, as in MONAI and in Hugging Face's `datasets` and `transformers`."""
NORMALIZED = "leave out Normalize: mean and std are the model's first layer, see --mean and --std"

_MOST_CHANNELS = 4
_LARGEST_NORMALIZED = 16.0
"""Normalized images stay below this; values of unscaled 8-bit images are above it."""


def split_item(item: Any, where: str) -> tuple[Any, Any]:
    """Return image and label of an `item`, which is a pair or a dictionary; UsageError, naming `where`, if neither."""
    if isinstance(item, Mapping):
        return _by_key(item, IMAGE_KEYS, where), _by_key(item, LABEL_KEYS, where)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    found = f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
    raise UsageError(f"{where} is a {found}; return a pair (image, label), or a dictionary with both")


def label_of(label: Any, where: str) -> int:
    """Return `label`, a whole number or a tensor or array of one, as int; UsageError for anything else."""
    if isinstance(label, str):
        raise UsageError(f"{where} has the label {label!r}; return its class index, and the names as `classes`")
    values = np.asarray(label.detach().cpu() if isinstance(label, Tensor) else label)
    if values.size != 1 and values.dtype.kind in "iufb":
        hint = "one-hot: return label.argmax()" if values.ndim == 1 else "one class index is needed for a sample"
        raise UsageError(f"{where} has a label of shape {sizes(values.shape)}; {hint}")
    if values.size != 1 or values.dtype.kind not in "iub":
        kind = values.dtype if values.dtype.kind == "f" else type(label).__name__
        raise UsageError(f"{where} has a label of type {kind}; return its class index as a whole number")
    value = int(values.reshape(()))
    if not 0 <= value < MAX_CLASSES:
        raise UsageError(f"{where} has the label {value}; class indices from 0 to below {MAX_CLASSES} are needed")
    return value


def as_stored(image: Any, where: str) -> Image.Image | Tensor:
    """Return `image` as a Pillow image (gray or RGB) or a float32 tensor (C, …) in [0, 1].

    Raises UsageError, naming `where`, for another type or layout, and for values outside [0, 1].
    """
    if isinstance(image, Image.Image):
        return _checked_mode(image, where)
    if isinstance(image, np.ndarray):
        return _in_range(_array_first(image, where), where)
    if isinstance(image, Tensor):
        return _in_range(_tensor_first(image.detach().cpu(), where), where)
    raise UsageError(
        f"{where} has an image of type {type(image).__name__}; return a tensor (C, H, W), a Pillow image or a "
        "NumPy array (H, W, C)"
    )


def to_tensor(stored: Image.Image | Tensor) -> Tensor:
    """Return what `as_stored` returned as a float32 tensor (C, …) in [0, 1], as torchvision's ToTensor does."""
    if isinstance(stored, Tensor):
        return stored
    pixels = np.array(stored)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).movedim(-1, 0).contiguous().float().div_(255)


def _by_key(item: Mapping[Any, Any], keys: tuple[str, ...], where: str) -> Any:
    found = [key for key in keys if key in item]
    if len(found) == 1:
        return item[found[0]]
    held = ", ".join(map(str, item)) or "nothing"
    if found:
        raise UsageError(f"{where} has both {' and '.join(map(repr, found))}; return a pair (image, label)")
    near = next((text for key in item if (text := suggestion(str(key), keys, most=1))), "")
    raise UsageError(f"{where} is a dictionary without {keys[0]!r}: it holds {held}.{near}")


def _checked_mode(image: Image.Image, where: str) -> Image.Image:
    # A palette's indices are no brightness, and Pillow clips more than 8 bits.
    if image.mode not in ("L", "RGB"):
        raise UsageError(f'{where} has an image of mode {image.mode}; return image.convert("RGB")')
    return image


def _array_first(image: np.ndarray, where: str) -> Tensor:
    if image.dtype == object or image.dtype.kind not in "iuf":
        raise UsageError(f"{where} has an array of {image.dtype}; store uint8, or float in [0, 1]")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim not in (3, 4):
        raise UsageError(f"{where} has an array of shape {sizes(image.shape)}; (H, W, C) or (D, H, W, C) is needed")
    if image.shape[-1] > _MOST_CHANNELS >= image.shape[0]:
        hint = "return it as a tensor, or np.moveaxis(image, 0, -1)"
        raise UsageError(f"{where} has an array of shape {sizes(image.shape)}, channels first; {hint}")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))


def _tensor_first(image: Tensor, where: str) -> Tensor:
    if image.ndim == 2:
        image = image[None]
    if image.ndim not in (3, 4):
        raise UsageError(f"{where} has a tensor of shape {sizes(image.shape)}; (C, H, W) or (C, D, H, W) is needed")
    if image.shape[0] > _MOST_CHANNELS >= image.shape[-1]:
        hint = "return image.movedim(-1, 0), or a NumPy array"
        raise UsageError(f"{where} has a tensor of shape {sizes(image.shape)}, channels last; {hint}")
    return image


def _in_range(image: Tensor, where: str) -> Tensor:
    if 0 in image.shape:
        raise UsageError(f"{where} has an empty image ({sizes(image.shape)})")
    if image.dtype == torch.uint8:
        return image.float().div_(255).contiguous()
    if not image.is_floating_point():
        kind = str(image.dtype).removeprefix("torch.")
        raise UsageError(f"{where} has an image of {kind}; return uint8 from 0 to 255, or float in [0, 1]")
    values = image.float()
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"{where} has values that are not finite; replace them")
    if low < -ROUNDING or high > 1 + ROUNDING:
        unscaled = low >= 0 and high > _LARGEST_NORMALIZED
        advice = "divide by 255, or return uint8" if unscaled else NORMALIZED
        raise UsageError(f"{where} has values from {low:.4g} to {high:.4g}, outside [0, 1]; {advice}")
    return values.clamp(0, 1).contiguous()

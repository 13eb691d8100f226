"""What an image processor of transformers does to an image, expressed as resizing, cropping and input scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stein_bench.errors import UsageError
from stein_bench.models.interface import IMAGENET, PretrainedConfig

RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's filters (PIL.Image.Resampling) that can be expressed."""
FAMILIES = ("Beit", "Bit", "CLIP", "ConvNext", "DeiT", "MobileNetV1", "MobileNetV2", "Pvt", "Siglip", "ViT")
"""Processors that only resize, crop the center, multiply by a factor and normalize, in this order.

Others do more (EfficientNet's scales twice, MobileViT's flips the channels) or in another way (LeViT's, PoolFormer's).
"""
SUFFIXES = ("FeatureExtractor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil")
CONVNEXT_WARPS_FROM = 384
"""From this size on ConvNext's processor stretches instead of cropping (models/convnext of transformers)."""


@dataclass(frozen=True)
class Sides:
    """The side that images are resized to, whether they are stretched to a square of it, and the side of the crop."""

    resized: int
    stretch: bool
    cropped: int


def expressed(processor: Any, num_classes: int, label_space: str | None, origin: str) -> PretrainedConfig:
    """Return the preprocessing of a transformers `processor`, for inputs in [0, 1].

    Raises:
        UsageError: it does something that cannot be expressed.
    """
    family = _family(processor)
    if family not in FAMILIES:
        raise _refused(origin, f"the preprocessing of {type(processor).__name__} is not known here")
    for name in ("rescale_offset", "do_flip_channel_order", "do_color_quantize", "do_pad"):
        if getattr(processor, name, None):
            raise _refused(origin, f"its image processor has {name}, which cannot be expressed")
    if not getattr(processor, "do_resize", True):
        raise _refused(origin, "its image processor does not resize, so the image size is unknown")
    resample = int(getattr(processor, "resample", 2))
    if resample not in RESAMPLING:
        raise _refused(origin, f"its image processor resizes by Pillow's filter {resample}, which cannot be expressed")
    sides = _sides(processor, family, origin)
    mean, std = _scaling(processor)
    return PretrainedConfig(
        mean=mean,
        std=std,
        image_size=sides.cropped,
        crop_pct=sides.cropped / sides.resized,
        interpolation=RESAMPLING[resample],
        num_classes=num_classes,
        label_space=label_space,
        origin=origin,
        resizing="stretched" if sides.stretch else "floored-crop",
    )


def label_space(id2label: Mapping[int, str]) -> str | None:
    """Return ``imagenet-1k`` if the names of the classes are those of ImageNet in their order, else None.

    Names are compared with timm's by what one of them has in common, since lists differ in a few synonyms.
    """
    if len(id2label) != 1000:
        return None
    from timm.data import ImageNetInfo

    known = ImageNetInfo(IMAGENET)
    same = sum(
        bool(_synonyms(id2label.get(index, "")) & _synonyms(known.index_to_description(index)))
        or id2label.get(index) == known.index_to_label_name(index)
        for index in range(1000)
    )
    return IMAGENET if same >= 950 else None


def _synonyms(text: str) -> set[str]:
    return {name.strip().lower() for name in str(text).split(",")} - {""}


def _family(processor: Any) -> str:
    name = type(processor).__name__
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def _sides(processor: Any, family: str, origin: str) -> Sides:
    size, crop = getattr(processor, "size", None), getattr(processor, "crop_size", None)
    shortest, square = _side(size, "shortest_edge"), _square(size)
    crops = getattr(processor, "do_center_crop", None)
    if family == "ConvNext":
        if shortest is None or crops:
            raise _refused(origin, "its image processor has no shortest_edge, or crops twice")
        if shortest >= CONVNEXT_WARPS_FROM:
            return Sides(shortest, True, shortest)
        return Sides(int(shortest / processor.crop_pct), False, shortest)
    resized = square if square is not None else shortest
    cropped = _square(crop) if crops else square
    if resized is None or cropped is None:
        raise _refused(origin, "its image processor does not make square images of one size")
    if cropped > resized:
        raise _refused(origin, "its image processor pads images to its crop_size, which cannot be expressed")
    return Sides(resized, square is not None, cropped)


def _square(size: Any) -> int | None:
    height, width = _side(size, "height"), _side(size, "width")
    return height if height == width else None


def _side(size: Any, name: str) -> int | None:
    found = size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)
    return None if found is None else int(found)


def _scaling(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std for inputs in [0, 1], where processors take pixels up to 255."""
    factor = 255 * float(processor.rescale_factor) if getattr(processor, "do_rescale", True) else 255.0
    factor = 1.0 if abs(factor - 1) < 1e-9 else factor
    if not getattr(processor, "do_normalize", True):
        return (0.0,), (1 / factor,)
    mean, std = (
        (float(found),) if isinstance(found, int | float) else tuple(map(float, found))
        for found in (processor.image_mean, processor.image_std)
    )
    return tuple(value / factor for value in mean), tuple(value / factor for value in std)


def _refused(origin: str, why: str) -> UsageError:
    return UsageError(f"{origin}: {why}; let a function in FILE.py return the model, and give --mean and --std.")

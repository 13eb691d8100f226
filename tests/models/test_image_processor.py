"""What an image processor of transformers does, expressed as resizing, cropping and input scaling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageNetInfo

from stein_bench.data.resize import RESIZINGS, Resize, resize_image
from stein_bench.errors import UsageError
from stein_bench.models.image_processor import FAMILIES, expressed, label_space
from stein_bench.models.interface import PretrainedConfig

SQUARE, CROP = {"height": 36, "width": 36}, {"height": 32, "width": 32}


def found(processor: Any) -> PretrainedConfig:
    return expressed(processor, 3, None, "transformers net")


def stand_in(family: str, **changes: Any) -> Any:
    """An object with the attributes of a processor, without the library."""
    attributes = {
        "size": CROP, "resample": 2, "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1],
    }  # fmt: skip
    return type(f"{family}ImageProcessor", (SimpleNamespace,), {})(**{**attributes, **changes})


@pytest.mark.parametrize(
    ("family", "changes", "size", "crop_pct", "resizing"),
    [
        ("ViT", {}, 32, 1.0, "stretched"),
        ("DeiT", {"size": SQUARE, "crop_size": CROP, "do_center_crop": True}, 32, 32 / 36, "stretched"),
        (
            "Bit",
            {"size": {"shortest_edge": 36}, "crop_size": CROP, "do_center_crop": True},
            32,
            32 / 36,
            "floored-crop",
        ),
        ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.9}, 32, 32 / 35, "floored-crop"),
        ("ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": 0.9}, 384, 1.0, "stretched"),
    ],
)
def test_resizing_and_cropping(family, changes, size, crop_pct, resizing):
    own = found(stand_in(family, **changes))
    assert (own.image_size, own.crop_pct, own.resizing, own.interpolation) == (size, crop_pct, resizing, "bilinear")


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)),
        ({"do_normalize": False}, (0.0,), (1.0,)),
        ({"image_mean": 0.5, "image_std": 0.25}, (0.5,), (0.25,)),
        ({"rescale_factor": 1 / 127.5}, (0.25, 0.2, 0.15), (0.1, 0.1, 0.05)),
        ({"do_rescale": False, "do_normalize": False}, (0.0,), (1 / 255,)),
    ],
)
def test_scaling_is_that_for_inputs_up_to_1(changes, mean, std):
    own = found(stand_in("ViT", **changes))
    assert own.mean == pytest.approx(mean)
    assert own.std == pytest.approx(std)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "EfficientNet",
            {},
            r"the preprocessing of EfficientNetImageProcessor is not known here; let a function in FI",
        ),
        ("ViT", {"rescale_offset": True}, r"its image processor has rescale_offset, which cannot be expressed"),
        ("ViT", {"do_flip_channel_order": True}, r"has do_flip_channel_order, which cannot"),
        ("ViT", {"do_resize": False}, r"does not resize, so the image size is unknown"),
        ("ViT", {"resample": 1}, r"resizes by Pillow's filter 1, which cannot be expressed"),
        ("ViT", {"size": {"height": 32, "width": 48}}, r"does not make square images of one size"),
        ("CLIP", {"size": {"shortest_edge": 32}}, r"does not make square images of one size"),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE, "do_center_crop": True}, r"pads images to its"),
        ("ConvNext", {}, r"has no shortest_edge, or crops twice"),
    ],
)
def test_what_cannot_be_expressed_is_refused(family, changes, message):
    with pytest.raises(UsageError, match=f"^transformers net: .*{message}"):
        found(stand_in(family, **changes))


def test_class_names_are_imagenets_only_in_its_order():
    known = ImageNetInfo("imagenet-1k")
    names = {index: known.index_to_description(index) for index in range(1000)}
    assert label_space(names) == "imagenet-1k"
    assert label_space({index: name.partition(",")[0] for index, name in names.items()}) == "imagenet-1k"
    assert label_space({index: known.index_to_label_name(index) for index in range(1000)}) == "imagenet-1k"
    assert label_space({999 - index: name for index, name in names.items()}) is None
    assert label_space({index: f"LABEL_{index}" for index in range(1000)}) is None
    assert label_space({index: names[index] for index in range(10)}) is None


@pytest.mark.slow
@pytest.mark.parametrize("height", [40, 41, 64, 120])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {}) for family in FAMILIES),
        ("ViT", {"resample": 3, "do_normalize": False}),
        ("ViT", {"resample": 0, "rescale_factor": 1 / 127.5}),
        ("ViT", {"do_rescale": False}),
        ("DeiT", {"size": SQUARE, "crop_size": CROP}),
        ("Beit", {"size": SQUARE, "crop_size": CROP, "do_center_crop": True}),
        ("Bit", {"size": {"shortest_edge": 36}, "crop_size": CROP}),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": CROP}),
        ("MobileNetV1", {"size": {"shortest_edge": 36}, "crop_size": CROP}),
        ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.9}),
    ],
)
def test_a_photograph_becomes_what_the_processor_itself_makes_of_it(family, options, height):
    transformers = pytest.importorskip("transformers")
    pillow = "Pil" if hasattr(transformers, f"{family}ImageProcessorPil") else ""  # since version 5
    processor = getattr(transformers, f"{family}ImageProcessor{pillow}")(**options)
    pixels = np.random.default_rng(height).integers(0, 256, (height, 57, 3), dtype=np.uint8)
    expected = np.asarray(processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0])
    own = found(processor)
    resize: Resize = RESIZINGS[own.resizing](own.image_size, own.crop_pct, own.interpolation)
    resized = np.asarray(resize_image(Image.fromarray(pixels), resize)).transpose(2, 0, 1) / 255
    scaled = (resized - np.reshape(own.mean, (-1, 1, 1))) / np.reshape(own.std, (-1, 1, 1))
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_the_three_ways_of_resizing_differ_in_shape_and_crop():
    usual, floored, stretched = (RESIZINGS[name](32, 32 / 35) for name in ("usual", "floored-crop", "stretched"))
    assert [way.scaled(70, 140) for way in (usual, floored, stretched)] == [(35, 70), (35, 70), (35, 35)]
    assert [way.offset(35) for way in (usual, floored, stretched)] == [2, 1, 1]
    assert len({repr(way) for way in (usual, floored, stretched)}) == 3  # it is part of the hash of the data

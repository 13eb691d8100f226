"""Adversarial examples as pictures with captions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stein_bench.report.adversarials import Example, Gallery

Picture = NDArray[np.uint8]

MOST_PICTURED = 24
"""Number of examples that a page shows; the file contains the others."""
LARGEST_SIDE = 256
"""In pixels; larger pictures are downscaled on a page."""


@dataclass(frozen=True)
class Shot:
    """One example as pictures.

    Attributes:
        title: the sample and, unless it is segmented, its label.
        pictures: name and pixels (H, W, 3) of each.
        broken: whether the attack succeeded.
        label: name of the class, empty if every pixel has one.
        change: size of the whole sample's perturbation.
    """

    variant: str
    attack: str
    title: str
    pictures: tuple[tuple[str, Picture], ...]
    broken: bool
    label: str
    change: str


def shots(gallery: Gallery, most: int = MOST_PICTURED) -> list[Shot]:
    """Return the first examples of every variant and attack as pictures, about `most` in total."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in gallery.examples:
        groups.setdefault((example.variant, example.attack), []).append(example)
    each = max(1, most // max(len(groups), 1))
    return [_shot(example, gallery) for group in groups.values() for example in group[:each]]


def _shot(example: Example, gallery: Gallery) -> Shot:
    inputs, adv_inputs = (np.nan_to_num(values, nan=0.0) for values in (example.inputs, example.adv_inputs))
    delta = adv_inputs - inputs
    change = f"{255 * np.abs(delta).max():.3g}/255 at most, L2 {np.linalg.norm(delta):.3g}"
    where = label = ""
    if inputs.ndim == 4:
        depth = int(np.abs(delta).sum(axis=(0, 2, 3)).argmax())
        where = f", slice {depth + 1} of {inputs.shape[1]}"
        inputs, adv_inputs, delta = inputs[:, depth], adv_inputs[:, depth], delta[:, depth]
    largest = float(np.abs(delta).max())
    factor = 0.5 / largest if largest > 0 else 1.0
    difference = (f"difference ×{factor:.3g}", pixels(0.5 + factor * delta))
    title = f"sample {example.index}{where}"
    if example.label.ndim:
        pictures = tuple(_maps(example, inputs, adv_inputs))
    else:
        names = [gallery.class_name(int(v)) for v in (example.label, example.clean_prediction, example.adv_prediction)]
        label = names[0]
        title += f", label {label}"
        pictures = ((f"clean → {names[1]}", pixels(inputs)), (f"adversarial → {names[2]}", pixels(adv_inputs)))
    return Shot(example.variant, example.attack, title, (*pictures, difference), example.broken, label, change)


def _maps(
    example: Example, inputs: NDArray[np.float32], adv_inputs: NDArray[np.float32]
) -> Iterator[tuple[str, Picture]]:
    yield "clean", pixels(inputs)
    yield "labels", overlaid(pixels(inputs), example.label)
    yield "prediction, clean", overlaid(pixels(inputs), example.clean_prediction)
    yield "prediction, adversarial", overlaid(pixels(adv_inputs), example.adv_prediction)


def pixels(values: NDArray[np.floating]) -> Picture:
    """Return (C, H, W) in [0, 1] as (H, W, 3): the first three channels as RGB; with fewer, their mean as gray."""
    channels = values[:3] if len(values) >= 3 else np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return np.asarray(np.clip(np.moveaxis(channels, 0, 2) * 255 + 0.5, 0, 255), np.uint8)


def overlaid(picture: Picture, classes: NDArray[np.int64]) -> Picture:
    """Overlay a class map on a picture, half transparent; pixels without a class (below 0, or 255) are unchanged."""
    colors = np.array([_class_color(number) for number in range(256)], np.float64)
    known = (classes >= 0) & (classes != 255)
    laid = 0.45 * picture + 0.55 * colors[np.where(known, classes, 0) % 256]
    return np.asarray(np.where(known[..., None], laid, picture), np.uint8)


def _class_color(number: int) -> tuple[float, float, float]:
    """Return a color whose hue and lightness both differ between neighbors."""
    hue, light = (number * 0.618034) % 1, (90, 150, 210)[number % 3]
    wave = [0.5 + 0.5 * np.cos(2 * np.pi * (hue - shift / 3)) for shift in range(3)]
    return tuple(float(min(255, light * (0.35 + 0.85 * share))) for share in wave)  # type: ignore[return-value]


def data_uri(picture: Picture) -> str:
    """Return a picture as a PNG data URI, downscaled to `LARGEST_SIDE`."""
    image = Image.fromarray(picture)
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def drawn(found: Sequence[Shot]) -> list[tuple[str, tuple[tuple[str, Picture], ...]]]:
    """Return shots as the rows of `figures.pictures`."""
    return [(f"{shot.variant}, {shot.attack.partition(':')[0]}, {shot.title}", shot.pictures) for shot in found]

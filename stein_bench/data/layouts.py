"""The order of the axes of stored images and volumes: recognized only where one order fits, otherwise asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stein_bench.errors import UsageError, unknown_name

LAYOUTS = ("NHWC", "NCHW", "NHW", "NDHWC", "NCDHW", "NDHW")
"""N samples, C channels, D depth, H height, W width. Without a C there is one channel."""

DOCUMENTED = ("NHWC", "NDHWC")
"""The layouts that are not worth a note."""

_CERTAIN, _POSSIBLE = (1, 3), (1, 3, 4)  # numbers of channels; 4 (RGBA, four modalities) only if 1 and 3 do not fit
_MOST_CHANNELS = 1000
_BY_AXES = {4: ("NHWC", "NCHW"), 5: ("NDHWC", "NCDHW")}


def parse_layout(text: str, where: str) -> str:
    """Return the name of a layout in capitals, without ``x`` or ``×``; UsageError, naming `where`, for any other."""
    name = text.upper().replace("X", "").replace("×", "")
    if name not in LAYOUTS:
        raise UsageError(f"{where}: {unknown_name('layout', text, LAYOUTS)}")
    return name


def decide_layout(shape: Sequence[int], where: str) -> str:
    """Return the layout of `shape`, the first axis being the samples.

    With 4 or 5 axes either the second or the last must be 1, 3 or (if the other is neither) 4. With 3 axes there is
    one channel. Raises UsageError, naming `where`, if no layout or more than one fits.
    """
    if 0 in shape:
        raise UsageError(f"{where} is empty ({sizes(shape)}); at least one sample is needed")
    if len(shape) == 3 and not {shape[1], shape[2]} & set(_CERTAIN):
        return "NHW"
    if len(shape) not in (3, 4, 5):
        flat = "; reshape rows of pixels to images" if len(shape) == 2 else ""
        raise UsageError(
            f"{where} is {sizes(shape)}; N×H×W×C (images), N×D×H×W×C (volumes), the same with the channels first, "
            f"or N×H×W is needed{flat}"
        )
    fitting = _fitting(shape)
    if len(fitting) == 1:
        return fitting[0]
    if len(shape) == 3:
        raise UsageError(f"{where} is {sizes(shape)}, unlike images; if it is N×H×W, add ,layout=NHW")
    if not fitting and len(shape) == 4 and shape[2] in _CERTAIN:
        raise UsageError(f"{where} is {sizes(shape)}, samples last? Store np.moveaxis(images, -1, 0), which is N×H×W×C")
    both = [*_BY_AXES[len(shape)], *(["NDHW"] if len(shape) == 4 else [])]
    why = "could have its channels first or last" if fitting else "has no axis of 1, 3 or 4 channels"
    raise UsageError(f"{where} is {sizes(shape)} and {why}; add ,layout={'|'.join(both)}")


def _fitting(shape: Sequence[int]) -> list[str]:
    for channels in (_CERTAIN, _POSSIBLE):
        ends = zip(_BY_AXES.get(len(shape), ()), (shape[-1], shape[1]), strict=False)
        if fitting := [layout for layout, size in ends if size in channels]:
            return fitting
    return []


def check_layout(shape: Sequence[int], layout: str, where: str) -> None:
    """Raise a UsageError, naming `where`, unless `shape` has the axes of `layout`."""
    if len(shape) != len(layout):
        raise UsageError(f"{where} is {sizes(shape)}, which is not {with_crosses(layout)}; correct layout=")
    if 0 in shape:
        raise UsageError(f"{where} is empty ({sizes(shape)}); at least one sample is needed")


def channels_last(array: np.ndarray, layout: str, channels: int | None = None) -> np.ndarray:
    """Return a view of `array` with the axes N, …, C; with `channels` the only one is repeated."""
    last = np.moveaxis(array, layout.index("C"), -1) if "C" in layout else array[..., None]
    return last if channels is None else np.broadcast_to(last, (*last.shape[:-1], channels))


def shape_last(shape: Sequence[int], layout: str, channels: int | None = None) -> tuple[int, ...]:
    """Return what `channels_last` makes of a `shape`."""
    return channels_last(np.broadcast_to(np.uint8(0), tuple(shape)), layout, channels).shape


def parse_channels(text: str, where: str) -> int:
    """Return the number of channels to which a single one is repeated; UsageError, naming `where`, if it is none."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_CHANNELS):
        raise UsageError(f"{where}: channels={text}; write a number of channels, e.g. channels=3")
    return int(text)


def check_repeatable(shape: Sequence[int], channels: int | None, where: str) -> None:
    """Raise a UsageError, naming `where`, if samples of `shape` (channels last) have several channels to repeat."""
    if channels is not None and shape[-1] not in (1, channels):
        raise UsageError(f"{where} has {shape[-1]} channels; channels={channels} repeats a single one: leave it out")


def with_crosses(layout: str) -> str:
    """Return ``N×C×H×W`` for ``NCHW``."""
    return "×".join(layout)


def sizes(shape: Sequence[int]) -> str:
    """Return a shape as text; ``a single value`` without axes."""
    return "×".join(map(str, shape)) or "a single value"

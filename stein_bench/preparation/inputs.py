"""The model's inputs: image size, scaling, and a check of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from stein_bench.config import RunConfig
from stein_bench.data.resize import RESIZINGS
from stein_bench.data.samples import Resize, Samples
from stein_bench.data.sources import DataSource
from stein_bench.models.interface import ScalesInput, Scaling
from stein_bench.models.preprocessing import check_preprocessing
from stein_bench.models.sources import ModelSource
from stein_bench.models.weights import Weights
from stein_bench.progress import Progress, phase

WeightsKind = Literal["pretrained", "none", "fit", "file", "own"]


def decide_resize(
    config: RunConfig, data: DataSource, source: ModelSource, kind: WeightsKind, weights: Weights | None
) -> Resize | None:
    """Decide the image size: the data's own for a network to be trained, the model's for its existing weights."""
    if config.image_size is not None:
        return None if config.image_size == data.native_size else Resize(config.image_size)
    if weights is not None and weights.card is not None:
        sides = weights.card.input_shape[1:]
        # A dense data set keeps the aspect ratio of its images, so the height is enough.
        told = len(sides) == 2 and (sides[0] == sides[1] or data.task == "segmentation")
        return Resize(sides[0]) if told and data.native_size != sides[0] else None
    own = source.pretrained
    if own is None:
        return None
    shared_labels = data.label_space is not None and data.label_space == own.label_space
    wants_own = kind == "pretrained" or (kind == "file" and (shared_labels or not data.uniform))
    if wants_own and data.native_size != own.image_size:
        return RESIZINGS[own.resizing](own.image_size, own.crop_pct, own.interpolation)
    return None


def decide_scaling(config: RunConfig, source: ModelSource, weights: Weights | None, channels: int) -> Scaling:
    """Decide the input scaling: as configured, else from the weights, the model's pretrained weights, or the model.

    Raises:
        UsageError: mean and std do not fit the number of channels.
    """
    if weights is not None and weights.card is not None:
        mean, std, origin = weights.card.mean, weights.card.std, "the weights' card"
    elif source.pretrained is not None:
        mean, std, origin = source.pretrained.mean, source.pretrained.std, source.pretrained.origin
    elif isinstance(source, ScalesInput) and source.default_scaling is not None:
        own = source.default_scaling
        mean, std, origin = own.mean, own.std, own.origin
    else:
        mean, std, origin = (0.0,), (1.0,), "none: inputs in [0, 1]"
    if config.mean is not None or config.std is not None:
        mean, std, origin = config.mean or mean, config.std or std, "the command line or configuration"
    else:
        mean, std = _for_channels(mean, channels), _for_channels(std, channels)
    check_preprocessing(mean, std, channels)
    return Scaling(tuple(mean), tuple(std), origin)


def check_values(samples: Samples, progress: Progress) -> Samples:
    """Read all samples once if some may be damaged or out of range, before anything is trained or attacked.

    Returns:
        The samples without those that are damaged.

    Raises:
        UsageError: a sample is out of range, or unreadable and not to be left out.
    """
    if samples.needs_survey:
        with phase(progress, f"reading the {samples.split} split", len(samples)):
            for _ in samples.surveyed():
                progress.advance(1)
    return samples.sound()


def first_sound(samples: Samples, count: int, progress: Progress) -> Samples:
    """Return the first `count` samples that are not damaged, fewer if there are not so many; no more are read.

    Raises UsageError as `check_values` does.
    """
    reach = count
    while True:
        found = check_values(samples.first(reach), progress)
        if len(found) >= count or reach >= len(samples):
            return found.first(count)
        reach += count - len(found)


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return `values`, averaged if their number does not match the channels."""
    return tuple(values) if len(values) in (1, channels) else (sum(values) / len(values),)

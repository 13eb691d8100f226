"""Segmentation networks: a timm backbone whose concatenated feature maps feed two 1×1 convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stein_bench.errors import RunError, UsageError, reason
from stein_bench.models.interface import quiet_library

if TYPE_CHECKING:
    from collections.abc import Sequence

HRNET = "hrnet_w18_small"
HRNET_FEATURES: dict[str, Any] = {"feature_location": "", "out_indices": (1, 2, 3, 4)}
"""Without these options, timm's HRNets contain layers that only classification needs."""
PUBLISHED_MOMENTUM = 0.01


class ConcatenationHead(nn.Sequential):
    """The head of HRNetV2: a 1×1 convolution over all channels, BN, ReLU, and a 1×1 convolution to the classes.

    Both convolutions have a bias. Source: J. Wang et al., "Deep high-resolution representation learning for visual
    recognition" (2020), section 3.3.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, classes, 1)
        )


class SegmentationNetwork(nn.Module):
    """A backbone with a `ConcatenationHead`: logits (n, classes, H, W) for images (n, C, H, W).

    Args:
        backbone: returns feature maps, which are upsampled bilinearly to the highest resolution among them.
        channels: number of channels of each map.
        classes: number of classes.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = tuple(channels)
        self.head = ConcatenationHead(sum(channels), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit per class and pixel, upsampled bilinearly from the size of the largest feature map."""
        maps = [_channels_first(found, count) for found, count in zip(self.backbone(x), self.channels, strict=True)]
        size = max((found.shape[-2:] for found in maps), key=lambda sides: sides[0] * sides[1])
        joined = torch.cat([_resized(found, size) for found in maps], dim=1)
        return _resized(self.head(joined), x.shape[-2:])


def _channels_first(found: Tensor, channels: int) -> Tensor:
    # Some of timm's transformers return feature maps as (n, H, W, C).
    return found if found.shape[1] == channels else found.movedim(-1, 1)


def _resized(found: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(found.shape[-2:]) == tuple(size):
        return found
    return F.interpolate(found, tuple(size), mode="bilinear", align_corners=False)


def with_head(name: str, classes: int, in_channels: int) -> SegmentationNetwork:
    """Return timm's model `name` as a backbone with a `ConcatenationHead`, its weights drawn from the global RNG.

    Raises `UsageError` if the model has no feature maps, and `RunError` if building it fails with an `OSError`.
    """
    import timm

    options = HRNET_FEATURES if name.startswith("hrnet") else {}
    try:
        with quiet_library():
            backbone = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels, **options)
    except Exception as error:
        if isinstance(error, OSError):
            raise RunError(f"cannot build seghead:{name}: {reason(error)}") from error
        raise UsageError(f"seghead:{name} has no feature maps for the head: {reason(error)}") from error
    return SegmentationNetwork(backbone, backbone.feature_info.channels(), classes)


def hrnet(classes: int, in_channels: int, stem_stride: int) -> SegmentationNetwork:
    """Return the HRNet of arXiv 2507.08261: 1,540,819 parameters with 19 classes.

    Its BN has momentum 0.01, and the two convolutions of its stem have a stride of 1, so that it works at full
    resolution; `stem_stride` 2, timm's default, takes a sixteenth of the compute and memory.
    Raises `UsageError` for another stride.
    """
    if stem_stride not in (1, 2):
        raise UsageError(f"paper:hrnet,stem_stride={stem_stride}: the stride is 1 (as published) or 2.")
    network = with_head(HRNET, classes, in_channels)
    for name in ("conv1", "conv2"):
        layer = network.backbone.get_submodule(name)
        layer.stride = (stem_stride, stem_stride)  # type: ignore[assignment]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = PUBLISHED_MOMENTUM
    return network

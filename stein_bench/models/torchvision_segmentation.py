"""torchvision's semantic segmentation models, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stein_bench.models.interface import PretrainedConfig, digest
from stein_bench.models.torchvision_models import build_torchvision

if TYPE_CHECKING:
    from torch import nn

VOC = "voc-21"
"""Label space of the published weights: the classes of Pascal VOC with background."""


@dataclass(frozen=True)
class TorchvisionSegmentation:
    """A torchvision segmentation model; only the entry ``out`` of its output is used, not an auxiliary head's."""

    name: str

    @property
    def spec(self) -> str:
        return f"torchvision:{self.name}"

    @property
    def pretrained(self) -> PretrainedConfig:
        """The configuration of torchvision's default weights, which predict the classes of Pascal VOC."""
        import torchvision

        weights = torchvision.models.get_model_weights(self.name).DEFAULT
        transform = weights.transforms()
        return PretrainedConfig(
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            image_size=transform.resize_size[0],
            crop_pct=1.0,
            interpolation=transform.interpolation.value,
            num_classes=len(weights.meta["categories"]),
            label_space=VOC,
            origin=f"torchvision {weights}",
        )

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network; it takes only 3 channels, and pretrained weights only their own number of classes.

        See `ModelSource.build`.
        """
        weights: Literal["DEFAULT"] | None = "DEFAULT" if pretrained else None
        return build_torchvision(self.name, num_classes, in_channels, weights=weights, weights_backbone=None)

    def fingerprint(self) -> str:
        """Return the hash of torchvision's version."""
        import torchvision

        return digest("torchvision", str(torchvision.__version__))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the layers that output the class scores: one, or the two of LR-ASPP, whose outputs are added."""
        if self.name.startswith("lraspp"):
            return ("classifier.low_classifier", "classifier.high_classifier")
        return ("classifier.4",)


def find_torchvision_segmentation(name: str) -> TorchvisionSegmentation | None:
    """Return torchvision's segmentation model of this `name`, or None if there is none."""
    return TorchvisionSegmentation(name) if name in torchvision_segmentation_names() else None


def torchvision_segmentation_names() -> list[str]:
    """Return the names of torchvision's semantic segmentation models."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models.segmentation))

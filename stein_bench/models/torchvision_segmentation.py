"""torchvision's semantic segmentation models, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stein_bench.errors import RunError, UsageError
from stein_bench.models.interface import PretrainedConfig, digest, quiet_library, reason

if TYPE_CHECKING:
    from torch import nn

VOC = "voc-21"
"""Label space of the published weights: the classes of Pascal VOC with background."""


@dataclass(frozen=True)
class TorchvisionSegmentation:
    """A segmentation model of torchvision; of its outputs the entry ``out`` counts, and there is no auxiliary head."""

    name: str

    @property
    def spec(self) -> str:
        return f"torchvision:{self.name}"

    @property
    def pretrained(self) -> PretrainedConfig:
        """The configuration of torchvision's default weights, which tell the classes of Pascal VOC apart."""
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
        """Build the network; it takes 3 channels only, and its weights their own classes only.

        See `ModelSource.build`.
        """
        import torchvision

        if in_channels != 3:
            raise UsageError(f"{self.spec} takes images of 3 channels, not {in_channels}.")
        options = {} if num_classes is None else {"num_classes": num_classes}
        weights = {"weights": "DEFAULT" if pretrained else None, "weights_backbone": None}
        try:
            with quiet_library():
                network: nn.Module = torchvision.models.get_model(self.name, **weights, **options)
        except Exception as error:
            if isinstance(error, OSError):
                raise RunError(f"cannot download {self.spec}: {reason(error)}") from error
            raise UsageError(f"cannot build {self.spec}: {reason(error)}") from error
        return network

    def fingerprint(self) -> str:
        """Return the hash of torchvision's version."""
        import torchvision

        return digest("torchvision", str(torchvision.__version__))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the layers that give the class scores: one, or the two of LR-ASPP, which are added."""
        if self.name.startswith("lraspp"):
            return ("classifier.low_classifier", "classifier.high_classifier")
        return ("classifier.4",)


def find_torchvision_segmentation(name: str) -> TorchvisionSegmentation | None:
    """Return torchvision's segmentation model of this `name`, or None where it has none."""
    return TorchvisionSegmentation(name) if name in torchvision_segmentation_names() else None


def torchvision_segmentation_names() -> list[str]:
    """Return the names of torchvision's semantic segmentation models."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models.segmentation))

"""torchvision's classification models, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stein_bench.errors import RunError, SteinBenchError, UsageError, reason
from stein_bench.models.interface import IMAGENET, PretrainedConfig, digest, quiet_library

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchvisionModel:
    """A torchvision classification model; its pretrained weights are torchvision's default ones."""

    name: str

    @property
    def spec(self) -> str:
        return f"torchvision:{self.name}"

    @property
    def pretrained(self) -> PretrainedConfig | None:
        """The configuration of torchvision's default weights."""
        weights = _default_weights(self.name)
        if weights is None:
            return None
        transform = weights.transforms()
        num_classes = len(weights.meta["categories"])
        return PretrainedConfig(
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            image_size=transform.crop_size[0],
            crop_pct=transform.crop_size[0] / transform.resize_size[0],
            interpolation=transform.interpolation.value,
            num_classes=num_classes,
            label_space=IMAGENET if num_classes == 1000 else None,
            origin=f"torchvision {weights}",
        )

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network; it takes only 3 channels, and pretrained weights only their own number of classes.

        See `ModelSource.build`.
        """
        self._check_pretrained(num_classes, pretrained)
        return build_torchvision(self.name, num_classes, in_channels, weights="DEFAULT" if pretrained else None)

    def fingerprint(self) -> str:
        """Return the hash of torchvision's version."""
        import torchvision

        return digest("torchvision", str(torchvision.__version__))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the last linear or convolutional layer, found on a network without storage (meta device)."""
        import torch
        import torchvision
        from torch import nn

        try:
            with quiet_library(), torch.device("meta"):
                network = torchvision.models.get_model(self.name, weights=None)
        except NotImplementedError:  # RegNet computes its widths with tensors, whose values it needs
            return ("fc",)
        modules = network.named_modules()
        layers = [name for name, module in modules if isinstance(module, nn.Linear | nn.Conv2d)]
        return (layers[-1],)

    def _check_pretrained(self, num_classes: int | None, pretrained: bool) -> None:
        if not pretrained:
            return
        config = self.pretrained
        if config is None:
            raise UsageError(f"{self.spec} has no pretrained weights.")
        if num_classes not in (None, config.num_classes):
            own = config.num_classes
            raise UsageError(f"the pretrained weights of {self.spec} have {own} classes, not {num_classes}.")


def build_torchvision(
    name: str, num_classes: int | None, in_channels: int, **weights: Literal["DEFAULT"] | None
) -> nn.Module:
    """Build a torchvision model, with its own number of classes if `num_classes` is None.

    Raises `UsageError` if `in_channels` is not 3 or it cannot be built, and `RunError` if its weights cannot be
    downloaded.
    """
    import torchvision

    if in_channels != 3:
        hint = " Add ,channels=3 to --data (npz, npy, mnist) to repeat the gray one." if in_channels == 1 else ""
        raise UsageError(f"torchvision:{name} takes images of 3 channels, not {in_channels}.{hint}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    try:
        with quiet_library():
            network: nn.Module = torchvision.models.get_model(name, **weights, **options)
    except SteinBenchError:  # nothing may be fetched
        raise
    except Exception as error:
        if isinstance(error, OSError):
            raise RunError(f"cannot download torchvision:{name}: {reason(error)}") from error
        raise UsageError(f"cannot build torchvision:{name}: {reason(error)}") from error
    return network


def find_torchvision_model(name: str) -> TorchvisionModel | None:
    """Return torchvision's model of this `name`, or None if there is none.

    Raises `UsageError` for unsupported kinds of torchvision models (detection, video, optical flow, quantized).
    """
    import torchvision

    if name in torchvision_model_names():
        return TorchvisionModel(name)
    if name in torchvision.models.list_models():
        raise UsageError(f"torchvision:{name} is not supported: only image classification and segmentation models are.")
    return None


def torchvision_model_names() -> list[str]:
    """Return the names of torchvision's image classification models."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def _default_weights(name: str) -> Any:
    import torchvision

    weights = torchvision.models.get_model_weights(name)
    return weights.DEFAULT if len(weights) else None

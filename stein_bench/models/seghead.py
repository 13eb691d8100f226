"""The source ``seghead:NAME``: any timm model with feature maps and a segmentation head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.errors import UsageError, unknown_name
from stein_bench.models.interface import RGB, Scaling, digest
from stein_bench.models.timm_models import timm_model_names

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BackboneWithHead:
    """``seghead:NAME``: a timm model as the backbone of a concatenation head, to be trained."""

    timm_name: str
    pretrained: None = None

    @property
    def spec(self) -> str:
        return f"seghead:{self.timm_name}"

    @property
    def name(self) -> str:
        return self.spec

    @property
    def default_scaling(self) -> Scaling:
        return RGB

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network. See `ModelSource.build`; there are no pretrained segmentation weights."""
        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained segmentation weights; give a weights file, or train it.")
        from stein_bench.models.segmentation import with_head

        return with_head(self.timm_name, num_classes or 19, in_channels)

    def fingerprint(self) -> str:
        """Return the hash of the spec, timm's version and the code of the head."""
        import timm

        code = (Path(__file__).parent / "segmentation.py").read_text(encoding="utf-8")
        return digest("seghead", self.spec, str(timm.__version__), code)

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the last convolution of the head."""
        return ("head.3",)


def find_backbone_with_head(name: str) -> BackboneWithHead:
    """Return the source of ``seghead:NAME``; raises `UsageError`, with the nearest names, if timm has no such model."""
    names = timm_model_names()
    if name not in names:
        raise unknown_name("timm model", name, names, hint="`stein-bench list models` lists the known ones.")
    return BackboneWithHead(name)

"""The Stein replacement for timm's `BatchNormAct2d`. Imported only where timm's layers are in use."""

from __future__ import annotations

from typing import Any, cast

from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor

from stein_bench.normalization.layers import SteinNorm


class SteinBatchNormAct2d(SteinNorm, BatchNormAct2d):
    """timm's batch normalization, dropout and activation in one layer, with a shrinkage estimator.

    `drop` and `act` are the ordinary layer's; see `SteinNorm` for the rest.
    """

    def forward(self, x: Tensor) -> Tensor:
        normalized = super().forward(x)
        return cast(Tensor, cast(Any, self).act(cast(Any, self).drop(normalized)))

"""The Stein replacements for timm's layers with an activation. Imported only where timm's layers are in use."""

from __future__ import annotations

from typing import Any, cast

from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor

from stein_bench.normalization.layers import SteinNorm, SteinSyncBatchNorm


class SteinBatchNormAct2d(SteinNorm, BatchNormAct2d):
    """timm's batch normalization, dropout and activation in one layer, with a shrinkage estimator.

    `drop` and `act` are the ordinary layer's; see `SteinNorm` for the rest.
    """

    def forward(self, x: Tensor) -> Tensor:
        normalized = super().forward(x)
        return cast(Tensor, cast(Any, self).act(cast(Any, self).drop(normalized)))


class SteinSyncBatchNormAct(SteinSyncBatchNorm, SyncBatchNormAct):
    """timm's synchronised batch normalization, dropout and activation, with a shrinkage estimator.

    As there, `drop` and `act` are attributes that a conversion from `BatchNormAct2d` sets, and may be missing.
    """

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        for name in ("drop", "act"):
            if hasattr(self, name):
                result = getattr(self, name)(result)
        return result

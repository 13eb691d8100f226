"""Stein versions of timm's BN layers with an activation. Imported only if timm's layers are in use."""

from __future__ import annotations

from typing import Any, cast

from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor

from stein_bench.normalization.layers import SteinNorm, SteinSyncBatchNorm


class SteinBatchNormAct2d(SteinNorm, BatchNormAct2d):
    """timm's batch normalization, dropout and activation in one layer, with a shrinkage estimator.

    `drop` and `act` are those of the ordinary layer; see `SteinNorm` for the rest.
    """

    def forward(self, x: Tensor) -> Tensor:
        normalized = super().forward(x)
        return cast(Tensor, cast(Any, self).act(cast(Any, self).drop(normalized)))


class SteinSyncBatchNormAct(SteinSyncBatchNorm, SyncBatchNormAct):
    """timm's synchronized batch normalization, dropout and activation, with a shrinkage estimator.

    As in timm, `drop` and `act` are set by conversion from `BatchNormAct2d` and may be missing.
    """

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        for name in ("drop", "act"):
            if hasattr(self, name):
                result = getattr(self, name)(result)
        return result

"""Stein-shrinkage batch normalization: estimators, layers, and the conversion of whole models.

Layers, estimators and conversion can be imported from here; ``__all__`` is stable under semantic versioning. Importing
this package does not import torch; using one of them does.

>>> import torch
>>> from stein_bench.normalization import SteinBatchNorm2d, james_stein
>>> SteinBatchNorm2d(8, estimator="james-stein")(torch.rand(4, 8, 5, 5)).shape
torch.Size([4, 8, 5, 5])
>>> mean, variance = james_stein(torch.ones(8), torch.ones(8), count=16)
>>> float(mean[0]), round(float(variance[0]), 4)  # (1 - (C - 2)·(1/N)/C)·1 with C = 8, N = 16, and N/(N + 1)
(0.953125, 0.9412)
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stein_bench.normalization.convert import (
        ConversionSummary,
        batchnorm_stats,
        convert_batchnorm,
        restore_batchnorm,
    )
    from stein_bench.normalization.estimators import (
        estimator,
        james_stein,
        jsnorm,
        lasso,
        ridge,
        sample,
        stein,
        stein_mean,
    )
    from stein_bench.normalization.layers import (
        SteinBatchNorm1d,
        SteinBatchNorm2d,
        SteinBatchNorm3d,
        SteinNorm,
        SteinSyncBatchNorm,
    )

_HOMES = {
    **dict.fromkeys(("ConversionSummary", "batchnorm_stats", "convert_batchnorm", "restore_batchnorm"), "convert"),
    **dict.fromkeys(
        ("estimator", "james_stein", "jsnorm", "lasso", "ridge", "sample", "stein", "stein_mean"), "estimators"
    ),
    **dict.fromkeys(
        ("SteinBatchNorm1d", "SteinBatchNorm2d", "SteinBatchNorm3d", "SteinNorm", "SteinSyncBatchNorm"), "layers"
    ),
}
__all__ = [
    "ConversionSummary",
    "SteinBatchNorm1d",
    "SteinBatchNorm2d",
    "SteinBatchNorm3d",
    "SteinNorm",
    "SteinSyncBatchNorm",
    "batchnorm_stats",
    "convert_batchnorm",
    "estimator",
    "james_stein",
    "jsnorm",
    "lasso",
    "restore_batchnorm",
    "ridge",
    "sample",
    "stein",
    "stein_mean",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The layer kinds, with the ordinary layer, a fitting shape, and whatever constructs one."""

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from stein_bench.normalization.layers import (
    SteinBatchNorm1d,
    SteinBatchNorm2d,
    SteinBatchNorm3d,
    SteinSyncBatchNorm,
)
from stein_bench.normalization.timm_layers import SteinBatchNormAct2d

ESTIMATORS = ["sample", "stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.1"]
KINDS = {
    "1d": (nn.BatchNorm1d, SteinBatchNorm1d, (6, 4, 3)),
    "2d": (nn.BatchNorm2d, SteinBatchNorm2d, (6, 4, 3, 2)),
    "3d": (nn.BatchNorm3d, SteinBatchNorm3d, (3, 4, 2, 3, 2)),
    "sync": (nn.SyncBatchNorm, SteinSyncBatchNorm, (6, 4, 3, 2)),
    "act2d": (BatchNormAct2d, SteinBatchNormAct2d, (6, 4, 3, 2)),
}


def activations(shape, dtype=torch.float32, seed=0):
    """Return elements whose channels differ in mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    per_channel = (1, shape[1], *[1] * (len(shape) - 2))
    scale = torch.rand(per_channel, generator=generator, dtype=torch.float64) + 0.5
    shift = torch.randn(per_channel, generator=generator, dtype=torch.float64) + 1
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift).to(dtype)


def trained_layer(kind, estimator="stein", **settings):
    """Return a Stein layer of that kind that has seen two batches, in training mode, and a batch."""
    _, stein_class, shape = KINDS[kind]
    torch.manual_seed(0)
    layer = stein_class(4, estimator=estimator, **settings)
    if layer.weight is not None:
        layer.weight.data.normal_()
        layer.bias.data.normal_()
    for seed in (1, 2):
        layer(activations(shape, seed=seed))
    return layer, activations(shape)

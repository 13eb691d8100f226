"""BN with moments pooled over the batches of several processes while they train together."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from stein_bench.normalization.convert import convert_batchnorm, restore_batchnorm
from stein_bench.normalization.layers import SteinNorm, SteinSyncBatchNorm, stein_layers
from stein_bench.normalization.synchronized import group_to_synchronize


@contextmanager
def synchronized_batchnorm(model: nn.Module) -> Iterator[None]:
    """Make the BN layers of `model` train with moments pooled over the batches of all processes.

    Inside the context all Stein layers are `SteinSyncBatchNorm`; a model without Stein layers is first converted with
    the estimator ``sample``. Afterwards all layers are restored. With a single process nothing changes.
    """
    if group_to_synchronize(None) is None:
        yield
        return
    ordinary = not any(True for _ in stein_layers(model))
    if ordinary:
        convert_batchnorm(model, "sample")
    former = [(layer, type(layer)) for _, layer in stein_layers(model) if not isinstance(layer, SteinSyncBatchNorm)]
    try:
        for layer, kind in former:
            layer.__class__ = _synchronized(kind)
            setattr(layer, "process_group", None)  # noqa: B010  (declared by the layer's new class)
        with warnings.catch_warnings():
            # Its replacement, from torch 2.15 on, is not differentiable in 2.6.
            warnings.filterwarnings("ignore", message=r".*functional\.all_reduce is deprecated", category=FutureWarning)
            yield
    finally:
        for layer, kind in former:
            layer.__class__ = kind
            del layer.process_group
        if ordinary:
            restore_batchnorm(model)


def _synchronized(kind: type[SteinNorm]) -> type[SteinNorm]:
    if "timm.layers.norm_act" in sys.modules:
        from stein_bench.normalization.timm_layers import SteinBatchNormAct2d, SteinSyncBatchNormAct

        if issubclass(kind, SteinBatchNormAct2d):
            return SteinSyncBatchNormAct
    return SteinSyncBatchNorm

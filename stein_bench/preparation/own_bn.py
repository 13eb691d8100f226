"""The BN of a network that comes as it was trained."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from stein_bench.errors import UsageError
from stein_bench.models.instances import Instance
from stein_bench.models.interface import ModelSource
from stein_bench.normalization.layers import SteinNorm


def own_bn(source: ModelSource | None) -> str | None:
    """Return the estimator of the layers of a source that is a network, ``sample`` for plain BN; None for all others.

    Raises:
        UsageError: its layers have different ones.
    """
    if not isinstance(source, Instance):
        return None
    layers = [layer for layer in source.network.modules() if isinstance(layer, _BatchNorm)]
    found = {_identity(layer): layer.estimator if isinstance(layer, SteinNorm) else "sample" for layer in layers}
    if len(found) > 1:
        raise UsageError(
            f"{source.spec} has BN layers of different estimators ({', '.join(found.values())}); a report has one per "
            "variant."
        )
    return next(iter(found.values()), "sample")


def _identity(layer: _BatchNorm) -> object:
    """Return what tells estimators apart: the name, and the function of one that somebody brings."""
    if not isinstance(layer, SteinNorm):
        return "sample"
    own = layer.own_estimator
    return layer.estimator if own is None else (own.spec, own.sha256, id(own.part.found))

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
    kinds = [
        layer.estimator if isinstance(layer, SteinNorm) else "sample"
        for layer in source.network.modules()
        if isinstance(layer, _BatchNorm)
    ]
    found = list(dict.fromkeys(kinds)) or ["sample"]
    if len(found) > 1:
        raise UsageError(
            f"{source.spec} has BN layers of different estimators ({', '.join(found)}); a report has one per variant."
        )
    return found[0]

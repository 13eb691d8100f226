"""Find a model's normalization layers, and report which can be converted and why the others cannot."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from stein_bench.errors import UsageError
from stein_bench.normalization.layers import (
    SteinBatchNorm1d,
    SteinBatchNorm2d,
    SteinBatchNorm3d,
    SteinNorm,
    SteinSyncBatchNorm,
)

FROZEN = "frozen BN: its statistics, γ and β are constants; load the weights into ordinary BN to convert it"
"""Why torchvision's and timm's frozen BN is not converted: it is an affine map, without a batch to take moments of."""


@dataclass(frozen=True)
class SkippedLayer:
    """A normalization layer that was not converted: its `name` in the model, its class, and the reason."""

    name: str
    kind: str
    reason: str


def stein_classes() -> dict[type[nn.Module], type[SteinNorm]]:
    """Return the ordinary layer classes that can be converted, with the Stein class of each.

    timm's classes are included only if timm's layers have been imported; otherwise no model can have any.
    """
    classes: dict[type[nn.Module], type[SteinNorm]] = {
        nn.BatchNorm1d: SteinBatchNorm1d,
        nn.BatchNorm2d: SteinBatchNorm2d,
        nn.BatchNorm3d: SteinBatchNorm3d,
        nn.SyncBatchNorm: SteinSyncBatchNorm,
    }
    if "timm.layers.norm_act" in sys.modules:
        from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct

        from stein_bench.normalization.timm_layers import SteinBatchNormAct2d, SteinSyncBatchNormAct

        classes |= {BatchNormAct2d: SteinBatchNormAct2d, SyncBatchNormAct: SteinSyncBatchNormAct}
    return classes


def survey(model: nn.Module) -> tuple[list[tuple[str, nn.Module]], list[SkippedLayer]]:
    """Return the layers that can be converted (or are Stein layers already) with their names, and the skipped ones.

    A layer used in several places appears once, under its first name.
    """
    convertible: list[tuple[str, nn.Module]] = []
    skipped: list[SkippedLayer] = []
    classes = stein_classes()
    known = {*classes, *classes.values()}
    for name, module in _outside_of_others(model, known, skipped):
        if type(module) in known and "forward" not in vars(module):
            convertible.append((name, module))
        elif reason := _reason_to_skip(module, known):
            skipped.append(SkippedLayer(name, _class_name(module), reason))
    return convertible, skipped


def all_frozen(model: nn.Module) -> str:
    """Return, for a message about a model without convertible layers, that its BN is frozen; empty if it has none."""
    frozen = [layer for layer in survey(model)[1] if layer.reason == FROZEN]
    if not frozen:
        return ""
    return (
        f" ({len(frozen)} × {frozen[0].kind} is frozen BN: to convert it, load the weights into the same model with "
        "ordinary BatchNorm2d)"
    )


def check_compensable(model: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Check that γ and β of all `layers` can absorb a change of statistics.

    Raises:
        UsageError: a layer lacks γ, β or running statistics, or shares γ or β with another module.
    """
    owners = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    names = {id(module): name for name, module in model.named_modules()}
    for layer in layers:
        parameters = [getattr(layer, "weight", None), getattr(layer, "bias", None)]
        if None in (parameters[0], parameters[1]):
            problem = "has no γ and β"
        elif getattr(layer, "running_mean", None) is None:
            problem = "has no running statistics"
        elif any(owners[id(parameter)] > 1 for parameter in parameters):
            problem = "shares its γ or β with another module"
        else:
            continue
        where = repr(names[id(layer)] or type(layer).__name__)
        raise UsageError(
            f"preserve_function cannot compensate layer {where}: it {problem}. Convert without preserve_function"
        )


def _outside_of_others(
    model: nn.Module, known: set[type[nn.Module]], skipped: list[SkippedLayer]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield all named modules except normalization layers inside other layers, which are added to `skipped`."""
    reasons: dict[int, str] = {}
    for name, module in model.named_modules():
        if id(module) in reasons:
            skipped.append(SkippedLayer(name, _class_name(module), reasons[id(module)]))
            continue
        if type(module).__module__.startswith("torch.ao.nn.intrinsic.qat"):
            inner = [child for child in module.children() if isinstance(child, _BatchNorm)]
            reasons |= dict.fromkeys(map(id, inner), "folded into its convolution by quantization-aware training")
        elif isinstance(module, _BatchNorm) and type(module) not in known:
            inner = [child for child in module.modules() if child is not module and isinstance(child, _BatchNorm)]
            reasons |= dict.fromkeys(map(id, inner), f"part of a layer of unknown class {_class_name(module)}")
        yield name, module


def _reason_to_skip(module: nn.Module, known: set[type[nn.Module]]) -> str | None:
    """Return why a normalization layer is not converted, or None for a module that is not such a layer."""
    kind = _class_name(module)
    if isinstance(module, _LazyNormBase):
        return "not initialized yet: run a batch through the model first"
    if "frozen" in kind.lower() and "batchnorm" in kind.lower():
        return FROZEN
    if isinstance(module, _InstanceNorm):
        return "instance norm: its statistics are per sample"
    if isinstance(module, nn.GroupNorm):
        return "group norm: its statistics are per sample"
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted: convert the model before scripting it" if "BatchNorm" in kind else None
    if type(module) in known:
        return "its forward method is replaced on the instance"
    if isinstance(module, _BatchNorm) or "running_mean" in module._buffers or "BatchNorm" in kind:
        return f"unknown class {type(module).__module__}.{type(module).__qualname__}"
    return None


def _class_name(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))

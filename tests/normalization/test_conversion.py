"""Conversion keeps everything about a layer but its estimator, and names all it leaves alone."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, SplitBatchNorm2d, SyncBatchNormAct
from timm.layers.norm_act import GroupNormAct, convert_sync_batchnorm
from timm.utils.model import freeze_batch_norm_2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from stein_bench.normalization.convert import convert_batchnorm, restore_batchnorm
from stein_bench.normalization.layers import SteinSyncBatchNorm
from stein_bench.normalization.timm_layers import SteinSyncBatchNormAct
from tests.normalization.kinds import KINDS, activations


class OwnBatchNorm(nn.BatchNorm2d):
    """A subclass that nobody knows."""


def with_own_forward():
    layer = nn.BatchNorm2d(4)
    layer.forward = lambda x: x
    return layer


def folded():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).train()
    fused = torch.ao.quantization.fuse_modules_qat(model, [["0", "1"]])
    fused.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    return torch.ao.quantization.prepare_qat(fused)


SKIPPED = {
    "torchvision's frozen": (lambda: FrozenBatchNorm2d(4), "frozen BN: its statistics, γ and β are constants; load"),
    "timm's frozen": (lambda: FrozenBatchNormAct2d(4), "frozen BN: its statistics, γ and β are constants; load"),
    "frozen by timm": (lambda: freeze_batch_norm_2d(nn.Sequential(nn.BatchNorm2d(4))), "frozen BN: its statistics"),
    "instance norm": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), "instance norm"),
    "group norm": (lambda: GroupNormAct(4, num_groups=2), "group norm"),
    "subclass": (lambda: OwnBatchNorm(4), "unknown class tests.normalization.test_conversion.OwnBatchNorm"),
    "replaced forward": (with_own_forward, "its forward method is replaced"),
    "lazy": (lambda: nn.LazyBatchNorm2d(), "not initialized yet"),
    "split": (lambda: SplitBatchNorm2d(4), "unknown class timm.layers.split_batchnorm.SplitBatchNorm2d"),
    "folded": (folded, "folded into its convolution"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SKIPPED)
def test_what_is_left_alone_is_named_with_its_reason(case):
    construct, reason = SKIPPED[case]
    model = construct()
    classes = [type(module) for module in model.modules()]
    _, summary = convert_batchnorm(model)
    assert summary.converted == ()
    assert [type(module) for module in model.modules()] == classes
    assert any(layer.reason.startswith(reason) for layer in summary.skipped)


def test_the_parts_of_an_unknown_layer_are_named_too():
    _, summary = convert_batchnorm(nn.Sequential(SplitBatchNorm2d(4, num_splits=3)))
    assert [layer.name for layer in summary.skipped] == ["0", "0.aux_bn.0", "0.aux_bn.1"]
    assert "part of a layer of unknown class" in summary.skipped[1].reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_root", [True, False])
def test_the_objects_stay_the_same(kind, as_root):
    plain_class, stein_class, _ = KINDS[kind]
    layer = plain_class(4, eps=1e-2, momentum=0.3).double().eval()
    layer.weight.requires_grad_(False)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append("forward"))
    layer.register_full_backward_hook(lambda *_: calls.append("backward"))
    tensors = [*layer.parameters(), *layer.buffers()]
    model = layer if as_root else nn.Sequential(layer, nn.Identity(), layer)
    converted, summary = convert_batchnorm(model, "jsnorm")
    assert converted is model
    assert type(layer) is stein_class
    assert [converted_layer.name for converted_layer in summary.converted] == ["" if as_root else "0"]
    assert all(new is old for new, old in zip([*layer.parameters(), *layer.buffers()], tensors, strict=False))
    assert (layer.eps, layer.momentum, layer.training, layer.weight.requires_grad) == (1e-2, 0.3, False, False)
    assert layer.count.device == layer.running_mean.device
    layer(activations(KINDS[kind][2], torch.float64).requires_grad_()).sum().backward()
    assert calls == ["forward", "backward"]
    restore_batchnorm(model)
    assert type(layer) is plain_class
    assert [*layer.parameters(), *layer.buffers()] == tensors


def test_a_shared_layer_stays_shared_and_is_compensated_once():
    shared = nn.BatchNorm2d(4)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    model["a"](activations((6, 4, 3, 2)) * 3)
    x = activations((6, 4, 3, 2))
    before = shared.eval()(x)
    _, summary = convert_batchnorm(model, preserve_function=True, count=36)
    assert model["a"] is model["b"][0]
    assert len(summary.converted) == 1
    torch.testing.assert_close(model["b"](x), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ["stein", "ridge:0.5"])
def test_preserved_functions_are_equal_to_rounding(kind, estimator):
    plain_class, _, shape = KINDS[kind]
    layer = plain_class(4).double().eval()
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 3)
    x = activations(shape, torch.float64)
    before, state = layer(x), copy.deepcopy(layer.state_dict())
    convert_batchnorm(layer, estimator, preserve_function=True, count=36)
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)
    assert not torch.equal(layer.weight, state["weight"])
    restore_batchnorm(layer, preserve_function=True)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-12, atol=1e-12)


def test_synchronized_layers_convert():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    group = model[1].process_group
    convert_batchnorm(model)
    assert type(model[1]) is SteinSyncBatchNorm
    assert model[1].process_group is group


@pytest.mark.parametrize("training", [False, True])
def test_timms_synchronized_layers_convert_with_their_activation(training):
    plain = BatchNormAct2d(4, act_layer=nn.SiLU)
    synchronized = convert_sync_batchnorm(copy.deepcopy(plain))
    assert type(synchronized) is SyncBatchNormAct
    convert_batchnorm(synchronized, "sample")
    assert type(synchronized) is SteinSyncBatchNormAct
    x = activations((6, 4, 3, 2))
    assert torch.equal(synchronized.train(training)(x), plain.train(training)(x))
    del synchronized.act
    assert (synchronized(x) < -0.5).any()


def test_conversion_on_the_meta_device_needs_no_values():
    with torch.device("meta"):
        model = nn.Sequential(nn.BatchNorm2d(4))
    _, summary = convert_batchnorm(model, preserve_function=True, count=9)
    assert summary.converted[0].count is None
    assert model[0].eval()(torch.empty(2, 4, 3, 3, device="meta")).shape == (2, 4, 3, 3)
    assert model[0].train()(torch.empty(2, 4, 3, 3, device="meta")).shape == (2, 4, 3, 3)

"""Conversion of timm models: layers with an activation of their own, several classes of layers."""

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from stein_bench.normalization.convert import convert_batchnorm, restore_batchnorm
from stein_bench.normalization.timm_layers import SteinBatchNormAct2d


def test_activation_and_dropout_are_kept():
    plain = BatchNormAct2d(6, act_layer=nn.SiLU, drop_layer=lambda: nn.Dropout(0.5))
    drop, act = plain.drop, plain.act
    layer, summary = convert_batchnorm(plain, "sample")
    assert type(layer) is SteinBatchNormAct2d
    assert layer.drop is drop
    assert layer.act is act
    assert summary.converted[0].kind == "BatchNormAct2d"


@pytest.mark.parametrize("training", [False, True])
def test_the_activation_is_applied(training):
    x = torch.randn(4, 6, 5, 5)
    plain = BatchNormAct2d(6, act_layer=nn.SiLU).train(training)
    layer, _ = convert_batchnorm(copy.deepcopy(plain), "sample")
    assert torch.equal(layer(x), plain(x))
    shrunk, _ = convert_batchnorm(copy.deepcopy(plain), "stein", stats="batch")
    without_activation = copy.deepcopy(shrunk)
    without_activation.act = nn.Identity()
    assert torch.equal(shrunk(x), nn.functional.silu(without_activation(x)))


@pytest.mark.integration
def test_a_whole_model_goes_there_and_back():
    x = torch.randn(2, 3, 64, 64)
    plain = timm.create_model("efficientnet_b0")
    plain(x)  # fresh running means are 0, and zero stays zero
    plain.eval()
    model, summary = convert_batchnorm(copy.deepcopy(plain), "sample")
    assert len(summary.converted) == 49
    assert torch.equal(model(x), plain(x))
    convert_batchnorm(model, "stein")
    assert not torch.equal(model(x), plain(x))
    assert torch.equal(restore_batchnorm(model)(x), plain(x))

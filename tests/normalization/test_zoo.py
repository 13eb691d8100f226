"""Every model of timm and torchvision with batch normalization converts; a sample of families also runs."""

import copy

import pytest
import timm
import torch
from torch import nn

from benchmarks.conversion import (
    attempt,
    by_family,
    layer_count,
    timm_candidates,
    torchvision_candidates,
    torchvision_model,
)
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.normalization.layers import SteinNorm, stein_layers

# family -> (a small member, the size of its input)
TIMM_FAMILIES = {
    "byobnet": ("test_byobnet", 64),
    "convmixer": ("convmixer_768_32", 64),
    "cspnet": ("cspresnet50", 64),
    "densenet": ("densenet121", 64),
    "dla": ("dla46_c", 64),
    "dpn": ("dpn48b", 64),
    "efficientformer": ("efficientformer_l1", 224),
    "efficientnet": ("test_efficientnet", 64),
    "efficientvit_mit": ("efficientvit_b0", 64),
    "fasternet": ("fasternet_t0", 64),
    "fastvit": ("fastvit_t8", 64),
    "ghostnet": ("ghostnet_050", 64),
    "hgnet": ("hgnetv2_b0", 64),
    "hrnet": ("hrnet_w18_small", 64),
    "inception_v3": ("inception_v3", 96),
    "levit": ("levit_128s", 224),
    "mobilenetv3": ("mobilenetv3_small_050", 64),
    "mobilevit": ("mobilevit_xxs", 64),
    "regnet": ("regnetx_002", 64),
    "repghost": ("repghostnet_050", 64),
    "repvit": ("repvit_m0_9", 64),
    "res2net": ("res2net50_26w_4s", 64),
    "resnest": ("resnest14d", 64),
    "resnet": ("test_resnet", 64),
    "rexnet": ("rexnet_100", 64),
    "selecsls": ("selecsls42", 64),
    "senet": ("legacy_seresnet18", 64),
    "sknet": ("skresnet18", 64),
    "starnet": ("starnet_s1", 64),
    "tiny_vit": ("tiny_vit_5m_224", 224),
    "tresnet": ("tresnet_m", 64),
    "visformer": ("visformer_tiny", 224),
    "vovnet": ("ese_vovnet19b_slim", 64),
    "xception": ("legacy_xception", 96),
}
TORCHVISION_MODELS = {
    "resnet18": (2, 3, 64, 64),
    "shufflenet_v2_x0_5": (2, 3, 64, 64),
    "mnasnet0_5": (2, 3, 64, 64),
    "lraspp_mobilenet_v3_large": (2, 3, 64, 64),
    "deeplabv3_mobilenet_v3_large": (2, 3, 64, 64),
    "r3d_18": (1, 3, 4, 32, 32),
    "mc3_18": (1, 3, 4, 32, 32),
}
QUICK = ("byobnet", "efficientnet", "resnet")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("candidates", [timm_candidates, torchvision_candidates])
def test_every_model_with_batch_normalization_converts(candidates):
    families = by_family(candidates())
    incomplete = {name: vars(o) for name, o in families.items() if o.fully_converted < o.with_batchnorm}
    assert incomplete == {}
    assert sum(outcome.with_batchnorm for outcome in families.values()) > 50


def test_a_model_that_is_left_incomplete_would_be_noticed():
    class Unknown(nn.BatchNorm2d):
        pass

    model = nn.Sequential(nn.BatchNorm2d(4), Unknown(4))
    before = layer_count(model)
    convert_batchnorm(model)
    assert (before, layer_count(model, SteinNorm)) == (2, 1)
    (resnet,) = (candidate for candidate in timm_candidates() if candidate.name == "test_resnet")
    assert attempt(resnet).fully_converted == 1


def assert_converts_and_runs(model, x):
    """Check that `sample` computes the same, bit for bit, and that `stein` changes what every layer returns."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)  # some are zero at first, and would hide all changes
            nn.init.normal_(layer.bias)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean)
    plain = model.eval()
    with torch.no_grad():
        converted, summary = convert_batchnorm(copy.deepcopy(plain), "sample")
        before, after = tensors(plain(x)), tensors(converted(x))
        assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))

        convert_batchnorm(converted, "stein", stats="batch")
        changed = changed_layers(converted, x)
    assert changed
    assert all(changed.values())
    assert len(changed) >= 0.9 * len(summary.converted)  # the others, auxiliary heads, do not run


def changed_layers(model, x):
    """Run `model`; return for every Stein layer that runs whether `sample` would have given another output."""
    changed = {}

    def compare(name):
        def hook(layer, inputs, output):
            estimator, layer.estimator = layer.estimator, "sample"
            changed[name] = not torch.equal(type(layer).forward(layer, *inputs), output)
            layer.estimator = estimator

        return hook

    for name, layer in stein_layers(model):
        layer.register_forward_hook(compare(name))
    model(x)
    return changed


def tensors(output):
    return list(output.values()) if isinstance(output, dict) else [output]


@pytest.mark.parametrize(
    "family", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TIMM_FAMILIES]
)
def test_families_run_after_conversion(family):
    name, size = TIMM_FAMILIES[family]
    torch.manual_seed(0)
    assert name in timm.list_models(module=family)
    assert_converts_and_runs(timm.create_model(name), torch.randn(2, 3, size, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_MODELS)
def test_torchvision_models_run_after_conversion(name):
    torch.manual_seed(0)
    assert_converts_and_runs(torchvision_model(name), torch.randn(TORCHVISION_MODELS[name]))

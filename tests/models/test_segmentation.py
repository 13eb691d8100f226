"""Networks that segment: the published HRNet, other backbones under the same head, torchvision's models."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.segmentation import SegmentationNetwork, with_head
from stein_bench.models.sources import find_model
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.preparation.inputs import decide_scaling


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_hrnet_has_the_published_number_of_parameters_and_stem():
    network = find_model("paper:hrnet").build(num_classes=19)
    assert parameters(network) == 1_540_819
    assert parameters(network.head) == 240 * 240 + 240 + 2 * 240 + 240 * 19 + 19
    assert [network.backbone.get_submodule(name).stride for name in ("conv1", "conv2")] == [(1, 1), (1, 1)]
    assert {layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.01}
    assert not any(isinstance(layer, nn.Linear) for layer in network.modules())


@pytest.mark.parametrize(("spec", "reduction"), [("paper:hrnet", 1), ("paper:hrnet,stem_stride=2", 4)])
def test_the_hrnet_works_at_full_resolution_or_at_a_quarter_and_answers_for_every_pixel(spec, reduction):
    network = find_model(spec).build(num_classes=5).eval()
    assert parameters(network) == 1_540_819 - 14 * 241
    sizes = []
    network.head.register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape[1:])))
    with torch.no_grad():
        assert network(torch.rand(1, 3, 32, 64)).shape == (1, 5, 32, 64)
    assert sizes == [(240, 32 // reduction, 64 // reduction)]


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18_small_v2", "convnext_atto", "mobilenetv3_small_050"])
def test_any_backbone_takes_the_head(name):
    source = find_model(f"seghead:{name}")
    network = source.build(num_classes=7).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 64, 96)).shape == (2, 7, 64, 96)
    assert network.get_submodule(source.classifier_layers()[0]).out_channels == 7
    assert source.spec == f"seghead:{name}"


@pytest.mark.integration
def test_feature_maps_with_channels_last_are_turned():
    network = with_head("swin_tiny_patch4_window7_224", 4, 3).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 224, 224)).shape == (1, 4, 224, 224)


def test_maps_are_joined_at_the_highest_resolution():
    class Backbone(nn.Module):
        def forward(self, x):
            return [x[:, :1, ::2, ::2], x[:, 1:, ::4, ::4]]

    network = SegmentationNetwork(Backbone(), (1, 2), 3)
    seen = []
    network.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = torch.rand(2, 3, 8, 8)
    assert network(x).shape == (2, 3, 8, 8)
    assert torch.equal(seen[0][:, :1], x[:, :1, ::2, ::2])
    bilinear = nn.functional.interpolate(x[:, 1:, ::4, ::4], (4, 4), mode="bilinear", align_corners=False)
    assert torch.equal(seen[0][:, 1:], bilinear)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("paper:hrnet,stem_stride=3", "the stride is 1 (as published) or 2"),
        ("paper:hrnet,stemstride=2", "Did you mean 'stem_stride'?"),
        ("seghead:resnt18", "unknown timm model 'resnt18'. Did you mean 'resnet18'"),
        ("torchvision:fcn_resnet5", "Did you mean 'fcn_resnet50'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(spec, message):
    with pytest.raises(UsageError) as caught:
        find_model(spec).build(num_classes=3)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_without_feature_maps_is_refused(monkeypatch):
    def create_model(*_, **__):
        raise RuntimeError("features_only is not\nimplemented")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UsageError, match=r"seghead:resnet18 has no feature maps for the head: Run") as caught:
        find_model("seghead:resnet18").build(num_classes=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_torchvisions_models_give_their_maps_and_convert(name):
    source = find_model(name)
    network = source.build(num_classes=6)
    assert source.spec == f"torchvision:{name}"
    for layer in source.classifier_layers():
        assert network.get_submodule(layer).out_channels == 6
    layers = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    network, summary = convert_batchnorm(network, "stein")
    assert len(summary.converted) == layers > 0
    scaling = decide_scaling(make_config({"model": name}), source, None, 3)
    assert scaling.mean == (0.485, 0.456, 0.406)
    model = Preprocessed(network, scaling.mean, scaling.std).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 6, 64, 64)


def test_published_weights_tell_other_classes_apart():
    source = find_model("torchvision:fcn_resnet50")
    assert (source.pretrained.label_space, source.pretrained.num_classes) == ("voc-21", 21)
    with pytest.raises(UsageError, match="takes images of 3 channels, not 1"):
        source.build(num_classes=3, in_channels=1)
    with pytest.raises(UsageError, match="has no pretrained segmentation weights"):
        find_model("seghead:resnet18").build(num_classes=3, pretrained=True)

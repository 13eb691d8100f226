"""The paper's networks have the published shapes, and their options are checked before anything is built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.models.paper import PAPER_MODELS
from stein_bench.models.sources import find_model
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.preparation.inputs import decide_scaling


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def residual_parameters(blocks, width, classes, *, projection):
    """Count by the definition: bias-free 3×3 convolutions, BN with two parameters per channel, one linear layer."""
    total, inside = 27 * width + 2 * width, width
    for stage, count in enumerate(blocks):
        outside = width * 2**stage
        for block in range(count):
            before = inside if block == 0 else outside
            total += 9 * before * outside + 9 * outside**2 + 4 * outside
            if before != outside and projection:
                total += before * outside + 2 * outside
        inside = outside
    return total + (inside + 1) * classes


@pytest.mark.parametrize(
    ("spec", "blocks", "width", "projection", "published"),
    [
        ("paper:resnet9", (1, 1, 1, 1), 64, True, "4.90"),
        ("paper:resnet18", (2, 2, 2, 2), 64, True, "11.17"),
        ("paper:resnet20", (3, 3, 3), 16, False, "0.27"),
        ("paper:resnet56", (9, 9, 9), 16, False, "0.85"),
        ("paper:resnet9,width=16", (1, 1, 1, 1), 16, True, "0.31"),
    ],
)
def test_residual_networks_have_the_published_number_of_parameters(spec, blocks, width, projection, published):
    network = find_model(spec).build(num_classes=10)
    count = parameters(network)
    assert count == residual_parameters(blocks, width, 10, projection=projection)
    assert f"{count / 1e6:.2f}" == published
    assert len([m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]) == (
        1 + 2 * sum(blocks) + (len(blocks) - 1) * projection
    )


def test_the_stem_keeps_the_resolution_and_later_stages_halve_it():
    network = find_model("paper:resnet9").build(num_classes=10)
    sizes = []
    for name in network.stages:
        network.get_submodule(name).register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_an_option_a_shortcut_subsamples_and_pads_with_zeros():
    block = find_model("paper:resnet20").build(num_classes=10).layer2[0]
    x = torch.rand(2, 16, 4, 4)
    out = block.shortcut(x)
    assert out.shape == (2, 32, 2, 2)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert out[:, :8].abs().sum() == out[:, 24:].abs().sum() == 0


def test_parameter_names_are_those_of_public_cifar_networks():
    names = set(find_model("paper:resnet20").build(num_classes=10).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.bias"} <= names
    assert not any("shortcut" in name for name in names)
    assert "layer2.0.shortcut.1.running_mean" in find_model("paper:resnet18").build(num_classes=10).state_dict()


def test_classes_and_channels_follow_the_data():
    network = find_model("paper:resnet20,width=4").build(num_classes=7, in_channels=1)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 7)


def test_the_3d_network_is_as_published():
    network = find_model("paper:cnn3d").build(num_classes=2, in_channels=1)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 3), (3, 6), (6, 6), (6, 6)]
    assert {(c.kernel_size, c.stride) for c in convolutions} == {((3, 3, 3), (2, 2, 2))}
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(1536, 768), (768, 16), (16, 1)]
    kinds = [type(m).__name__ for m in network.features]
    assert kinds == ["Conv3d", "BatchNorm3d", "ReLU"] * 4
    assert network.features(torch.rand(1, 1, 128, 128, 64)).shape == (1, 6, 8, 8, 4)
    convolved = sum(27 * a * b + b + 2 * b for a, b in ((1, 3), (3, 6), (6, 6), (6, 6)))
    assert parameters(network) == convolved + 1537 * 768 + 769 * 16 + 17 == 1_195_311


def test_the_3d_networks_batchnorm_converts():
    network, summary = convert_batchnorm(
        find_model("paper:cnn3d,shape=16x16x16").build(num_classes=2, in_channels=1), "stein"
    )
    assert len(summary.converted) == 4
    assert network(torch.rand(3, 1, 16, 16, 16)).shape == (3, 1)


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 20, 33), (1, 1, 1)])
def test_another_shape_changes_the_first_linear_layer_alone(shape):
    text = "x".join(map(str, shape))
    network = find_model(f"paper:cnn3d,shape={text}").build(num_classes=2, in_channels=1).eval()
    assert network(torch.rand(2, 1, *shape)).shape == (2, 1)


@pytest.mark.parametrize("classes", [None, 1, 2])
def test_two_classes_are_one_logit(classes):
    network = find_model("paper:cnn3d,shape=8x8x8").build(num_classes=classes, in_channels=1).eval()
    assert network(torch.rand(2, 1, 8, 8, 8)).shape == (2, 1)
    assert find_model("paper:cnn3d,shape=8x8x8").build(num_classes=3, in_channels=1).classifier[-1].out_features == 3


def test_volumes_of_another_shape_are_refused_with_the_option_that_fits():
    network = find_model("paper:cnn3d").build(num_classes=2, in_channels=1)
    message = r"inputs of 1×128×128×64, not 1×8×8×4\. Give volumes of that shape, or write paper:cnn3d,shape=8x8x4$"
    with pytest.raises(UsageError, match=message):
        network(torch.rand(1, 1, 8, 8, 4))
    with pytest.raises(UsageError, match=r"not 1×32×32\. Give volumes, e\.g\. --data nifti:CSV\.$"):
        network(torch.rand(1, 1, 32, 32))


def test_options_that_are_the_default_do_not_make_another_model():
    plain, explicit, other = (find_model(f"paper:resnet9{more}") for more in ("", ",width=64", ",width=32"))
    assert plain == explicit
    assert (plain.spec, other.spec, other.name) == ("paper:resnet9", "paper:resnet9,width=32", "resnet9,width=32")
    assert plain.fingerprint() == explicit.fingerprint() != other.fingerprint()
    assert find_model("paper:cnn3d,shape=8X8x4").spec == "paper:cnn3d,shape=8x8x4"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnt9", r"^unknown model of the paper 'resnt9'\. Did you mean 'resnet9'"),
        ("", r"^unknown model of the paper ''\. Known: resnet9, "),
        ("resnet9,widht=16", r"^unknown option of paper:resnet9 'widht'\. Did you mean 'width'\?$"),
        ("resnet9,width", r"^paper:resnet9,width: 'width' is not of the form option=value, e\.g\. width=64\.$"),
        ("resnet9,", r"^paper:resnet9,: '' is not of the form option=value, e\.g\. width=64\.$"),
        ("resnet9,width=0", r"^paper:resnet9,width=0: write a whole number of at least 1, e\.g\. 64\.$"),
        ("resnet9,width=²", r"^paper:resnet9,width=²: write a whole number of at least 1, e\.g\. 64\.$"),
        ("resnet9,width=8,width=8", r"^paper:resnet9,width=8,width=8 gives 'width' twice\.$"),
        ("cnn3d,shape=8x8", r"^paper:cnn3d,shape=8x8: write 3 whole numbers of at least 1, e\.g\. 128x128x64\.$"),
    ],
)
def test_a_wrong_name_or_option_is_one_line(spec, message):
    with pytest.raises(UsageError, match=message):
        find_model(f"paper:{spec}")


def test_there_are_no_pretrained_weights():
    with pytest.raises(UsageError, match=r"^paper:resnet9 has no pretrained weights; give a weights file\.$"):
        find_model("paper:resnet9").build(num_classes=10, pretrained=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "paper:resnet9,width=3000",
            r" would have 10,\d{3},\d{3},\d{3} parameters; at most 1,000,000,000 are allowed\.$",
        ),
        (
            "paper:cnn3d,shape=999999999x999999999x999999999",
            r"^cannot build paper:cnn3d,shape=9+x9+x9+: its options are too large\.$",
        ),
    ],
)
def test_a_network_beyond_reason_is_refused_before_memory_is_taken(spec, message):
    with pytest.raises(UsageError, match=message):
        find_model(spec).build(num_classes=10)


def test_images_are_scaled_by_rgb_values_and_volumes_are_left():
    config = make_config({"model": "paper:resnet9"})
    rgb = decide_scaling(config, find_model("paper:resnet9"), None, 3)
    assert (rgb.mean, rgb.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert decide_scaling(config, find_model("paper:resnet9"), None, 1).mean == pytest.approx((0.449,))
    none = decide_scaling(config, find_model("paper:cnn3d"), None, 1)
    assert (none.mean, none.std) == ((0.0,), (1.0,))


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_every_network_of_the_registry_names_its_classifier(name):
    architecture = PAPER_MODELS[name]
    with torch.device("meta"):
        network = architecture.builder(5, 3)
    assert architecture.summary
    assert network.get_submodule(architecture.classifier[-1]).weight.shape[0] == 5

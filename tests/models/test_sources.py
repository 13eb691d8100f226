"""A model spec finds the right library's model, and a wrong one says what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import Compose

from stein_bench.data.resize import RESIZINGS, resize_image
from stein_bench.errors import RunError, UsageError
from stein_bench.models.interface import PretrainedConfig
from stein_bench.models.sources import find_model

TIMM_RESNET18 = PretrainedConfig(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    image_size=224,
    crop_pct=0.95,
    interpolation="bicubic",
    num_classes=1000,
    label_space="imagenet-1k",
    origin="timm resnet18.a1_in1k",
    resizing="timm",
)


@pytest.mark.parametrize(
    ("spec", "canonical", "name"),
    [
        ("resnet18", "timm:resnet18", "resnet18"),
        ("timm:resnet18", "timm:resnet18", "resnet18"),
        ("resnet18.tv_in1k", "timm:resnet18.tv_in1k", "resnet18.tv_in1k"),
        ("alexnet", "torchvision:alexnet", "alexnet"),
        ("torchvision:resnet18", "torchvision:resnet18", "resnet18"),
        ("tf_efficientnet_b0_ns", "timm:tf_efficientnet_b0.ns_jft_in1k", "tf_efficientnet_b0.ns_jft_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf-hub:me/net@v1", "hf-hub:me/net@v1", "net"),
    ],
)
def test_a_spec_has_one_canonical_form(spec, canonical, name):
    """A bare name is timm's, then torchvision's; renamed timm models are found; a tag is kept."""
    source = find_model(spec)
    assert (source.spec, source.name) == (canonical, name)


def test_timm_pretrained_config_is_that_of_the_default_tag():
    assert find_model("resnet18").pretrained == TIMM_RESNET18


def test_timm_pretrained_config_is_that_of_the_tag_given():
    config = find_model("resnet18.tv_in1k").pretrained
    assert (config.interpolation, config.crop_pct) == ("bilinear", 0.875)
    assert config.origin == "timm resnet18.tv_in1k"


def test_only_imagenet_1k_classes_are_called_so():
    """ImageNet-22k weights are ImageNet's too, but not in the label space of its folders."""
    config = find_model("vit_tiny_patch16_224.augreg_in21k").pretrained
    assert config.num_classes == 21843
    assert config.label_space is None


def test_timm_model_without_weights_has_no_pretrained_config():
    source = find_model("timm:resnet50_mlp")
    assert source.pretrained is None
    with pytest.raises(UsageError, match=r"^timm:resnet50_mlp has no pretrained weights\.$"):
        source.build(num_classes=10, pretrained=True)


@pytest.mark.parametrize(
    ("name", "resizing"),
    [
        ("resnet18.tv_in1k", "usual"),  # 224 / 0.875 = 256
        ("resnet18.a1_in1k", "timm"),  # 224 / 0.95 = 235.8
        ("convnext_tiny.in12k_ft_in1k_384", "timm-squash"),
        ("vit_tiny_patch16_384.augreg_in21k_ft_in1k", "usual"),
    ],
)
def test_images_are_resized_and_cropped_as_timm_does(name, resizing):
    config = find_model(f"timm:{name}").pretrained
    assert config.resizing == resizing
    resize = RESIZINGS[config.resizing](config.image_size, config.crop_pct, config.interpolation)
    settings = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    theirs = Compose(timm.data.create_transform(**settings).transforms[:2])
    pixels = np.random.default_rng(0).integers(0, 256, (451, 500, 3), dtype=np.uint8)
    for image in (Image.fromarray(pixels), Image.fromarray(pixels.transpose(1, 0, 2))):
        assert np.array_equal(np.asarray(resize_image(image, resize)), np.asarray(theirs(image)))


def test_torchvision_pretrained_config_is_that_of_its_default_weights():
    config = find_model("torchvision:resnet50").pretrained
    assert config == PretrainedConfig(
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        image_size=224,
        crop_pct=224 / 232,
        interpolation="bilinear",
        num_classes=1000,
        label_space="imagenet-1k",
        origin="torchvision ResNet50_Weights.IMAGENET1K_V2",
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnt18", r"^unknown model 'resnt18'\. Did you mean 'resnet18' or "),
        ("alexnt", r"^unknown model 'alexnt'\. Did you mean 'alexnet'"),
        ("ResNet18", r"^unknown model 'ResNet18'\. Did you mean 'resnet18'"),
        ("", r"^unknown model ''\. `stein-bench list models` lists the known ones\.$"),
        ("timm:resnt18", r"^unknown timm model 'resnt18'\. Did you mean 'resnet18'"),
        ("timm:", r"^unknown timm model ''\."),
        ("torchvision:resnt18", r"^unknown torchvision model 'resnt18'\. Did you mean 'resnet18'"),
        ("resnet18.a1_in1", r"^unknown pretrained tag 'resnet18\.a1_in1'\. Did you mean 'resnet18\.a1_in1k'"),
        ("gluon_resnet18_v1b.x", r"^unknown pretrained tag .* gluon_resnet18_v1b has no such weights\.$"),
        (
            "foo:bar",
            r"^unknown kind of model 'foo' in 'foo:bar'\. Known: timm:, torchvision:, hf-hub:, paper:, seghead:, hub:, "
            r"jit:, pt2:, transformers: and",
        ),
        (
            "torchvision:raft_large",
            r"^torchvision:raft_large is not supported: only image classification and segmentation models are",
        ),
        ("fasterrcnn_resnet50_fpn", r"^torchvision:fasterrcnn_resnet50_fpn is not supported: only image class"),
        ("hf-hub:resnet18", r"^'resnet18' is not a model of the Hugging Face hub: write hf-hub:ORG/NAME\.$"),
        ("timm/resnet18", r"^'timm/resnet18' is not a model name\. For the .* hub, write hf-hub:timm/resnet18$"),
        ("net.py", r"^'net\.py' names a file only: write net\.py:CALLABLE"),
        (
            "runs/net.pth",
            r"^'runs/net\.pth' names a file, not a model: name .*, and give --weights runs/net\.pth\.$",
        ),
        ("net.safetensors", r"^'net\.safetensors' names a file, not a model: name the model that it is for"),
        ("jit:", r"^'jit:' names no file: write jit:FILE\.$"),
        ("jit:/", r"^/ is a folder: name the file of the program in it, jit:FILE\.$"),
        ("net.py:", r"^'net\.py:' does not name a callable: '' is not a Python name\.$"),
    ],
)
def test_a_wrong_spec_says_what_would_be_right(spec, message):
    with pytest.raises(UsageError, match=message):
        find_model(spec)


def test_a_folder_says_which_libraries_folders_are_models(tmp_path, monkeypatch):
    """But a model's name stays one, whatever lies in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("timm-net", "resnet18"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        UsageError, match=r"^'timm-net' is a folder: write hf-hub:timm-net .* transformers:timm-net, or hub:"
    ):
        find_model("timm-net")
    with pytest.raises(UsageError, match=r"^'\./timm-net' is a folder: write hf-hub:\./timm-net"):
        find_model("./timm-net")
    assert find_model("resnet18").spec == "timm:resnet18"


@pytest.mark.parametrize("spec", ["timm:test_resnet", "test_vit.r160_in1k", "torchvision:squeezenet1_1"])
def test_a_network_has_the_classes_asked_for(spec):
    network = find_model(spec).build(num_classes=7).eval()
    assert network(torch.rand(2, 3, 160, 160)).shape == (2, 7)


@pytest.mark.parametrize("spec", ["timm:test_resnet", "torchvision:squeezenet1_1"])
def test_without_a_number_the_classes_are_the_models_own(spec):
    network = find_model(spec).build(num_classes=None).eval()
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_timm_networks_take_other_channels():
    network = find_model("test_resnet").build(num_classes=4, in_channels=1).eval()
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 4)


def test_torchvision_networks_take_three_channels_only():
    with pytest.raises(UsageError, match=r"^torchvision:alexnet takes images of 3 channels, not 1\. Add ,channels=3"):
        find_model("torchvision:alexnet").build(num_classes=4, in_channels=1)


def test_pretrained_torchvision_weights_keep_their_classes():
    with pytest.raises(UsageError, match=r"weights of torchvision:alexnet have 1000 classes, not 10\.$"):
        find_model("torchvision:alexnet").build(num_classes=10, pretrained=True)


def test_a_network_depends_on_the_global_seed_alone():
    source = find_model("test_resnet")
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(source.build(num_classes=3).state_dict()["conv1.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(("spec", "library"), [("timm:test_resnet", timm), ("torchvision:alexnet", torchvision)])
def test_fingerprint_changes_with_the_librarys_version(spec, library, monkeypatch):
    source = find_model(spec)
    before = source.fingerprint()
    assert before == find_model(spec).fingerprint()
    monkeypatch.setattr(library, "__version__", "0.0.1")
    assert source.fingerprint() != before


def test_finding_the_kinds_of_models_does_not_load_torch():
    """The command line may import this for its help."""
    code = "import sys, stein_bench.models.sources; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_library_that_prints_and_warns_leaves_stdout_clean(monkeypatch, capsys, recwarn):
    def chatty(*args, **kwargs):
        sys.stdout.write("hello")
        warnings.warn("beware", stacklevel=1)
        return nn.Identity()

    monkeypatch.setattr(timm, "create_model", chatty)
    find_model("test_resnet").build(num_classes=3)
    assert capsys.readouterr().out == ""
    assert not recwarn.list


def test_torchvisions_warnings_about_initialization_are_not_shown(recwarn):
    find_model("torchvision:googlenet").build(num_classes=3)
    assert not recwarn.list


def test_a_construction_that_fails_is_one_line(monkeypatch):
    def failing(*args, **kwargs):
        raise TypeError("no in_chans\nhere")

    monkeypatch.setattr(timm, "create_model", failing)
    with pytest.raises(UsageError, match=r"^cannot build timm:test_resnet: TypeError: no in_chans here$"):
        find_model("test_resnet").build(num_classes=3)


def test_a_channel_count_that_cannot_be_built_is_one_line():
    with pytest.raises(UsageError, match=r"^cannot build timm:test_resnet: [^\n]+$"):
        find_model("test_resnet").build(num_classes=3, in_channels=-1)


@pytest.mark.parametrize("spec", ["timm:test_resnet", "torchvision:alexnet"])
def test_a_download_that_fails_is_a_failed_run(spec, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(RunError, match=rf"^cannot download {spec}: URLError: <urlopen error no route to host>$"):
        find_model(spec).build(num_classes=1000, pretrained=True)


def test_pretrained_timm_weights_are_loaded(tmp_path, monkeypatch):
    """The weights come through timm's own loading, from a file in place of the download."""
    torch.manual_seed(0)
    trained = timm.create_model("test_resnet")
    file = _hub_file(tmp_path, monkeypatch, "model.safetensors")
    save_file(trained.state_dict(), file)
    network = find_model("test_resnet").build(num_classes=1000, pretrained=True)
    assert torch.equal(network.fc.weight, trained.fc.weight)


@pytest.mark.parametrize(
    ("hub_id", "labels", "space"),
    [
        ("timm/tiny", None, "imagenet-1k"),
        ("me/tiny", None, None),
        ("me/tiny", [f"n{index:08d}" for index in range(1000)], "imagenet-1k"),
        ("me/tiny", [f"shoe {index}" for index in range(1000)], None),
    ],
)
def test_a_thousand_classes_on_the_hub_are_imagenet_only_if_said(tmp_path, monkeypatch, hub_id, labels, space):
    _hub_model(tmp_path, monkeypatch, label_names=labels)
    assert find_model(f"hf-hub:{hub_id}").pretrained.label_space == space


def test_a_hub_model_is_built_from_its_description(tmp_path, monkeypatch):
    trained = _hub_model(tmp_path, monkeypatch)
    source = find_model("hf-hub:me/tiny")
    assert source.pretrained == PretrainedConfig(
        (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 48, 0.9, "bilinear", 1000, None, "hf-hub me/tiny"
    )
    network = source.build(num_classes=None, pretrained=True)
    assert torch.equal(network.fc.weight, trained.fc.weight)
    assert source.build(num_classes=5).fc.weight.shape[0] == 5


def test_a_hub_models_fingerprint_follows_its_description(tmp_path, monkeypatch):
    _hub_model(tmp_path, monkeypatch)
    before = find_model("hf-hub:me/tiny").fingerprint()
    assert find_model("hf-hub:me/tiny").fingerprint() == before
    _hub_model(tmp_path, monkeypatch, architecture="test_vit")
    assert find_model("hf-hub:me/tiny").fingerprint() != before


def test_a_hub_model_that_is_not_timms_is_refused(tmp_path, monkeypatch):
    _hub_file(tmp_path, monkeypatch, "config.json").write_text('{"model_type": "bert"}')
    message = r"^hf-hub:me/tiny is not a timm model: its config\.json has no 'architecture'\.$"
    with pytest.raises(UsageError, match=message):
        _ = find_model("hf-hub:me/tiny").pretrained


def test_a_hub_model_of_an_unknown_architecture_is_refused(tmp_path, monkeypatch):
    _hub_model(tmp_path, monkeypatch, architecture="resnet_of_tomorrow")
    with pytest.raises(UsageError, match=r"needs the architecture 'resnet_of_tomorrow', unknown to this timm\.$"):
        _ = find_model("hf-hub:me/tiny").pretrained


def test_a_hub_model_that_does_not_exist_is_wrong_usage(monkeypatch):
    class RepositoryNotFoundError(OSError):
        pass

    _hub_raises(monkeypatch, RepositoryNotFoundError("401"))
    with pytest.raises(UsageError, match=r"^there is no public model hf-hub:me/tiny on the Hugging Face hub\.$"):
        find_model("hf-hub:me/tiny").build(num_classes=None)


def test_a_hub_that_cannot_be_reached_is_a_failed_run(monkeypatch):
    _hub_raises(monkeypatch, ConnectionError("offline"))
    source = find_model("hf-hub:me/tiny")
    with pytest.raises(RunError, match=r"^cannot download hf-hub:me/tiny: ConnectionError: offline$"):
        source.build(num_classes=None)
    with pytest.raises(RunError, match=r"^cannot download hf-hub:me/tiny: ConnectionError: offline$"):
        _ = source.pretrained


def _hub_raises(monkeypatch, error):
    def unreachable(*args, **kwargs):
        raise error

    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)


def _hub_file(folder, monkeypatch, name):
    """Let timm find the hub's files in a folder; return the path of the one called `name`."""

    def download(repo_id, filename, **options):
        return str(folder / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return folder / name


def _hub_model(folder, monkeypatch, architecture="test_resnet", label_names=None):
    config = {
        "architecture": architecture,
        "num_classes": 1000,
        "pretrained_cfg": {
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.2, 0.1],
            "input_size": [3, 48, 48],
            "crop_pct": 0.9,
            "interpolation": "bilinear",
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
    }
    if label_names:
        config["label_names"] = label_names
    _hub_file(folder, monkeypatch, "config.json").write_text(json.dumps(config))
    trained = timm.create_model("test_resnet")
    save_file(trained.state_dict(), folder / "model.safetensors")
    return trained

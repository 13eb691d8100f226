"""Nothing is fetched unless a spec says so, and with --offline not even then; what is in the caches is used."""

from __future__ import annotations

import os

import pytest
import torch
import torchvision
from huggingface_hub import constants
from PIL import Image

from stein_bench.errors import UsageError
from stein_bench.models import hub
from stein_bench.models.sources import find_model
from stein_bench.offline import VARIABLE, offline, offline_if

HUB = """
import torch
dependencies = ["torch"]

def entry(num_classes=10, pretrained=False):
    torch.hub.load_state_dict_from_url("https://weights.example/net.pth")
"""
FETCHING = {
    "timm's weights": ("train", "test_resnet", "--weights", "pretrained", "--epochs", "1", "--output", "w.safetensors"),
    "a model of the hub": ("evaluate", "hf-hub:somebody/net"),
    "torchvision's weights": ("evaluate", "torchvision:squeezenet1_1", "--data", "imagefolder:n"),
    "weights of torch.hub": ("evaluate", "hub:.:entry,pretrained=true"),
    "CIFAR-10": ("evaluate", "test_resnet", "--data", "cifar10"),
}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Empty caches, and no proxy; the hub is looked for anew. The current folder has an entry point of torch.hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub._accepts.cache_clear()
    (tmp_path / "hubconf.py").write_text(HUB)
    for wnid in ("n01440764", "n01443537"):  # labels of ImageNet
        (tmp_path / "n" / wnid).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "n" / wnid / "0.png")
    yield tmp_path
    hub._accepts.cache_clear()


@pytest.mark.integration
def test_commands_fetch_nothing(tmp_path, monkeypatch, invoke, attempts, model, data, unchecked):
    monkeypatch.chdir(tmp_path)
    for words in (
        ("evaluate", model, "--data", data, "--attack", "fgsm", "--output", "r.json", "--save-adversarials", 1),
        ("evaluate", "test_resnet", "--weights", "none", "--limit", 4, "--attack", "none"),
        ("report", "r.json", "--html", "r.html"),
        ("compare", "r.json", "r.json"),
        ("gate", "r.json", "--baseline", "r.json"),
        ("list", "models"), ("list", "data"), ("list", "attacks"), ("schema",),
        ("inspect", model, "--data", data),
        ("train", model, "--data", data, "--epochs", 1, "--output", "w.safetensors"),
    ):  # fmt: skip
        found = invoke(*words)
        assert found.exit_code in (0, 1), (words, found.output)
    assert not attempts


@pytest.mark.parametrize("what", FETCHING)
def test_offline_is_one_line_and_the_option_what_prevents_it(empty, invoke, attempts, what):
    words = (*FETCHING[what], "--limit", 2, "-q")
    (empty / "c.yaml").write_text("offline: true\n")
    for more, environment in ((("--offline",), {}), ((), {VARIABLE: "1"}), (("--config", "c.yaml"), {})):
        found = invoke(*words, *more, **environment)
        *others, last = found.stderr.splitlines()  # torch.hub says "Downloading" before it tries
        assert (found.exit_code, len(others)) in ((2, 0), (2, 1)), found.output
        assert "nothing is fetched under --offline or HF_HUB_OFFLINE: run once without it, or " in last
        assert not attempts
    assert not offline()
    found = invoke(*words)
    assert found.exit_code in (2, 3)
    assert attempts


@pytest.mark.parametrize("words", [("inspect",), ("theory", "lipschitz", "--model")])
def test_other_commands(empty, invoke, attempts, words):
    found = invoke(*words, "hf-hub:somebody/net", "--offline")
    assert found.exit_code == 2
    assert "the files of hf-hub:somebody/net are not in the cache" in found.stderr
    assert not attempts


def test_reproduce(empty, invoke, attempts):
    found = invoke("reproduce", "cifar10", "--seeds", 1, "--offline", "-q")
    assert found.exit_code == 2
    assert "nothing is fetched" in found.stderr
    assert not attempts


def test_what_is_in_the_cache_is_used(empty, attempts):
    file = empty / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir(parents=True)
    made = torchvision.models.squeezenet1_1()
    torch.save(made.state_dict(), file)
    with offline_if(True):
        network = find_model("torchvision:squeezenet1_1").build(num_classes=None, pretrained=True)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(network.eval()(images), made.eval()(images))
    assert not attempts


def test_the_body_alone_is_offline(empty, attempts):
    with offline_if(True), offline_if(True):
        assert (offline(), constants.HF_HUB_OFFLINE) == (True, True)
        place = rf"{torch.hub.get_dir()}/checkpoints/w\.pth"
        with pytest.raises(UsageError, match=rf"^https://a\.example/w\.pth is not in the cache; .*{place}"):
            torch.hub.load_state_dict_from_url("https://a.example/w.pth")
    assert (offline(), constants.HF_HUB_OFFLINE, VARIABLE in os.environ) == (False, False, False)
    with pytest.raises(OSError, match="a test tried to reach"):
        torch.hub.load_state_dict_from_url("https://a.example/w.pth")
    assert attempts == ["a.example"]

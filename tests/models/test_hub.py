"""Models of the hub without the hub: from a folder with the same files, and from the cache, at once."""

from __future__ import annotations

import json
import socket
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from timm.models._hub import save_for_hf  # in timm.models itself only in newer ones

from stein_bench.errors import RunError, UsageError
from stein_bench.models import hub
from stein_bench.models.sources import find_model


@pytest.fixture
def network():
    """A tiny timm model of 3 classes whose running statistics are not those of a new one."""
    made = timm.create_model("test_resnet", num_classes=3)
    made.train()(torch.rand(8, 3, 32, 32))
    return made.eval()


@pytest.fixture
def unreachable(tmp_path, monkeypatch):
    """An empty cache, and a hub that would refuse connections; returns the cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_accepts", lambda address: False)
    return tmp_path / "hub"


def computes_the_same(source, network):
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(source.build(num_classes=None, pretrained=True).eval()(images), network(images))


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_gives_the_model_that_timm_saved(tmp_path, monkeypatch, network, unreachable, safe):
    monkeypatch.chdir(tmp_path)
    save_for_hf(network, "org/net", safe_serialization=safe)
    for where, notes in (
        (f"{tmp_path}/org/net", ()),
        ("org/net", ("hf-hub:org/net is the folder here, not the hub's",)),
    ):
        source = find_model(f"hf-hub:{where}")
        assert (source.spec, source.name, source.notes) == (f"hf-hub:{where}", "net", notes)
        assert (source.pretrained.num_classes, source.pretrained.label_space) == (3, None)
        assert source.classifier_layers() == ("fc",)
        assert computes_the_same(source, network)
        assert source.build(num_classes=5).fc.out_features == 5


def test_a_model_in_the_cache_needs_no_connection(tmp_path, monkeypatch, network, unreachable):
    snapshot = unreachable / "models--me--net" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    save_for_hf(network, snapshot, safe_serialization=True)
    (unreachable / "models--me--net" / "refs").mkdir()
    (unreachable / "models--me--net" / "refs" / "main").write_text(snapshot.name)
    assert computes_the_same(find_model("hf-hub:me/net"), network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert computes_the_same(find_model("hf-hub:me/net"), network)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("spec", ["hf-hub:me/net", "timm:test_resnet"])
def test_what_is_not_in_the_cache_is_one_line_at_once(monkeypatch, unreachable, spec, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    message = rf"^cannot download {spec}: {constants.ENDPOINT} cannot be reached, and its files are not in the cache "
    if offline:
        message = rf"^the files of {spec} are not in the cache {unreachable}; nothing is fetched under --offline "
    started = time.perf_counter()
    with pytest.raises(UsageError if offline else RunError, match=message):
        find_model(spec).build(num_classes=None, pretrained=True)
    assert time.perf_counter() - started < 5


def test_a_connection_is_tried_once_to_the_hub_or_its_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert hub._accepts(address)
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert hub._way_to("https://huggingface.co") == "https://huggingface.co"
        monkeypatch.setenv("https_proxy", address)
        assert hub._way_to("https://huggingface.co") == address
        monkeypatch.setenv("no_proxy", "huggingface.co")
        assert hub._way_to("https://huggingface.co") == "https://huggingface.co"
    assert not hub._accepts(f"{address}/closed")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"^net has no config\.json, which timm\.models\.save_for_hf writes\.$"),
        ({"config.json": "{"}, r"^cannot read net/config\.json: JSONDecodeError: "),
        ({"config.json": "[]"}, r"^net is not a timm model: its config\.json has no 'architecture'\.$"),
        (
            {"config.json": '{"model_type": "vit"}'},
            r"^net is not a timm model: its config\.json has no 'architecture'; for one of .*, write transformers:net",
        ),
        (
            {"config.json": json.dumps({"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {}})},
            r"^net has neither model\.safetensors nor pytorch_model\.bin\.$",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path, monkeypatch, files, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    for name, text in files.items():
        (tmp_path / "net" / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        find_model("hf-hub:net").build(num_classes=None, pretrained=True)


def test_a_folder_that_does_not_exist_is_not_looked_up_on_the_hub():
    with pytest.raises(UsageError, match=r"^no such folder: \./nowhere$"):
        find_model("hf-hub:./nowhere")

"""Entry points of hubconf.py files, in the folders of torch.hub and elsewhere, without downloading code."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torch.hub
from torch import nn

from stein_bench.errors import RunError, UsageError
from stein_bench.models.sources import find_model

# As in chenyaofo/pytorch-cifar-models: entry points are partial functions of a package beside hubconf.py.
HUBCONF = """
dependencies = ['torch']
from cifar_models.resnet import cifar10_resnet20, cifar100_resnet20
"""
RESNET = """
from functools import partial
import torch
from torch import nn
from torch.hub import load_state_dict_from_url
from .parts import Linear
def _resnet(num_classes, pretrained=False, progress=True, **kwargs):
    network = nn.Sequential(nn.Flatten(), Linear(12, num_classes))
    if pretrained:
        network.load_state_dict(load_state_dict_from_url('https://nowhere.invalid/resnet20.pt', progress=progress))
    return network
cifar10_resnet20 = partial(_resnet, num_classes=10)
cifar100_resnet20 = partial(_resnet, num_classes=100)
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Make an empty folder the one of torch.hub and the current one; return how to write a repository into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def offline(*args, **kwargs):
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(torch.hub, "urlopen", offline)

    def repository(folder, hubconf=HUBCONF):
        package = tmp_path / folder / "cifar_models"
        package.mkdir(parents=True)
        (tmp_path / folder / "hubconf.py").write_text(hubconf)
        (package / "__init__.py").write_text("")
        (package / "parts.py").write_text("from torch.nn import Linear\n")
        (package / "resnet.py").write_text(RESNET)

    return repository


@pytest.mark.parametrize(
    ("folder", "spec", "canonical", "name"),
    [
        ("hub/me_nets_master", "hub:me/nets:E", "hub:me/nets:master:E", "nets.E"),
        ("hub/me_nets_master", "hub:me/nets:master:E", "hub:me/nets:master:E", "nets.E"),
        ("hub/me_nets_fix_it", "hub:me/nets:fix/it:E", "hub:me/nets:fix/it:E", "nets.E"),
        ("hub/me_my-nets.2_v1.0", "hub:me/my-nets.2:E", "hub:me/my-nets.2:v1.0:E", "my-nets.2.E"),
        ("clone/nets", "hub:clone/nets:E", "hub:clone/nets:E", "nets.E"),
        ("clone:1/nets,2", "hub:./clone:1/nets,2:E", "hub:clone:1/nets,2:E", "nets,2.E"),
        ("clone", "hub:.:E", None, None),
    ],
)
def test_an_entry_point_is_found_where_torch_hub_keeps_it_or_in_a_folder(
    hub, tmp_path, monkeypatch, folder, spec, canonical, name
):
    hub(folder)
    if canonical is None:
        monkeypatch.chdir(tmp_path / folder)
    source = find_model(spec.replace(":E", ":cifar10_resnet20"))
    if canonical is not None:
        named = canonical.replace(":E", ":cifar10_resnet20"), name.replace(".E", ".cifar10_resnet20")
        assert (source.spec, source.name) == named
        assert find_model(source.spec).spec == source.spec
    network = source.build(num_classes=None)
    expected = torch.hub.load(str(tmp_path / folder), "cifar10_resnet20", source="local")
    network.load_state_dict(expected.state_dict())
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(network(x), expected(x))
    assert not source.own_weights


def test_weights_come_from_the_checkpoints_of_torch_hub(hub, tmp_path):
    hub("hub/me_nets_master")
    source = find_model("hub:me/nets:cifar10_resnet20,pretrained=true")
    assert source.own_weights
    assert source.name == "nets.cifar10_resnet20,pretrained=true"
    place = tmp_path / "hub" / "checkpoints" / "resnet20.pt"
    message = (
        rf"^hub:me/nets:master:cifar10_resnet20,pretrained=true needs weights .*save https:.*resnet20\.pt as {place}$"
    )
    with pytest.raises(RunError, match=message):
        source.build(num_classes=10)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    torch.save(trained.state_dict(), place)
    assert torch.equal(source.build(num_classes=10)[1].weight, trained[1].weight)


def test_no_code_is_downloaded(hub):
    load = "torch.hub.load('you/more:main', 'x', trust_repo=True, skip_validation=True)"
    hub("hub/me_nets_master", f"import torch\ndependencies = []\ndef make():\n    return {load}\n")
    with pytest.raises(UsageError, match=r"^hub:me/nets:master:make loads further code from https.*no code is"):
        find_model("hub:me/nets:make").build(num_classes=None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "hub:me/nets:cifar10_resnt20",
            r"^hub:me/nets:master has no entry .*\. Did you mean 'cifar10_resnet20' or",
        ),
        ("hub:me/nets:zzz", r"has no entry point 'zzz'\. Its entry points: cifar10_resnet20, cifar100_resnet20\.$"),
        ("hub:me/nets:main:E", r"hub has no folder me_nets_main with a hubconf\.py\. It has master of me/nets\.$"),
        ("hub:me/two:E", r"more than one possible folder .* hub:me/two:main:ENTRY or hub:me/two:v2:ENTRY\.$"),
        (
            "hub:me/under:E",
            r"has only me_under_score_main of me/under: .* hub:me/under:score_main:ENTRY\.$",
        ),
        (
            "hub:you/nets:E",
            r"has no folder you_nets_BRANCH .*: run torch\.hub\.list\('you/nets'\) once, or",
        ),
        ("hub:plain:E", r"^hub:plain: the folder plain has no hubconf\.py\.$"),
        ("hub:nowhere:E", r"^hub:nowhere: the folder nowhere does not exist\.$"),
        (
            "hub:me/nets",
            r"^'hub:me/nets' does not name an entry point: write hub:OWNER/REPO:ENTRY or",
        ),
        ("hub:me/nets:E()", r"^'hub:me/nets:E\(\)' does not name an entry point"),
        (
            "hub:me/needs:E",
            r"^hub:me/needs:E needs nope_a, nope_b, not installed here: hubconf\.py lists it",
        ),
        ("hub:me/nets:cifar10_resnet20,dpeth=3,progress=4", None),
    ],
)
def test_what_is_not_there_is_one_line(hub, tmp_path, spec, message):
    for folder in ("me_nets_master", "me_two_main", "me_two_v2", "me_under_score_main"):
        hub(f"hub/{folder}")
    hub("hub/me_needs_main", "dependencies = ['torch', 'nope_a', 'nope_b']\nimport nope_a\n")
    (tmp_path / "plain").mkdir()
    if message is None:  # the entry takes **kwargs
        assert find_model(spec).arguments == {"progress": 4, "dpeth": 3}
        return
    with pytest.raises(UsageError, match=message):
        find_model(spec)

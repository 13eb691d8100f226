"""Code that a file names is not imported unless its user says so; what is typed is."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch

import stein_bench
from stein_bench.config import make_config
from stein_bench.data import kinds as data_kinds
from stein_bench.data import sources as data_sources
from stein_bench.errors import UsageError
from stein_bench.models import sources as model_sources
from stein_bench.models.weights import save_weights
from stein_bench.parts.trust import KINDS, PREFIXES, names_code
from stein_bench.preparation.early import check_early
from stein_bench.preparation.plan import prepare
from stein_bench.reproduction.experiment import read_changed
from tests import reports
from tests.models.test_weights import CARD

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()

def part(*_, **__):
    raise ValueError("called")
"""
CODE = ("evil.py:part", "./evil.py:part,x=1", "evil:part", "package.evil:part", "{folder}/evil.py:part")
EXPERIMENT = """
name: tiny
preset: controlled
summary: one line
model: {model}
data: {data}
bn: [sample, {bn}]
parts:
  - {{name: standard, recipe: fit, attack: [{attack}], train: {{adversarial: '{adversarial}'}}}}
contrasts:
  - {{bn: stein, outcome: '{outcome}'}}
"""
PLAIN = {"model": "resnet18", "data": "digits", "bn": "stein", "attack": "pgd", "adversarial": "pgd", "outcome": "pgd"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder whose code leaves a file when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    for file in (tmp_path / "evil.py", tmp_path / "package" / "evil.py", tmp_path / "hubconf.py"):
        file.write_text(EVIL)
    return tmp_path


def ran(folder):
    return list(folder.rglob("ran"))


def refused(found, folder, place, spec):
    """Whether a command has refused, in one line that names place and code, and imported nothing."""
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith(f"stein-bench: {place} names code, {spec}, which would run with all your rights.")
    assert found.stderr.endswith("add --trust-code.\n")
    assert found.stderr.count("\n") == 1
    assert not ran(folder)


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize("key", ["model", "data", "surrogate", "attack", "bn", "metric", "corruption"])
def test_code_that_a_configuration_names_is_not_imported(folder, invoke, key, code):
    spec = code.format(folder=folder)
    listed = key in ("attack", "bn", "metric", "corruption")
    (folder / "c.yaml").write_text(json.dumps({"model": "resnet18", key: [spec] if listed else spec}))
    refused(invoke("evaluate", "--config", "c.yaml"), folder, f"c.yaml: {key}", spec)
    refused(invoke("evaluate", "--config", "c.yaml", "--dry-run"), folder, f"c.yaml: {key}", spec)


@pytest.mark.parametrize(
    "spec",
    ["hub:.:part", " hub:.:part", " timm:evil.py:part", "hub:owner/repo:part", "jit:net.pt", "net.pt2", "pt2:net"],
)
def test_a_program_is_code(folder, invoke, spec):
    (folder / "c.yaml").write_text(json.dumps({"model": spec}))
    refused(invoke("evaluate", "--config", "c.yaml"), folder, "c.yaml: model", spec)


def test_a_configuration_cannot_vouch_for_itself(folder, invoke):
    for key in ("trust-code", "trust_code"):
        (folder / "c.yaml").write_text(json.dumps({"model": "evil.py:part", key: True}))
        found = invoke("evaluate", "--config", "c.yaml")
        assert found.exit_code == 2
        assert "a file cannot vouch for itself" in found.stderr
        assert not ran(folder)


@pytest.mark.parametrize("words", [("evaluate",), ("train", "--output", "w.safetensors")])
def test_with_the_option_it_is_imported_and_what_is_typed_always_is(folder, invoke, words):
    (folder / "c.yaml").write_text("model: evil.py:part\n")
    found = invoke(*words, "--config", "c.yaml", "--trust-code")
    assert "calling evil.py:part failed: ValueError: called" in found.stderr
    assert ran(folder)
    ran(folder)[0].unlink()
    (folder / "evil.py").write_text(f"{EVIL}\n# edited, so that it is imported again\n")
    found = invoke(*words, "--config", "c.yaml", "evil.py:part")
    assert "calling evil.py:part failed: ValueError: called" in found.stderr
    assert ran(folder)


@pytest.mark.parametrize("key", ["model", "data", "bn", "adversarial"])
def test_a_configuration_of_a_training(folder, invoke, key):
    (folder / "c.yaml").write_text(json.dumps({"model": "resnet18", "output": "w.safetensors", key: "evil.py:part"}))
    refused(invoke("train", "--config", "c.yaml"), folder, f"c.yaml: {key}", "evil.py:part")


def test_a_battery(folder, invoke):
    (folder / "b.yaml").write_text("attacks: [pgd, 'evil.py:part:x=1']\n")
    place = "b.yaml: attacks"
    refused(invoke("evaluate", "resnet18", "--battery", "b.yaml"), folder, place, "evil.py:part:x=1")
    (folder / "c.yaml").write_text("model: resnet18\nbattery: b.yaml\n")
    refused(invoke("evaluate", "--config", "c.yaml"), folder, place, "evil.py:part:x=1")
    with pytest.raises(UsageError, match=r"^b\.yaml: attacks names code"):
        stein_bench.evaluate("resnet18", battery="b.yaml", progress=False)
    trusted = make_config({"model": "resnet18", "battery": "b.yaml", "trust_code": True})
    check_early(trusted)
    prepare(trusted)
    assert ran(folder)


@pytest.mark.parametrize(
    ("line", "key"),
    [("evil.py:part", "model"), ("resnet18 metric=evil.py:part", "metric"), ("resnet18 --bn evil.py:part", "bn")],
)
def test_a_list_of_models(folder, invoke, line, key):
    (folder / "m.txt").write_text(f"resnet18\n{line} name=second\n")
    for more in ((), ("--dry-run",), ("--shard", "1/2"), ("--resume",)):
        found = invoke("evaluate", "--models", "m.txt", "--output", "runs/", *more)
        refused(found, folder, f"m.txt, line 2: {key}", "evil.py:part")
    (folder / "m.txt").write_text("resnet18 trust-code\n")
    found = invoke("evaluate", "--models", "m.txt", "--output", "runs/")
    assert found.exit_code == 2
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("key", sorted(PLAIN))
def test_an_experiment(folder, invoke, key):
    (folder / "e.yaml").write_text(EXPERIMENT.format(**{**PLAIN, key: "evil.py:part"}))
    deep = {"attack": "parts.attack", "adversarial": "parts.train.adversarial", "outcome": "contrasts.outcome"}
    refused(invoke("reproduce", "e.yaml"), folder, f"e.yaml: {deep.get(key, key)}", "evil.py:part")
    if key in ("bn", "attack", "outcome"):  # those are looked up as the file is read
        with contextlib.suppress(UsageError):
            read_changed(folder / "e.yaml", {}, trust_code=True)
        assert ran(folder)


def test_the_card_of_weights(folder, invoke):
    card = {**vars(CARD), "bn": "evil.py:part"}
    save_weights(folder / "w.safetensors", torch.nn.Linear(1, 1), type(CARD)(**card))
    for command, *more in (("evaluate",), ("inspect",), ("train", "--output", "v.safetensors")):
        found = invoke(command, "resnet18", *more, "--weights", "w.safetensors")
        refused(found, folder, "w.safetensors: the card of the weights", "evil.py:part")


def test_reports_name_code_that_is_never_imported(folder, invoke, make_report):
    config = {"model": "evil.py:part", "data": "evil.py:part", "attack": ["evil.py:part"], "bn": ["evil.py:part"]}
    report = make_report([reports.replaced(make_report().variants[0], bn="evil.py:part")])
    report = reports.replaced(report, run=reports.replaced(report.run, config=config))
    (folder / "r.json").write_text(report.to_json())
    assert invoke("report", "r.json", "--html", "r.html", "--markdown", "r.md").exit_code == 0
    assert invoke("compare", "r.json", "r.json").exit_code == 0
    assert invoke("gate", "r.json", "--baseline", "r.json").exit_code in (0, 1)
    assert not ran(folder)


def test_the_prefixes_without_code_are_all_others():
    assert PREFIXES["model"] == set(model_sources.PREFIXES) - {"hub", "jit", "pt2"}
    assert PREFIXES["data"] == {*data_sources._OPENERS, *data_kinds.ALIASES}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("model", "resnet18"), ("model", "timm:resnet18.a1_in1k"), ("model", "hf-hub:timm/resnet18"),
        ("model", "paper:resnet9,width=16"), ("data", "npz:test.npz,train=train.npz"),
        ("data", "wds:a.b:c.tar"), ("data", "digits"), ("attack", "pgd:eps=8/255,steps=20"),
        ("attack", "torchattacks.MIFGSM:eps=8/255"), ("attack", "fog:1+3"), ("estimator", "ridge:0.3"),
    ],
)  # fmt: skip
def test_other_specs_are_no_code(kind, spec):
    assert kind in KINDS.values()
    assert not names_code(kind, spec)

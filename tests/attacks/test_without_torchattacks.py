"""Without the extra torchattacks everything runs but its attacks, which say in one line how to get it."""

import json
import sys

import pytest

import stein_bench
from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.batteries import battery_names, find_battery
from stein_bench.attacks.torchattacks_catalog import is_installed
from stein_bench.cli import completion
from stein_bench.errors import UsageError

HOW = (
    " needs the package torchattacks, which is not installed: pip install 'stein-bench[torchattacks]'. Beside packages "
    "that need a newer requests than its 2.25: pip install --no-deps 'torchattacks>=3.5.1,<3.6'."
)


@pytest.fixture(autouse=True)
def without(monkeypatch):
    """Make the package impossible to import, loaded already or not."""
    for name in [name for name in sys.modules if name.startswith("torchattacks.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    assert not is_installed()


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("torchattacks.MIFGSM:eps=4/255", "torchattacks.MIFGSM"),
        ("transfer.DI-FGSM", "transfer.torchattacks.DIFGSM"),
        ("I-FGSM", "torchattacks.BIM"),  # falls to the library
        ("BIM10", "torchattacks.BIM"),
        ("torchattacks:PGD", "torchattacks:PGD"),
    ],
)
def test_an_attack_of_the_library_says_what_to_install(spec, named):
    with pytest.raises(UsageError) as caught:
        resolve_attack(spec)
    assert str(caught.value) == f"attack {named}{HOW}"


def test_what_cannot_run_anyway_and_misspellings_are_answered_as_always():
    with pytest.raises(UsageError, match=r"attack torchattacks\.JSMA is not available: it takes minutes"):
        resolve_attack("jsma")
    with pytest.raises(UsageError, match=r"Did you mean 'torchattacks\.PGDL2'"):
        resolve_attack("torchattacks.PDGL2")


@pytest.mark.parametrize("name", [name for name in battery_names() if name != "corruptions"])
def test_every_battery_is_stein_benchs_own(name):
    attacks = resolve_attacks([], battery=find_battery(name).attacks)
    assert {attack.info.backend for attack in attacks} == {"native"}


@pytest.mark.parametrize(
    "options",
    [
        ["evaluate", "--attack", "torchattacks.PGD", "--output", "r.json"],
        ["evaluate", "--attack", "torchattacks.PGD", "--dry-run"],
        ["train", "--adversarial", "torchattacks.PGD", "--output", "r.safetensors"],
    ],
)
def test_the_command_line_refuses_in_one_line_and_writes_nothing(invoke, options, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*options, net)
    assert result.exit_code == 2
    assert result.stderr == f"stein-bench: attack torchattacks.PGD{HOW}\n"
    assert not list(tmp_path.glob("r.*"))


def test_the_list_still_shows_them_and_says_what_they_need(invoke):
    text = " ".join(invoke("list", "attacks", "torchattacks.MIFGSM").stdout.split())
    assert "extra torchattacks (not installed)" in text


def test_completion_offers_what_can_run():
    names = [name for name, _ in completion.attacks("")]
    assert "mifgsm" in names
    assert not [name for name in names if "torchattacks" in name]


def test_an_evaluation_and_a_call_from_python_do_without(invoke, net, tmp_path):
    path = tmp_path / "report.json"
    attacks = ["--attack", "pgd:steps=2", "--attack", "apgd-ce:steps=2"]
    result = invoke("evaluate", net, "--weights", "none", "--limit", "8", *attacks, "--output", path)
    assert result.exit_code == 0, result.output
    report = json.loads(path.read_text())
    assert report["run"]["environment"]["packages"]["torchattacks"]
    assert [attack["status"] for attack in report["variants"][0]["attacks"]] == ["ok", "ok"]
    with pytest.raises(UsageError, match="needs the package torchattacks"):
        stein_bench.evaluate(net, attacks="torchattacks.PGD", weights="none", limit=4)
    assert sys.modules["torchattacks"] is None

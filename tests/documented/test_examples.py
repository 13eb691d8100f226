"""The examples run as their README says, and show what they claim."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\| \[(\w+)\.py\]\((\S+)\) \|.*`([^`]+)` \|$", README, re.MULTILINE)
PARTS = {name: shlex.split(command)[1:] for name, path, command in COMMANDS if path.startswith("parts/")}


@pytest.fixture
def run(tmp_path):
    """Run Python in an empty folder, with a cache of its own, and return what it prints."""

    def python(*arguments: str | Path) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "STEIN_BENCH_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True,
            encoding="utf-8", check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, text
    return [float(group) for group in found.groups()]


def test_the_readme_has_a_command_for_every_example():
    assert {path for _, path, _ in COMMANDS} == {str(p.relative_to(EXAMPLES)) for p in EXAMPLES.rglob("*.py")}
    assert all(path in command or f"examples/{path}" in command for _, path, command in COMMANDS)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_is_a_short_file(part):
    assert len((EXAMPLES / "parts" / f"{part}.py").read_text().splitlines()) < 40


def test_own_network_and_loader(run, tmp_path):
    """PGD finds more than one step does, and the saved report is the same."""
    printed = run(EXAMPLES / "own_model_and_loader.py", tmp_path)
    (fgsm,) = numbers(r"fgsm +ε = 24/255 +robust ([\d.]+)%", printed)
    (pgd,) = numbers(r"pgd +ε = 24/255 +robust ([\d.]+)%", printed)
    assert pgd < fgsm < 90
    assert "the same after saving and loading: True" in printed
    assert "still in training mode, as it was: True" in printed
    assert json.loads((tmp_path / "report.json").read_text())["data"]["samples"] == 200


def test_own_attack_is_verified_and_cheats_are_found_out(run):
    printed = run(EXAMPLES / "own_attack.py")
    (clean,) = numbers(r"sample +([\d.]+) \(", printed)
    (cooling,) = numbers(r"__main__:cooling +Linf +24/255 +([\d.]+) ", printed)
    assert cooling < clean - 20
    assert numbers(r"largest change: ([\d.]+)/255", printed)[0] <= 24
    assert "beyond: invalid, 50 of 50 invalid" in printed
    assert "in_place: failed" in printed
    assert "changes its inputs in place" in printed
    assert "with_own_seed: failed" in printed
    assert "reseeds the global random numbers (torch.manual_seed)" in printed


def test_estimators_are_trained_and_converted(run):
    """The same estimators twice; only the second time were the layers converted after training."""
    printed = run(EXAMPLES / "compare_estimators.py")
    trained, converted = printed.split("weights: own", 1)
    for name in ("sample", "stein", "james-stein", "__main__:denoised"):
        assert re.search(rf"^{name} +\d", trained, re.MULTILINE), name
    assert "each BN is one trained network" in trained
    assert "converted after training" not in trained
    assert "__main__:denoised: converted after training, which changes the function" in converted
    assert "2 layers converted to __main__:denoised, 0 left" in converted


def test_curves_fall_and_are_drawn(run, tmp_path):
    printed = run(EXAMPLES / "curves.py", tmp_path)
    curves = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in printed.splitlines()[:3]}
    assert curves.keys() == {"fgsm", "square", "pgd"}
    for accuracy in curves.values():
        assert len(accuracy) == 7
        assert accuracy == sorted(accuracy, reverse=True)
    assert curves["pgd"][-1] < curves["fgsm"][-1] < curves["square"][-1]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (900, 600)
        assert len(picture.convert("RGB").getcolors(2**24)) > 100


def test_gate_in_pytest(run):
    # an installation that is older than the plugin does not have its entry point
    plugin = [] if entry_points(group="pytest11", name="stein-bench") else ["-p", "stein_bench.pytest_plugin"]
    printed = run("-m", "pytest", "-rP", "-p", "no:cacheprovider", *plugin, EXAMPLES / "test_robustness_gate.py")
    assert "2 passed" in printed
    assert re.search(r"sample +clean .* regression", printed)
    assert "below the minimum of 90 %" in printed


@pytest.fixture
def report_of(invoke, monkeypatch, tmp_path):
    """Run the README's command for a part in the repository's folder, on fewer samples, and return its report."""

    def evaluated(part: str) -> dict:
        monkeypatch.chdir(ROOT)
        path = tmp_path / "report.json"
        result = invoke(*PARTS[part], "--limit", 100, "--quiet", "--output", path)
        assert result.exit_code == 0, result.output
        return json.loads(path.read_text(encoding="utf-8"))

    return evaluated


def test_attack_from_a_file(report_of):
    report = report_of("attack")
    clean, (_, own) = report["variants"][0]["clean"], report["variants"][0]["attacks"]
    assert (own["name"], own["params"]["steps"], own["invalid"]) == ("attack.py:cooling", 20, 0)
    assert own["robust_accuracy"] < clean["accuracy"] - 0.2
    assert [part["name"] for part in report["run"]["parts"]] == ["attack.py:cooling"]


def test_estimator_from_a_file(report_of):
    """Trained with it, the network is another one than that with plain BN, and as good on clean samples."""
    plain, own = report_of("estimator")["variants"]
    assert own["bn"].endswith("estimator.py:denoised")
    assert own["conversion"] == "before-training"
    assert own["weights"]["sha256"] != plain["weights"]["sha256"]
    assert own["clean"]["accuracy"] > 0.8


def test_data_from_a_file(report_of):
    report = report_of("data")
    data = report["data"]
    assert (data["name"], data["shape"], data["samples"]) == ("data.py:small_digits,size=6", [1, 6, 6], 100)
    assert report["variants"][0]["clean"]["accuracy"] > 0.6


def test_model_from_a_file(report_of):
    report = report_of("model")
    assert report["model"]["name"] == "model.small_net,width=8"
    assert report["model"]["parameters"] < 2500
    assert report["variants"][0]["clean"]["accuracy"] > 0.7


def test_metric_from_a_file(report_of):
    """Both values have their intervals; under attack fewer labels are among the three likeliest classes."""
    variant = report_of("metric")["variants"][0]
    clean, attacked = variant["clean"]["own_metrics"], variant["attacks"][0]["own_metrics"]
    assert clean.keys() == attacked.keys() == {"confidence", "top 3"}
    assert clean["top 3"]["value"] >= variant["clean"]["accuracy"]
    assert attacked["top 3"]["value"] < clean["top 3"]["value"]
    assert clean["confidence"]["ci95"][0] < clean["confidence"]["value"] < clean["confidence"]["ci95"][1]

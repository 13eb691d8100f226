"""Hostile names through the command line: what is printed, on a terminal and in a job of GitHub Actions."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.hostile.names import NAMES, clean_runs, report_of
from tests.hostile.test_names import unseen

COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)


def plain_line(result, code=2):
    """The error a user sees: exactly one line on stderr, without anything that a terminal obeys."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("stein-bench: ")
    assert result.stderr.count("\n") == 1
    assert unseen(result.stderr) == []
    return result.stderr


HOSTILE_FILE = "x\n::error::y\x1b[31m\u202e\x9b.json"


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", HOSTILE_FILE),
        ("report", "x.json", "--html", HOSTILE_FILE + "/x"),
        ("compare", HOSTILE_FILE, HOSTILE_FILE + "2"),
        ("gate", HOSTILE_FILE, "--baseline", HOSTILE_FILE),
        ("evaluate", HOSTILE_FILE),
        ("evaluate", "resnet18", "--data", HOSTILE_FILE),
        ("evaluate", "resnet18", "--attack", HOSTILE_FILE),
        ("evaluate", "resnet18", "--eps", HOSTILE_FILE),
        ("evaluate", "resnet18", "--config", HOSTILE_FILE),
        ("evaluate", "resnet18", "--bn", HOSTILE_FILE),
        ("evaluate", "resnet18", "--log", HOSTILE_FILE),
        ("evaluate", "resnet18", f"--{HOSTILE_FILE}"),
        ("evaluate", "resnet18", "--limit", HOSTILE_FILE),
        ("evaluate", "resnet18", "--output", "~nobody/r.json"),
        ("report", "~nobody/r.json", "--html", "~nobody/r.html"),
        ("list", HOSTILE_FILE),
        ("list", "attacks", HOSTILE_FILE),
        (HOSTILE_FILE,),
    ],
    ids=lambda words: " ".join(words).replace(HOSTILE_FILE, "X"),
)
def test_an_error_about_a_hostile_argument_is_one_plain_line(invoke, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    plain_line(invoke(*arguments))


@pytest.mark.parametrize(
    "content", ['{"schema_version": 1, "\\u001b\\n::error::": 2}', '{"schema_version": "\\u202e"}']
)
def test_an_error_about_a_hostile_report_is_one_plain_line(invoke, tmp_path, content):
    path = tmp_path / "report.json"
    path.write_text(content)
    plain_line(invoke("report", path))


@pytest.mark.parametrize("name", [NAMES["command"], NAMES["command in a line"]])
def test_github_finds_no_command_but_the_annotations(invoke, save, tmp_path, name):
    after, before = (save(one, f"{number}.json") for number, one in enumerate(clean_runs(name)))
    summary = tmp_path / "summary.md"
    result = invoke("gate", after, "--baseline", before, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert result.exit_code == 1
    assert not COMMAND.search(result.stdout)
    assert all(line.startswith(("::error title=stein", "::warning title=stein")) for line in result.stderr.splitlines())
    assert not COMMAND.search(summary.read_text())
    whole = save(report_of(name), "whole.json")
    for arguments in (("report", whole), ("compare", after, before), ("gate", after, "--baseline", before, "--quiet")):
        printed = invoke(*arguments, GITHUB_ACTIONS="true")
        assert not COMMAND.search(printed.stdout)


def test_json_on_a_runner_has_the_same_value(invoke, save):
    name = NAMES["command in a line"]
    after, before = (save(one, f"{number}.json") for number, one in enumerate(clean_runs(name)))
    there, here = (
        invoke("gate", after, "--baseline", before, "--format", "json", GITHUB_ACTIONS=value).stdout
        for value in ("true", "")
    )
    assert not COMMAND.search(there)
    assert COMMAND.search(here)
    assert yaml.safe_load(there) == yaml.safe_load(here)


FOLDERS = ("\x1b[31mzero\x1b]8;;http://evil\x07", "=one\n::error::\u202e[red]", "<script>alert(1)<script>")


@pytest.mark.usefixtures("unchecked")
def test_an_evaluation_of_hostile_folders_model_and_attack(invoke, tmp_path, monkeypatch):
    for split in ("train", "test"):
        for number, name in enumerate(FOLDERS):
            folder = tmp_path / "data" / split / name.replace("/", "_")
            folder.mkdir(parents=True)
            for image in range(4):
                pixels = np.random.default_rng(image).integers(0, 80, (8, 8, 3)) + 80 * number
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.png")
    (tmp_path / "net \x1b[31m\u202e.py").write_text(
        "from torch.nn import *\ndef make(num_classes=10):\n    return Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), "
        "AdaptiveAvgPool2d(1), Flatten(), Linear(4, num_classes))\n"
    )
    (tmp_path / "bad.py").write_text(
        "def attack(model, x, y, eps):\n"
        "    raise RuntimeError('\\x1b]0;title\\x07\\n::error::hi\\u202e \\ud800 [red]')\n"
    )
    monkeypatch.chdir(tmp_path)
    result = invoke(
        "evaluate", "net \x1b[31m\u202e.py:make", "--data", f"imagefolder:{tmp_path}/data", "--weights", "none",
        "--attack", "bad.py:attack", "--attack", "fgsm", "--output", "r.json", "--save-adversarials", "2",
        GITHUB_ACTIONS="true",
    )  # fmt: skip
    assert result.exit_code == 3, result.output
    assert unseen(result.output) == []
    assert not COMMAND.search(result.stdout)
    assert not COMMAND.search(result.stderr)
    assert "RuntimeError: \\x1b]0;title\\x07 ::error::hi\\u202e \\ud800 [red]" in " ".join(result.stdout.split())
    page = tmp_path / "page.html"
    assert invoke("report", "r.json", "--html", page, "--plot", "gallery", "g.png").exit_code == 0
    assert unseen(page.read_text()) == []
    assert page.read_text().count("<script>") == 1  # the page's own

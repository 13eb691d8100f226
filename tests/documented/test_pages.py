"""The programs and commands on the pages about Python and own parts work, and print what the pages say."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from torch.utils.data import DataLoader, TensorDataset

import stein_bench
from stein_bench.parts.brought import GROUPS
from tests.api.brightest import brightest, network

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$|^ {4}(?P<command>stein-bench [^\n]+)$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"# (?P<name>[\w/.-]+\.(?:py|toml))\n")


class Block(NamedTuple):
    """A block of a page: a program, a file to write, a command, or what the block before it prints."""

    kind: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        if found["command"]:
            yield Block("command", found["command"], line - 1)
        elif FILE.match(found["text"]):
            yield Block("file", found["text"], line)
        elif found["language"] in ("python", "text"):
            yield Block(found["language"], found["text"], line)


def run(page: str, invoke, after: Mapping[str, Callable[[], None]]) -> None:
    """Run the page from top to bottom in the current folder; its programs share their names.

    Once a file has been written, the function that `after` has for it is called.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        where = f"{page}, line {block.line}"
        if block.kind == "file":
            name = FILE.match(block.text)["name"]
            Path(name).write_text(block.text, encoding="utf-8")
            after.get(name, lambda: None)()
        elif block.kind == "command":
            result = invoke(*shlex.split(block.text)[1:])
            printed = result.stdout
            assert result.exit_code == 0, f"{where}: {result.output}"
        elif block.kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile("\n" * (block.line - 1) + block.text, str(DOCS / page), "exec"), namespace)
            printed = stream.getvalue()
        else:
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(block.text, printed, flags), f"{where}: {printed}"


@pytest.mark.integration
def test_the_guide_to_python_is_one_program(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("python.md", invoke, {})


@pytest.mark.integration
def test_the_page_about_own_parts(invoke, tmp_path, monkeypatch, installed_package):
    """Files, programs and commands; the package with these entry points has been installed when commands use it."""
    pytest.importorskip("foolbox")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run("extending.md", invoke, {"pyproject.toml": installed_package})
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert set(GROUPS.values()) == set(re.findall(r'entry-points\."([\w.]+)"', page))


def test_the_example_is_what_the_command_said(invoke, tmp_path, monkeypatch):
    """The first command's report has both estimators, both attacks and the metric, all identified."""
    monkeypatch.chdir(tmp_path)
    first, command = [one for one in blocks("extending.md") if one.kind in ("file", "command")][:2]
    Path("parts.py").write_text(first.text)
    result = invoke(*shlex.split(command.text)[1:])
    assert result.exit_code == 0, result.output
    report = json.loads(Path("report.json").read_text())
    assert [variant["bn"] for variant in report["variants"]] == ["sample", "parts.py:milder"]
    plain = report["variants"][0]
    pgd, corners = plain["attacks"]
    assert corners["params"]["draws"] == 20
    assert pgd["robust_accuracy"] <= corners["robust_accuracy"] < plain["clean"]["accuracy"]
    assert corners["own_metrics"]["margin"]["value"] < plain["clean"]["own_metrics"]["margin"]["value"]
    assert {part["name"] for part in report["run"]["parts"]} == {
        "parts.py:corners",
        "parts.py:milder",
        "parts.py:margin",
    }


def test_the_readme_evaluates_a_network_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From Python\n")[2].partition("\n## ")[0]
    (evaluation,) = [found["text"] for found in BLOCK.finditer(section)]
    exec(evaluation, {"net": network(), "test_loader": DataLoader(TensorDataset(*brightest()))})
    (variant,) = stein_bench.Report.load("report.json").variants
    assert [attack.name for attack in variant.attacks] == ["fgsm", "pgd"]
    assert variant.attacks[1].robust_accuracy <= variant.attacks[0].robust_accuracy < variant.clean.accuracy


LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
PAGES = ("README.md", "CONTRIBUTING.md", "docs/python.md", "docs/extending.md", "examples/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in LINK.findall(text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {"#" + re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{target}{anchor}"

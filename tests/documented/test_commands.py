"""Every command of the two pages on loading works: planned in the default suite, run to the end in the slow one."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import tests.documented
from stein_bench.config import make_config
from stein_bench.preparation.plan import check_model, decide_task, prepare
from stein_bench.preparation.untrained import build_untrained
from tests.tiny import write_data, write_model

DOCS = Path(__file__).parents[2] / "docs"
IMPORTED = [
    importlib.import_module(f"tests.documented.{found.name}")
    for found in pkgutil.iter_modules(tests.documented.__path__)
    if not found.name.startswith("test_")
]
MODULES = [module for module in IMPORTED if hasattr(module, "SECTION")]
MAKERS = {module.SECTION: module.make for module in MODULES}


COMMAND = re.compile(r"^ {4}(?=stein-bench)(.+)$|`(stein-bench [^`]+)`", re.MULTILINE)


def commands(page: str) -> dict[str, list[str]]:
    """Return heading → the commands in its section, which are in backticks or indented."""
    sections = re.split(r"^## ", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.splitlines()[0]: [indented or quoted for indented, quoted in COMMAND.findall(section)]
        for section in sections
    }


PAGES = ("models.md", "data.md")
SECTIONS = {(page, heading): found for page in PAGES for heading, found in commands(page).items()}


def test_every_section_has_its_files_and_its_commands():
    """A section without a maker would not be tested."""
    assert MAKERS.keys() == SECTIONS.keys()
    assert all(SECTIONS.values())


@pytest.fixture
def made(request, tmp_path, monkeypatch):
    """Go to a folder with the files of a section, a network in net.py, and test.npz and train.npz."""
    write_model(tmp_path)
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    MAKERS[request.param](Path())
    for module in MODULES:
        if request.param == module.SECTION and hasattr(module, "pretend"):
            module.pretend(Path(), monkeypatch)


CASES = [pytest.param(key, key, id=f"{key[0]}: {key[1]}") for key in SECTIONS if key in MAKERS]


@pytest.mark.parametrize(("made", "section"), CASES, indirect=["made"])
def test_every_command_is_planned_and_its_model_takes_the_data(made, section):
    """Everything is found, read and checked; nothing is trained or attacked."""
    for command in SECTIONS[section]:
        words = shlex.split(command)
        assert words[:2] == ["stein-bench", "evaluate"], command
        options = dict(zip(words[3::2], words[4::2], strict=True))
        named = {name.removeprefix("--").replace("-", "_"): value for name, value in options.items()}
        plan = prepare(make_config({"model": words[2], **named, "limit": 4}))
        network = build_untrained(plan)
        assert check_model(decide_task(plan, network), network) >= 2, command
        images, _ = plan.samples.batch(range(len(plan.samples)))
        assert 0 <= float(images.min()) <= float(images.max()) <= 1, command


@pytest.mark.slow
@pytest.mark.parametrize(("made", "section"), CASES, indirect=["made"])
def test_every_command_runs(made, section, invoke):
    """The whole command line, with few samples and one quick attack."""
    for command in SECTIONS[section]:
        result = invoke(*shlex.split(command)[1:], "--limit", 4, "--attack", "fgsm", "--batch-size", 4, "--quiet")
        assert result.exit_code == 0, (command, result.output)
        assert "robust" in result.stdout, command

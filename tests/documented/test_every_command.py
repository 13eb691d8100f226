"""Every command of README, the pages, the configurations and `--help` is run, or stands in a table with a reason."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documented.finding import ROOT, Documented, commands_of, documented, simple
from tests.documented.running import run, stand_in
from tests.documented.test_commands import SECTIONS
from tests.documented.world import write_blocks, write_cifar10, write_world

EVERY = documented()
ELSEWHERE = ("docs/models.md", "docs/data.md")
"""Pages whose `evaluate` commands test_commands.py plans and runs, with files of each section."""

NOT_RUN = {
    'stein-bench evaluate ${arguments[@]+"${arguments[@]}"} --output="$REPORT" -- "$MODEL"': "the action's own script, "
    "which tests/cli/test_gate_action.py runs",
    'stein-bench gate --baseline="$BASELINE" ${POLICY:+--policy="$POLICY"}': "likewise",
    "stein-bench --install-completion": "it writes into the user's home",
}
"""Commands that are not run, by their beginning, each with the reason."""


LONG = {
    "cityscapes:": "the network for segmentation takes ten seconds to check",
    "configs/cityscapes.yaml": "likewise",
    "theory lipschitz --model": "seconds for the layers of a network",
    "examples/parts/": "seconds; test_examples.py runs them to the end",
}
"""What is in the words of commands that are run with the mark integration only, with the reason."""
NEED_ARGUMENTS = ("evaluate", "train", "reproduce", "inspect", "report", "compare", "gate", "theory", "list")
"""Commands that pages also mention alone, as a name: `stein-bench evaluate`."""


def is_elsewhere(found: Documented) -> bool:
    return found.page in ELSEWHERE and found.words[:2] == ("stein-bench", "evaluate")


def is_mention(found: Documented) -> bool:
    """Whether it only names a command, as in a sentence about `stein-bench evaluate`, which needs arguments."""
    return found.arguments in {(name,) for name in NEED_ARGUMENTS}


def is_long(found: Documented) -> bool:
    return any(part in found.text for part in LONG)


def groups() -> Iterator[tuple[str, list[Documented]]]:
    """Page → its commands of stein-bench that are run; each only once, where it is first shown."""
    seen: set[tuple[str, ...]] = set()
    found: dict[str, list[Documented]] = {}
    for one in EVERY:
        skipped = is_elsewhere(one) or is_mention(one) or any(one.text.startswith(text) for text in NOT_RUN)
        own_files = one.page in WITH_FILES
        if one.arguments is None or skipped or (one.words in seen and not own_files):
            continue
        if not own_files:
            seen.add(one.words)
        found.setdefault(one.page, []).append(one)
    yield from found.items()


def page_text(page: str) -> str:
    return "" if page.endswith("--help") else (ROOT / page).read_text(encoding="utf-8")


WITH_FILES = {
    page for page in {one.page for one in EVERY} if re.search(r"^```\w+\n# [\w/.-]+\.\w+\n", page_text(page), re.M)
}
GROUPS = dict(groups())


@pytest.fixture
def world(request, tmp_path, monkeypatch, own_cache, installed_package):
    """Go to a folder with the files that commands name, and those that the page shows."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path)
    write_blocks(tmp_path, page_text(request.param))
    if Path("pyproject.toml").exists():
        installed_package()
        with warnings.catch_warnings(action="ignore"):  # its imports of SciPy are out of date
            importlib.import_module("foolbox")
    write_cifar10(own_cache / "data", monkeypatch)
    return tmp_path


@pytest.mark.parametrize(("world", "page"), [(page, page) for page in GROUPS], ids=list(GROUPS), indirect=["world"])
def test_every_command_is_run(world, page, invoke, monkeypatch):
    """Those on files to the end; what evaluates, trains or reproduces up to its first batch; not those in `LONG`."""
    stand_in(monkeypatch, measured=False)
    wrong = [line for found in GROUPS[page] if not is_long(found) for line in run(found, invoke)]
    assert not wrong, "\n".join(wrong)


LONG_PAGES = [page for page, found in GROUPS.items() if any(map(is_long, found))]


@pytest.mark.integration
@pytest.mark.parametrize(("world", "page"), [(page, page) for page in LONG_PAGES], ids=LONG_PAGES, indirect=["world"])
def test_every_long_command_is_run(world, page, invoke, monkeypatch):
    """As above, those in `LONG`."""
    stand_in(monkeypatch, measured=False)
    wrong = [line for found in GROUPS[page] if is_long(found) for line in run(found, invoke)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "page"), [(page, page) for page in GROUPS], ids=list(GROUPS), indirect=["world"])
def test_every_evaluation_has_a_dry_run(world, page, invoke, monkeypatch):
    """Attacks are tried and measured."""
    stand_in(monkeypatch, measured=True)
    evaluations = [found for found in GROUPS[page] if found.arguments[0] == "evaluate"]
    wrong = [line for found in evaluations for line in run(found, invoke)]
    assert not wrong, "\n".join(wrong)


def test_each_command_is_run_or_has_a_reason():
    """Nothing is left over, and no row of the table is about a command that is not shown any more."""
    run_here = {one.words for found in GROUPS.values() for one in found}
    for one in EVERY:
        reasons = [text for text in NOT_RUN if one.text.startswith(text)]
        known = is_elsewhere(one) or is_mention(one) or bool(reasons) or one.words in run_here
        assert known or one.arguments is None, one.place
    for text, reason in NOT_RUN.items():
        assert reason
        assert any(one.text.startswith(text) for one in EVERY), text
    assert all(any(part in one.text for one in EVERY) for part in LONG)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_the_other_test_of_commands_finds_the_same(page):
    here = sorted(" ".join(one.words) for one in EVERY if one.page == page and is_elsewhere(one))
    texts = [text for key, found in SECTIONS.items() if f"docs/{key[0]}" == page for text in found]
    assert here == sorted(" ".join(words) for text in texts for words in simple(text))


OTHERS = [one for one in EVERY if one.arguments is None]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


PACKAGES = r"stein-bench|adv-lib|torchattacks|torch|torchvision|\."


def test_what_pip_installs_exists():
    """It is not installed, which would need the registry: this project, with extras that it has."""
    for one in OTHERS:
        if "install" not in one.words:
            continue
        given = one.words[one.words.index("install") + 1 :]
        for before, word in zip(["", *given], given, strict=False):
            if before in ("--index-url", "--find-links"):
                continue
            named = re.fullmatch(rf"(?:{PACKAGES})(?:\[([\w,-]+)\])?(?:[ @=<>].*)?", word)
            assert named or word.startswith("-"), one.place
            extras = named[1].split(",") if named and named[1] else []
            assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys(), one.place


def test_what_pytest_runs_exists():
    """Not run, since these are tests themselves: their files exist, and their marks."""
    marks = {mark.partition(":")[0] for mark in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    for one in OTHERS:
        if "pytest" not in one.words[:4]:
            continue
        for word in one.words:
            if "/" in word:
                assert (ROOT / word).exists(), one.place
        words = one.words[one.words.index("pytest") :]
        if "-m" in words:
            named = set(re.findall(r"\w+", words[words.index("-m") + 1])) - {"not", "or", "and"}
            assert named <= marks, one.place


def test_modules_of_benchmarks_and_tests_exist():
    """Not run: they take minutes to hours, on data and weights that are not here. They exist, and have the options."""
    for one in OTHERS:
        if "-m" not in one.words or "pytest" in one.words or "pip" in one.words:
            continue
        found = importlib.util.find_spec(one.words[one.words.index("-m") + 1])
        assert found, one.place
        assert found.origin
        sources = "".join(path.read_text(encoding="utf-8") for path in Path(found.origin).parent.glob("*.py"))
        for word in one.words:
            assert not word.startswith("--") or f'"{word}"' in sources, (one.place, word)


def test_nothing_else_is_taken_for_a_command():
    for one in OTHERS:
        assert one.words[0].endswith("=1") or one.words[0] in ("python", "python3", "pip", "pytest"), one.place


PAGE = """# Title

    stein-bench gate a.json \\
        --baseline b.json   # a remark

Prose about `stein-bench evaluate net.py:make
--attack pgd` and `stein-bench`; `--dry-run` is no command.

| do | `python -m stein_bench compare a.json b.json` |

```bash
export X=1
X=1 stein-bench report a.json --html 'b c.html' && cat b | stein-bench list models|attacks > out
srun torchrun --nproc-per-node 8 -m stein_bench evaluate net.py:make --shard "$N/4" &
```

```text
stein-bench evaluate this is output
```

```yaml
- run: stein-bench compare runs/ --shard ${{ matrix.shard }}
```
"""


def test_commands_are_found_wherever_they_stand():
    found = list(commands_of("page.md", PAGE))
    assert [(one.line, " ".join(one.words)) for one in found] == [
        (3, "stein-bench gate a.json --baseline b.json"),
        (6, "stein-bench evaluate net.py:make --attack pgd"),
        (9, "python -m stein_bench compare a.json b.json"),
        (13, "X=1 stein-bench report a.json --html b c.html"),
        (13, "stein-bench list models|attacks"),
        (14, "srun torchrun --nproc-per-node 8 -m stein_bench evaluate net.py:make --shard $N/4"),
        (22, "stein-bench compare runs/ --shard $matrix.shard"),
    ]
    first = [one.arguments[0] for one in found]
    assert first == ["gate", "evaluate", "compare", "report", "list", "evaluate", "compare"]


@pytest.mark.parametrize(
    "text",
    [
        "evaluate net.py:make --atack pgd",
        "evaluate net.py:make --attack pdg",
        "train net.py:make --data npz:test.npz,train=train.npz --bn stien --output new.safetensors",
        "reproduce mine.yaml --attack pdg",
        "gate report.json --baseline baseline.json --policy no.yaml",
    ],
)
def test_a_wrong_command_is_noticed(text, tmp_path, monkeypatch, invoke):
    """Misspelled options, values and files fail with the place."""
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path)
    stand_in(monkeypatch, measured=False)
    (found,) = commands_of("page.md", f"`stein-bench {text}`")
    (wrong,) = run(found, invoke)
    assert wrong.startswith(f"page.md:1: stein-bench {text}")

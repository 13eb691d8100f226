"""Parts of an installed package: found by their entry points, listed, used by name; broken ones disturb nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stein_bench.errors import UsageError
from stein_bench.parts import installed as module
from stein_bench.parts.installed import find_installed, installed

PACKAGE = Path(__file__).parents[1] / "plugin_package"


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Return the interpreter of a new environment with the package, which sees the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    interpreter = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in sorted(here)]
    (site / "this_environment.pth").write_text("".join(lines))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--target", site, PACKAGE],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return interpreter


LISTS = [["list", "attacks"], *(["list", what, "acme"] for what in ("models", "data", "bn", "metrics"))]
USED = [
    "evaluate", "acme-net,width=4", "--data", "acme-stripes", "--attack", "acme-noise:draws=3,eps=4/255",
    "--attack", "pgd:steps=2", "--bn", "sample", "--bn", "acme-half", "--metric", "acme-margin",
    "--output", "report.json", "-q",
]  # fmt: skip
WRONG = [
    (["--attack", "acme-broken"], "attack 'acme-broken' of acme-robust 1.2, acme_robust.broken:attack cannot be"),
    (["--attack", "acme-nois"], "unknown attack 'acme-nois'. Did you mean 'acme-noise'"),
    (["--attack", "acme-noise:drws=3"], "unknown parameter of acme-noise: 'drws'. Did you mean 'draws'"),
    (["--bn", "acme-hlf"], "unknown estimator 'acme-hlf'. Did you mean 'acme-half'"),
    (["--metric", "acme-mrgin"], "unknown metric 'acme-mrgin'. Did you mean 'acme-margin'"),
    (["--data", "acme-strips"], "unknown data set 'acme-strips'. Did you mean 'acme-stripes'"),
]
CODE = """
import json, sys
from typer.testing import CliRunner
from stein_bench.cli.commands import app
found = [CliRunner().invoke(app, words) for words in json.loads(sys.argv[1])]
import stein_bench
report = stein_bench.evaluate("acme-net", "acme-stripes", "acme-noise", weights="none", progress=False)
python = [report.variants[0].attacks[0].name, report.model.name]
print(json.dumps([python, [(one.exit_code, one.stdout, one.stderr) for one in found]]))
"""


@pytest.fixture(scope="module")
def said(python, tmp_path_factory):
    """Return the folder of the run, what Python said, and exit code, stdout and stderr of every command.

    All run in one process, because torch is slow to import.
    """
    folder = tmp_path_factory.mktemp("run")
    commands = [*LISTS, USED, *(["evaluate", "acme-net", "--data", "acme-stripes", *words] for words, _ in WRONG)]
    environment = {**os.environ, "STEIN_BENCH_CACHE": str(folder / "cache"), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    call = [python, "-c", CODE, json.dumps(commands)]
    found = subprocess.run(call, capture_output=True, text=True, cwd=folder, env=environment, check=True)
    return folder, *json.loads(found.stdout)


def words_of(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.integration
def test_its_parts_are_listed_and_broken_ones_say_why(said):
    found = said[2][: len(LISTS)]
    assert [code for code, _, _ in found] == [0] * 5
    attacks, models, data, bn, metrics = (words_of(out) for _, out, _ in found)
    expected = "Linf, L2, L1, L0; unknown; classification, segmentation, binary acme-robust 1.2, acme_robust:noise"
    assert f"acme-noise Random corners of the ε-ball, the worst of a few {expected}" in attacks
    assert "acme-broken broken: ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in attacks
    assert "pgd hidden by the attack of that name which stein-bench has" in attacks
    assert "square" in attacks
    assert "acme-net (A convolution with BN acme-robust 1.2, acme_robust:Net)" in models
    assert "acme-stripes Stripes in two directions" in data
    assert "acme-half Half of the mean, the sample variance" in bn
    assert "acme-margin Logit of the label minus the largest other" in metrics


@pytest.mark.integration
def test_its_parts_are_used_by_their_names_and_told_of_in_the_report(said):
    folder, python, commands = said
    code, _, err = commands[len(LISTS)]
    assert code == 0, err
    report = json.loads((folder / "report.json").read_text())
    assert report["model"]["source"] == "acme-net,width=4"
    assert report["data"]["samples"] == 40
    assert [variant["bn"] for variant in report["variants"]] == ["sample", "acme-half"]
    attack = report["variants"][0]["attacks"][0]
    assert (attack["name"], attack["backend"], attack["params"]["draws"]) == ("acme-noise", "own", 3)
    assert set(report["variants"][0]["clean"]["own_metrics"]) == {"acme-margin"}
    origins = {part["kind"]: part["origin"] for part in report["run"]["parts"]}
    assert origins == {
        "model": "acme-robust 1.2, acme_robust:Net", "data": "acme-robust 1.2, acme_robust:stripes",
        "estimator": "acme-robust 1.2, acme_robust:half", "attack": "acme-robust 1.2, acme_robust:noise",
        "metric": "acme-robust 1.2, acme_robust:margin",
    }  # fmt: skip
    assert python == ["acme-noise", "acme-net"]


@pytest.mark.integration
def test_a_wrong_name_or_a_broken_part_is_one_line_and_exit_code_2(said):
    for (code, _, err), (_, message) in zip(said[2][len(LISTS) + 1 :], WRONG, strict=True):
        assert code == 2
        assert err.startswith(f"stein-bench: {message}")
        assert err.count("\n") == 1


def entries(*values: tuple[str, str]):
    return lambda group: [EntryPoint(name, value, group) for name, value in values]


@pytest.fixture
def _uncached():
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.mark.usefixtures("_uncached")
def test_a_name_that_two_packages_bring_cannot_be_used(monkeypatch):
    monkeypatch.setattr(module, "entry_points", entries(("mine", "math:sqrt"), ("mine", "math:exp")))
    with pytest.raises(UsageError, match=r"both an unknown package, math:exp and .* bring one of this name; uninstall"):
        find_installed("attack", "mine")
    assert "bring one of this name" in installed("attack")["mine"].clash


@pytest.mark.usefixtures("_uncached")
@pytest.mark.parametrize("value", ["no_such_module:mine", "math:no_such_object", "tests.parts.exits:mine"])
def test_whatever_an_import_does_is_an_error_of_that_part_alone(value, monkeypatch):
    monkeypatch.setattr(module, "entry_points", entries(("mine", value), ("root", "math:sqrt")))
    with pytest.raises(UsageError, match=f"attack 'mine' of an unknown package, {value} cannot be imported: "):
        find_installed("attack", "mine")
    assert find_installed("attack", "root").found(4.0) == 2.0
    assert find_installed("attack", "others") is None

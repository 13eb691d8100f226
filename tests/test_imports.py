"""Modules that must load quickly do not import torch. The layers are a contract in `pyproject.toml` (import-linter)."""

from __future__ import annotations

import subprocess
import sys

LIGHT = (
    "stein_bench.cli.commands",
    "stein_bench.attacks.catalog",
    "stein_bench.attacks.batteries",
    "stein_bench.attacks.parameters",
    "stein_bench.normalization.names",
    "stein_bench.preparation.early",
    "stein_bench.theory.names",
    "stein_bench.theory.settings",
    "stein_bench.theory.figures",
    "stein_bench.data.catalog",
    "stein_bench.training.recipes",
    "stein_bench.training.config",
    "stein_bench.training.card",
    "stein_bench.specs",
    "stein_bench.report.document",
    "stein_bench.statistics.rates",
    "stein_bench.report.packing",
    "stein_bench.statistics.paired_tests",
    "stein_bench.comparison.gate",
    "stein_bench.comparison.compare",
    "stein_bench.comparison.conclusion",
    "stein_bench.report.adversarials",
    "stein_bench.render.report.table",
    "stein_bench.render.comparison.gate_files",
    "stein_bench.render.comparison.compare",
    "stein_bench.sweep.contents",
    "stein_bench.sweep.settings",
    "stein_bench.sweep.identity",
    "stein_bench.pytest_plugin",
    "stein_bench.trackers.choice",
    "stein_bench.trackers.runs",
    "stein_bench.render.report.card",
)


def test_modules_that_must_load_quickly_do_not_import_torch():
    script = (
        "import importlib, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'torchvision', 'timm', 'torchattacks'} & sys.modules.keys()\n"
        "    if heavy: sys.exit(f'{name} imports {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_source_tree_that_is_not_installed_can_be_run():
    script = (
        "import importlib.metadata as metadata\n"
        "found = metadata.version\n"
        "def version(name):\n"
        "    if name == 'stein-bench': raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.version = version\n"
        "import stein_bench\n"
        "from stein_bench.report.provenance import package_versions\n"
        "print(stein_bench.__version__, '|', package_versions()['stein-bench'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("unknown | not installed as a package\n", "")

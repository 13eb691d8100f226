"""Imports go strictly downward, and what must answer at once does not import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import stein_bench

ROOT = Path(stein_bench.__file__).parent
PACKAGE = "stein_bench"

LAYERS = (
    ("errors", "numbers", "seeds", "cache", "progress", "guard", "files", "labels", "results"),
    ("distributed", "outputs", "splits", "augment"),
    ("specs", "metrics", "tasks", "class_counts", "report", "normalization", "models", "data"),
    ("ranking", "config", "outcomes", "paired", "provenance", "titles", "attacks"),
    ("measures", "recipes"),
    ("trainconfig", "trainingcard"),
    ("inputs", "memory", "pairing", "policy", "standings", "verdict", "consistency", "replay", "variants", "effects"),
    ("budgets", "published", "sites", "adversarials", "distances", "objective", "optimization", "checkpoint"),
    ("parallel",),
    ("train",),
    ("journal", "fit", "keeping", "prepare", "leaderboard", "matching", "diagnostics"),
    ("networks", "evaluate", "compare", "gate", "display", "contrasts"),
    ("conclusion",),
    ("assemble", "surrogate", "trainingplan"),
    ("run", "inspection", "theory", "training"),
    ("reproduction",),
    ("render",),
    ("cli",),
    ("__main__", "__init__"),
)
"""From the lowest to the highest. A part is a module or a whole package; within a layer none knows another."""

RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def modules():
    """Return every module of the package by its dotted name below it; a package's own module by its name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path):
    """Return the modules of the package that a file imports anywhere in it, also within functions.

    The package itself is left out: every import of a part of it imports it, and what else is there is its version.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in inner if name.removeprefix(f"{PACKAGE}.") in MODULES}
            found |= submodules or {str(node.module)}
    return {name.removeprefix(f"{PACKAGE}.") for name in found if name.startswith(f"{PACKAGE}.")}


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def part(module):
    return module.partition(".")[0]


def test_every_part_is_in_the_table_once_and_the_table_names_nothing_else():
    assert sorted(RANK) == sorted({part(module) for module in MODULES})
    assert len(RANK) == sum(map(len, LAYERS))


def test_imports_go_strictly_downward():
    upward = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in sorted(others)
        if part(module) != part(other) and RANK[part(other)] >= RANK[part(module)]
    ]
    assert upward == []


def test_no_module_leads_back_to_itself_within_a_package_either():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_graph_is_the_real_one():
    """The tests above would also pass on a graph without edges."""
    assert GRAPH["errors"] == set()
    assert {"run", "config", "journal", "render.table"} <= GRAPH["cli.evaluate"]
    assert "cli.commands" in GRAPH["cli"]
    assert "cli.app" in GRAPH["cli.commands"]


LIGHT = (
    "stein_bench.cli.commands",
    "stein_bench.attacks.catalog",
    "stein_bench.attacks.batteries",
    "stein_bench.normalization.names",
    "stein_bench.theory.names",
    "stein_bench.theory.settings",
    "stein_bench.theory.figures",
    "stein_bench.data.catalog",
    "stein_bench.recipes",
    "stein_bench.trainconfig",
    "stein_bench.trainingcard",
    "stein_bench.specs",
    "stein_bench.report",
    "stein_bench.metrics",
    "stein_bench.outcomes",
    "stein_bench.paired",
    "stein_bench.gate",
    "stein_bench.compare",
    "stein_bench.conclusion",
    "stein_bench.adversarials",
    "stein_bench.render.table",
    "stein_bench.render.gate_files",
    "stein_bench.render.compare",
)


def test_what_must_answer_at_once_does_not_import_torch():
    script = (
        "import importlib, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'torchvision', 'timm', 'torchattacks'} & sys.modules.keys()\n"
        "    if heavy: sys.exit(f'{name} imports {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

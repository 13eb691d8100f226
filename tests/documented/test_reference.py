"""The generated reference has everything that the code has."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import stein_bench
import stein_bench.normalization
from stein_bench.attacks.batteries import _KEYS as BATTERY_KEYS
from stein_bench.attacks.batteries import battery_names
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.papers import OTHERS, PAPERS, WITHOUT, papers_of
from stein_bench.comparison.policy import Policy, Rule
from stein_bench.config import RunConfig
from stein_bench.normalization.estimators import estimator
from stein_bench.normalization.formulas import FORMULAS
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES
from stein_bench.report.document import report_schema
from stein_bench.reproduction.experiment import Experiment, ExperimentPart, PlannedContrast
from stein_bench.sweep.settings import SweepSettings
from stein_bench.training.config import TrainConfig
from stein_bench.training.recipes import Recipe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hooks():
    """The hook, imported as mkdocs does: its folder is on the path while it is loaded."""
    before = list(sys.path)
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("hooks")
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def pages(hooks):
    return hooks.pages()


def rows(text: str) -> dict[str, list[str]]:
    """First cell → the cells of the row; bars in backticks and escaped ones belong to a cell."""
    found = {}
    for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        cells = re.split(r" \| (?=(?:[^`]*`[^`]*`)*[^`]*$)", line)
        found[cells[0].partition("<br>")[0].strip("`")] = cells
    return found


def section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_pages_are_the_same_every_time(hooks, pages):
    assert hooks.pages() == pages


def test_pages_are_given_to_mkdocs(pages, tmp_path):
    pytest.importorskip("mkdocs")
    from mkdocs.config import load_config
    from mkdocs.structure.files import Files

    file = tmp_path / "mkdocs.yml"
    file.write_text(f"site_name: reference\ndocs_dir: {DOCS}\nplugins: []\nhooks: ['{DOCS / 'hooks.py'}']\n")
    config = load_config(str(file))
    files = config.plugins.on_files(Files([]), config=config)
    assert {file.src_uri for file in files} == {f"reference/{name}.md" for name in pages}
    assert all(file.content_string.startswith("# ") for file in files)


@pytest.mark.parametrize("page", ["command-line", "configuration", "report", "attacks"])
def test_every_row_has_as_many_cells_as_its_heading(pages, page):
    for one in re.split(r"\n\n", pages[page]):
        lines = [line for line in one.splitlines() if line.startswith("| ")]
        lengths = {len(re.split(r" \| (?=(?:[^`]*`[^`]*`)*[^`]*$)", line)) for line in lines}
        assert len(lengths) <= 1, lines


def test_every_command_has_its_usage_text_and_options(hooks, pages, invoke):
    words = re.findall(r"^## (stein-bench .+)$", pages["command-line"], re.MULTILINE)
    for name in words:
        text = section(pages["command-line"], name)
        shown = invoke(*name.split()[1:], "--help", COLUMNS="300").stdout
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"(?s)Usage:.*?╭", "╭", shown, count=1)))
        listed = {option for row in rows(text) for option in re.findall(r"--[a-z][a-z-]+", row)}
        assert listed <= options | {"--help"}, name
        box = set(re.findall(r"^│\s+\*?\s*(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)) - {"--help"}
        assert box, name
        assert box <= listed, name
        assert f"```text\n{name} " in text
    top = re.findall(r"^│ ([a-z]+) ", invoke("--help").stdout, re.MULTILINE)
    assert {name.split()[1] for name in words} == set(top)
    assert "stein-bench theory risk" in words


KEYS = {
    "stein-bench evaluate --config": (RunConfig, SweepSettings),
    "stein-bench train --config": (TrainConfig,),
    "stein-bench train --recipe": (Recipe,),
    "stein-bench reproduce FILE": (Experiment,),
    "parts": (ExperimentPart,),
    "contrasts": (PlannedContrast,),
    "stein-bench gate --policy": (Policy,),
    "rules": (Rule,),
}


@pytest.mark.parametrize("heading", KEYS)
def test_every_key_has_its_type_default_and_meaning(pages, heading):
    found = rows(section(pages["configuration"], heading))
    named = {name.replace("_", "-") for model in KEYS[heading] for name in model.model_fields} - {"trust-code"}
    assert found.keys() - {"key", "---"} == named
    for key in named:
        _, kind, default, meaning, *_ = found[key]
        assert kind
        assert default
        assert len(meaning) > 5, key


def test_defaults_are_those_of_the_code(pages):
    found = rows(section(pages["configuration"], "stein-bench evaluate --config"))
    assert found["batch-size"][2] == "`100`"
    assert found["attack"][2] == "`pgd`"
    assert found["eps"][2] == "–"
    assert found["stats"][3].startswith("Statistics source")
    assert found["model"][3].endswith("(No option of this name.)")
    assert rows(section(pages["configuration"], "stein-bench gate --policy"))["tolerance"][2] == "`0.01`"


def test_keys_of_a_battery(pages):
    listed = rows(section(pages["configuration"], "stein-bench evaluate --battery"))
    assert listed.keys() - {"key", "---"} == BATTERY_KEYS


def test_every_value_of_the_report_has_its_path_and_meaning(pages):
    schema = report_schema()
    for name, kind in [("Report", schema), *schema["$defs"].items()]:
        text = section(pages["report"], name)
        assert text, name
        found = [cells for path, cells in rows(text).items() if path not in ("path", "---")]
        assert {cells[0].strip("`").rpartition(".")[2] for cells in found} == kind["properties"].keys(), name
        assert all(cells[1] for cells in found)
        assert [cells[0] for cells in found if len(cells[2]) <= 5] == [], name
    paths = rows(pages["report"])
    assert "variants[].attacks[].robust_accuracy" in paths
    assert paths["variants[].clean.metrics"][1].startswith("mapping to [Figure](#figure)")


def test_every_attack_has_its_row(pages):
    found = rows(pages["attacks"])
    assert CATALOG.keys() <= found.keys()
    for name, info in CATALOG.items():
        attack, allowed, _, passes = found[name]
        _, what, papers = attack.split("<br>")
        norms, access, tasks = allowed.split("<br>")
        assert what
        assert "](https://" in papers or papers == WITHOUT[info.method]
        assert all(norm in norms for norm in info.norms)
        assert access == info.access
        assert all(task in tasks for task in info.supported_tasks)
        assert re.search(r"\d \+ \d|measured|^–$", passes)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("fgsm", "1 + 1"),
        ("pgd", "1 + 1 to 10 + 10"),
        ("square", "1 + 0 to 5,000 + 0"),
        ("torchattacks.PGD", "10 + 10"),
        ("torchattacks.TPGD", "*measured*"),
        ("torchattacks.JSMA", "–"),
        ("noise-gaussian", "3 + 0"),
    ],
)
def test_passes_of_attacks(pages, name, passes):
    assert rows(pages["attacks"])[name][-1] == passes


def test_the_cheap_ensemble_costs_a_fifth_of_autoattack_for_a_sample_that_survives(pages):
    batteries = rows(section(pages["attacks"], "Batteries"))
    assert batteries.keys() - {"battery", "---"} == set(battery_names())

    def total(name: str) -> int:
        return sum(int(number.replace(",", "")) for number in batteries[name][-1].split(" + "))

    assert total("fast") * 5 <= total("standard")
    assert total("strongest") <= total("standard")


def test_every_paper_is_cited_and_has_a_link(pages):
    """An attack has papers or a reason why it has none, and no paper is left over."""
    cited = {paper for info in CATALOG.values() for paper in papers_of(info)}
    assert cited == {*PAPERS.values(), *(paper for papers in OTHERS.values() for paper in papers)}
    assert {info.method for info in CATALOG.values() if not papers_of(info)} == WITHOUT.keys()
    for paper in cited:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv)
        assert f"https://arxiv.org/abs/{paper.arxiv})" in section(pages["attacks"], "Papers")


def test_papers_of_torchattacks_are_those_that_it_names():
    import torchattacks

    for name, info in CATALOG.items():
        named = re.findall(r"arxiv\.org/abs/(\d+\.\d+)", getattr(torchattacks, info.method[13:], int).__doc__ or "")
        if name.startswith("torchattacks.") and named:
            assert [paper.arxiv for paper in papers_of(info)] == named, name


def test_every_estimator_has_its_section(pages):
    headings = re.findall(r"^## (.+)$", pages["estimators"], re.MULTILINE)
    assert headings == list(ESTIMATOR_SUMMARIES) == list(FORMULAS)
    for name, formulas in FORMULAS.items():
        text = section(pages["estimators"], name)
        assert f"= {formulas.mean}\n" in text
        assert f"= {formulas.variance}\n" in text
        assert all(f"]({one.url})" in text for one in formulas.sources)
    assert "`ridge:λ`" in section(pages["estimators"], "ridge")


def calculated(formula: str, values: dict[str, object]) -> np.ndarray:
    """A formula as it stands on the page, calculated by NumPy."""
    text = re.sub(r"Σ([ms])²", r"(\1**2).sum()", formula)
    text = re.sub(r"\|m\|", "abs(m)", text).replace("·", "*").replace("²", "**2")
    names = {"max": np.maximum, "sign": np.sign, "exp": np.exp, "log": np.log, "mean_c": np.mean}
    return eval(text, {}, {**names, **values})


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("channels", "count"), [(5, 7), (64, 4096)])
def test_formulas_are_what_the_code_computes(name, channels, count):
    rng = np.random.default_rng(0)
    values = {"m": rng.normal(size=channels), "s": rng.uniform(0.1, 2, channels), "C": channels, "N": count, "λ": 0.3}
    formulas = FORMULAS[name]
    for symbol, formula in formulas.where:
        values[symbol] = calculated(formula, values)
    function = estimator(f"{name}:0.3" if formulas.options else name)
    mean, variance = function(torch.tensor(values["m"]), torch.tensor(values["s"]), count)
    np.testing.assert_allclose(mean, calculated(formulas.mean, values), rtol=1e-12)
    np.testing.assert_allclose(variance, calculated(formulas.variance, values), rtol=1e-12)


def test_every_public_name_is_on_the_page_of_python(pages):
    listed = set(re.findall(r"^::: (\S+)$", pages["python"], re.MULTILINE))
    names = {f"stein_bench.{name}" for name in stein_bench.__all__ if name != "__version__"}
    layers = {f"stein_bench.normalization.{name}" for name in stein_bench.normalization.__all__}
    both = {name for name in layers if name.rpartition(".")[2] in stein_bench.__all__}
    assert listed == names | layers - both

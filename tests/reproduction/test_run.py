"""Whole experiments from the command line: cells that are stored, reused and summarized."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from stein_bench.cli.commands import app
from stein_bench.errors import RunError
from stein_bench.evaluation.journal import journal_path
from stein_bench.files.locks import lock_path, take
from stein_bench.report.document import read_report
from stein_bench.reproduction import run as loop
from stein_bench.reproduction.document import read_reproduction, reproduction_schema


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


def reproduce(path: Path, *arguments: str) -> Result:
    return invoke("reproduce", str(path), "--trust-code", "--output", str(path.parent / "out.json"), *arguments)


def one_line(result: Result) -> str:
    """The error a user sees: exactly one line on stderr, nothing on stdout, no traceback."""
    assert result.stdout == ""
    assert result.stderr.startswith("stein-bench: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_an_experiment_runs_and_its_cells_are_reused(experiment_path: Path) -> None:
    folder = experiment_path.parent
    files = {f"--{kind}": folder / f"table.{kind}" for kind in ("markdown", "latex", "csv")}
    result = reproduce(experiment_path, *(str(word) for pair in files.items() for word in pair))
    assert result.exit_code == 0, result.output
    assert "cell 12 of 12: standard: stein/batch, seed 1 (0 left, about 1 min to go)" in result.stderr
    assert "standard: accuracy, mean ± sd over 2 seeds, in %" in result.stdout
    assert "effect of the estimator" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    document = read_reproduction(folder / "out.json")
    jsonschema.validate(json.loads((folder / "out.json").read_text()), reproduction_schema())
    _agrees_with_its_cells(document, folder)
    assert len(files["--csv"].read_text().splitlines()) == 1 + 2 * len(document.rows)
    assert files["--markdown"].read_text().count("| stein/batch |") == 3
    assert r"\toprule" in files["--latex"].read_text()

    again = reproduce(experiment_path)
    assert again.exit_code == 0
    assert again.stderr.count(": found") == 12
    second = read_reproduction(folder / "out.json")
    assert (second.rows, second.cells) == (document.rows, document.cells)


def _agrees_with_its_cells(document, folder):
    """Every figure of the document is that of the cell's own report, under the same statistics and with its BN."""
    assert len(document.cells) == 2 * 2 * 2
    for cell in document.cells:
        report = read_report(folder / "out.json.cells" / cell.report)
        (variant,) = report.variants
        assert (variant.bn, variant.stats, report.run.seed) == (cell.bn, cell.stats, cell.seed)
        assert variant.weights.sha256 == cell.weights_sha256
        assert variant.conversion == ("none" if cell.bn == "sample" else "before-training")
        for row in document.rows:
            if (row.bn, row.stats, row.outcome) == (cell.bn, cell.stats, "clean"):
                assert row.values[row.seeds.index(cell.seed)] == variant.clean.accuracy
    weights = {(cell.bn, cell.seed): cell.weights_sha256 for cell in document.cells}
    assert len(set(weights.values())) == 4  # one network per BN and seed, shared by the statistics sources


@pytest.mark.slow
def test_a_changed_setting_makes_a_new_cell(experiment_path: Path) -> None:
    assert reproduce(experiment_path, "--seeds", "1", "--bn", "sample").exit_code == 0
    more = reproduce(experiment_path, "--seeds", "1", "--bn", "sample", "--attack", "fgsm")
    assert more.stderr.count(": found") == 1  # the training
    assert reproduce(experiment_path, "--seeds", "1", "--bn", "sample", "--limit", "20").stderr.count(": found") == 1
    data = experiment_path.parent / "train.npz"
    import numpy as np

    held = dict(np.load(data))
    held["images"][0] = 0
    np.savez(data, **held)
    changed = reproduce(experiment_path, "--seeds", "1", "--bn", "sample")
    assert changed.stderr.count(": found") == 0


@pytest.mark.integration
def test_an_edited_estimator_of_ones_own_makes_new_cells(experiment_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(experiment_path.parent)
    (experiment_path.parent / "lib").mkdir()
    file = experiment_path.parent / "lib" / "mine.py"
    words = ("--seeds", "1", "--bn", "sample", "--bn", "lib/mine.py:mine")
    code = "def mine(mean, variance, count):\n    return mean * {}, variance\n"
    file.write_text(code.format(0.5))
    first = reproduce(experiment_path, *words)
    assert first.exit_code == 0, first.output
    assert "mine.py:mine/running" in first.stdout
    assert reproduce(experiment_path, *words).stderr.count(": found") == 6
    file.write_text(code.format(0.25))
    assert ": found" not in reproduce(experiment_path, *words).stderr  # code that is loaded counts for all cells


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_an_interrupted_experiment_resumes(experiment_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loop.run_evaluation, []

    def interrupted(config, **rest):
        calls.append(config)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(config, **rest)

    monkeypatch.setattr(loop, "run_evaluation", interrupted)
    stopped = reproduce(experiment_path, "--seeds", "1")
    assert stopped.exit_code == 130
    assert "out.json.cells: the same command continues from there" in stopped.stderr
    assert not (experiment_path.parent / "out.json").exists()
    monkeypatch.setattr(loop, "run_evaluation", real)
    assert reproduce(experiment_path, "--seeds", "1").stderr.count(": found") == 4  # two trainings, two evaluations


@pytest.mark.slow
def test_damaged_weights_of_a_cell_are_set_aside_and_made_again(experiment_path: Path) -> None:
    short = ["--bn", "sample", "--seeds", "1"]
    assert reproduce(experiment_path, *short).exit_code == 0
    cells = experiment_path.parent / "out.json.cells"
    first = read_reproduction(experiment_path.parent / "out.json")
    (weights,) = cells.glob("weights-*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert reproduce(experiment_path, *short).stderr.count(": found") == 3  # nothing needs them
    next(cells.glob("standard-sample-running-*.json")).unlink()
    again = reproduce(experiment_path, *short)
    assert again.exit_code == 0, again.output
    aside = f"{weights}.damaged"
    assert f"weights are damaged, are set aside as {aside}, and are made again" in again.stderr
    assert weights.read_bytes() == whole
    assert read_reproduction(experiment_path.parent / "out.json").rows == first.rows


@pytest.mark.integration
def test_a_failed_cell_is_missing_and_reported(experiment_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.run_training

    def unstable(config, **rest):
        if (config.bn, config.seed) == ("stein", 1):
            raise RunError("training became unstable: the loss of epoch 1 is nan.")
        return real(config, **rest)

    monkeypatch.setattr(loop, "run_training", unstable)
    result = reproduce(experiment_path)
    assert result.exit_code == 3
    assert "(n=1)" in result.stdout
    document = read_reproduction(experiment_path.parent / "out.json")
    assert document.dishonest() == [
        f"standard, stein/{stats}, seed 1: failed: training became unstable: the loss of epoch 1 is nan."
        for stats in ("running", "batch")
    ]
    values = [row.values for row in document.rows if (row.bn, row.stats, row.outcome) == ("stein", "running", "clean")]
    assert values[0][0] is not None
    assert values[0][1] is None


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_the_published_preset_is_marked_and_has_no_contrast(experiment_path: Path) -> None:
    text = experiment_path.read_text().replace("preset: controlled", "preset: published\nstats: published")
    experiment_path.write_text(text)
    result = reproduce(experiment_path, "--seeds", "1")
    assert result.exit_code == 0, result.output
    assert "stein/batch‡" in result.stdout
    assert "‡ confounded" in result.stdout
    assert "No conclusion about stein: both BN and statistics source differ" in result.stdout
    assert "effect of the estimator" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "pdg"), "unknown attack 'pdg'"),
        (("--bn", "stien"), "unknown estimator 'stien'"),
        (("--recipe", "cifer10"), "unknown recipe 'cifer10'"),
        (("--seeds", "0"), "--seeds"),
        (("--part", "x"), "unknown part"),
        (("--data", "npz:missing.npz"), "missing.npz"),
        (("--model", "resnet81"), "resnet81"),
        (("--format", "xml"), "--format"),
        (("--markdown", "no/such/folder.md"), "--markdown"),
        (("--epochs", "0"), "epochs"),
        (("--mean", "a"), "--mean"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    arguments: tuple[str, ...], message: str, experiment_path: Path
) -> None:
    result = reproduce(experiment_path, *arguments)
    assert result.exit_code == 2
    assert message in one_line(result)
    assert not (experiment_path.parent / "out.json.cells").exists()


@pytest.mark.slow
def test_the_page_and_the_pictures_show_the_document_and_escape_it(experiment_path: Path) -> None:
    folder = experiment_path.parent
    text = experiment_path.read_text().replace("seeds: 2", "seeds: 2\nnotes: ['<script>alert(1)</script>']")
    experiment_path.write_text(text)
    page, plot, again = folder / "page.html", folder / "plot.svg", folder / "again.html"
    assert reproduce(experiment_path, "--html", str(page), "--plot", str(plot)).exit_code == 0
    shown = page.read_text()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!#)', shown)
    assert shown.count("<svg") == 2
    assert "paired t interval" in plot.read_text()
    document = read_reproduction(folder / "out.json")
    for row in document.rows:
        assert f"{100 * row.mean:.1f} ± {100 * row.sd:.1f}" in shown
    result = invoke("report", str(folder / "out.json"), "--html", str(again))
    assert result.exit_code == 0, result.output
    assert again.read_text() == shown
    assert "standard: accuracy, mean ± sd" in invoke("report", str(folder / "out.json")).stdout
    wrong = invoke("report", str(folder / "out.json"), "--junit", str(folder / "x.xml"))
    assert "use reproduce --plot" in one_line(wrong)
    assert "must be the only file" in one_line(invoke("report", str(folder / "out.json"), str(folder / "out.json")))


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_parts_have_their_own_sources_and_evaluated_networks_need_no_weights(
    experiment_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells are those of an experiment without `stats` in a part, and the reports alone make the document again."""
    plain = experiment_path.read_text()
    words = ("--seeds", "1", "--cells", str(experiment_path.parent / "cells"))
    assert reproduce(experiment_path, *words).exit_code == 0
    part = (
        "  - name: other\n    recipe: fit\n    train: {epochs: 2}\n    batch-size: 20\n    attack: [fgsm:eps=4/255]\n"
    )
    experiment_path.write_text(plain.replace("batch-size: 20\n", "batch-size: 20\n    stats: [running]\n") + part)
    result = reproduce(experiment_path, *words)
    assert result.exit_code == 0, result.output
    document = read_reproduction(experiment_path.parent / "out.json")
    found = {(cell.part, cell.bn, cell.stats) for cell in document.cells}
    assert found == {
        *(("standard", bn, "running") for bn in ("sample", "stein")),
        *(("other", bn, stats) for bn in ("sample", "stein") for stats in ("running", "batch")),
    }
    assert result.stderr.count(": found") == 2 + 2  # the networks, and the evaluations of the first part
    for weights in (experiment_path.parent / "cells").glob("*.safetensors"):
        weights.unlink()
    monkeypatch.setattr(loop, "run_training", lambda *_, **__: pytest.fail("a network was trained"))
    assert reproduce(experiment_path, *words).exit_code == 0
    again = read_reproduction(experiment_path.parent / "out.json")
    assert (again.rows, again.cells) == (document.rows, document.cells)


def test_sources_of_a_part_are_among_those_of_the_experiment(experiment_path: Path) -> None:
    text = experiment_path.read_text().replace("bn:", "stats: [running]\nbn:")
    experiment_path.write_text(text.replace("batch-size: 20", "batch-size: 20\n    stats: [batch]"))
    assert "part standard names stats batch, which is not among the experiment's" in one_line(
        reproduce(experiment_path)
    )


def test_what_a_killed_process_left_beside_a_finished_cell_is_removed(tmp_path: Path) -> None:
    cell = tmp_path / "standard-sample-running-seed0.json"
    cell.write_text("{}")
    lock_path(cell).write_text("{}")
    journal_path(cell).write_bytes(b"begun")
    loop._tidy(cell)
    assert list(tmp_path.iterdir()) == [cell]
    held = take(lock_path(cell))  # another process is making it anew
    journal_path(cell).write_bytes(b"begun")
    loop._tidy(cell)
    assert journal_path(cell).exists()
    held.release()

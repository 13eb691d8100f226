"""`reproduce --until` and `--pilot` from the command line, with cells whose results the tests choose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from stein_bench.report.results import WeightsInfo
from stein_bench.reproduction import run as loop
from stein_bench.reproduction.document import read_reproduction, reproduction_schema
from stein_bench.reproduction.replicates import paired_t
from tests.reports import FGSM, PGD, bits, replaced, report, variant

SAMPLES = 1000
LOST = [20, 60, 30, 50, 40, 45, 35, 42, 38, 41, 39]
"""Of 1000 samples, how many fewer than plain BN `stein` has right in the worst case, by seed."""
CONTRASTS = """contrasts:
  - {bn: stein, stats: running, outcome: worst-case}
  - {bn: stein, stats: running, outcome: clean}
"""


@pytest.fixture
def same_networks(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """The number of the network of a seed."""
    return getattr(request, "param", lambda seed: seed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, same_networks: Callable[[int], int]) -> list[str]:
    """Let cells have the results of `LOST` without training or attacking; returns what was run, in order."""
    ran: list[str] = []
    networks = same_networks

    def run_training(config, **_):
        ran.append(f"train {config.bn} {config.seed}")
        Path(config.output).write_bytes(b"weights")

    def run_evaluation(config, **_):
        (bn,), (stats,) = config.bn, config.stats
        ran.append(f"{bn}/{stats} {config.seed}")
        wrong = 300 + (LOST[config.seed] if bn == "stein" else 0)
        attacks = {FGSM: bits(wrong, SAMPLES), PGD: bits(wrong, SAMPLES)}
        weights = WeightsInfo(kind="file", sha256=hashlib.sha256(f"{bn} {networks(config.seed)}".encode()).hexdigest())
        one = variant(bn, stats, bits(100 + config.seed, SAMPLES), attacks, weights=weights)
        return replaced(report(one, seed=config.seed), diagnostics=[])

    monkeypatch.setattr(loop, "is_described", lambda output: Path(output).exists())  # these weights have no cards
    monkeypatch.setattr(loop, "run_training", run_training)
    monkeypatch.setattr(loop, "run_evaluation", run_evaluation)
    return ran


@pytest.fixture
def path(experiment_path: Path) -> Path:
    """The tiny experiment with registered contrasts."""
    experiment_path.write_text(experiment_path.read_text() + CONTRASTS)
    return experiment_path


def reproduce(path: Path, *arguments: str, output: str = "out.json"):
    runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    return runner.invoke(
        app, ["reproduce", str(path), "--trust-code", "--output", str(path.parent / output), *arguments]
    )


def width(seeds: int) -> float:
    low, high = paired_t([0.0] * seeds, [-lost / SAMPLES for lost in LOST[:seeds]]).interval
    return high - low


@pytest.mark.integration
def test_seeds_are_added_until_the_interval_is_narrower_than_asked(path: Path, trained: list[str]) -> None:
    assert width(6) > 0.025 > width(7)
    files = {f"--{kind}": path.parent / f"out.{kind}" for kind in ("markdown", "latex", "html")}
    result = reproduce(path, "--until", "2.5", *(str(word) for pair in files.items() for word in pair))
    assert result.exit_code == 0, result.output
    document = read_reproduction(path.parent / "out.json")
    jsonschema.validate(json.loads(document.to_json()), reproduction_schema())
    assert document.seeds == list(range(7))
    assert document.until.stopped_by == "width"
    assert "minus sample/running, with the seeds at the start: with 2 seeds" in " ".join(result.stdout.split())
    assert (document.until.first_seeds, document.until.most_seeds) == (2, 30)
    assert document.until.reached == pytest.approx(width(7))
    assert len(trained) == 7 * 6
    main, clean = document.registered
    expected = paired_t([0.7] * 7, [0.7 - lost / SAMPLES for lost in LOST[:7]])
    assert (main.mean, main.ci95) == (pytest.approx(expected.mean), pytest.approx(expected.interval))
    assert main.decided
    assert main.p_adjusted == pytest.approx(2 * expected.p)
    assert (clean.mean, clean.p, clean.decided) == (0.0, None, False)
    notes = result.stderr
    assert "main contrast: stein/running minus sample/running, worst case (standard)" in notes
    assert "with 2 seeds a true difference of 11.5 sd is detected with 80 % power" in notes
    assert notes.index("with 2 seeds") < notes.index("cell 1 of 12")
    assert f"after 6 seeds: {100 * width(6):.2f} points wide, asked for 2.5; adding seed 6" in notes
    for text in (result.stdout, *(file.read_text() for file in files.values())):
        assert "Pre-registered contrasts" in text
        assert "lower by 4.0 points (2.8 to 5.2)" in " ".join(text.split())
        assert "the difference is the same in all seeds" in " ".join(text.split())
        assert "at least 92" in " ".join(text.split())
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_added_seeds_give_the_document_of_fixed_seeds(path: Path, trained: list[str]) -> None:
    assert reproduce(path, "--until", "2.5").exit_code == 0
    added, ran = read_reproduction(path.parent / "out.json"), len(trained)
    again = reproduce(path, "--seeds", "7")
    assert again.exit_code == 0
    fixed = read_reproduction(path.parent / "out.json")
    assert len(trained) == ran  # every cell is found
    assert (added.rows, added.cells, added.registered) == (fixed.rows, fixed.cells, fixed.registered)
    assert fixed.until is None
    told = " ".join(again.stdout.split())
    assert "- from cells of the experiment itself, so not known before them, about stein/running minus" in told
    assert "known before the run" not in told
    assert any(note.startswith("--seeds changed the experiment") for note in fixed.notes)


def test_the_cap_ends_the_run_and_is_told(path: Path, trained: list[str]) -> None:
    result = reproduce(path, "--until", "0.5", "--max-seeds", "6")
    assert result.exit_code == 0, result.output
    document = read_reproduction(path.parent / "out.json")
    assert (len(document.seeds), document.until.stopped_by) == (6, "most-seeds")
    assert "not as narrow as asked: the cap on seeds was reached" in " ".join(result.stdout.split())


@pytest.mark.integration
def test_an_interrupted_run_goes_on_from_its_cells(
    path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = loop.run_evaluation

    def interrupted(config, **rest):
        if config.seed == 5 and config.bn == ("stein",):
            raise KeyboardInterrupt
        return chosen(config, **rest)

    monkeypatch.setattr(loop, "run_evaluation", interrupted)
    assert reproduce(path, "--until", "2.5").exit_code == 130
    monkeypatch.setattr(loop, "run_evaluation", chosen)
    before = len(trained)
    result = reproduce(path, "--until", "2.5")
    assert trained[before:] == [
        "stein/running 5", "stein/batch 5",
        "train sample 6", "sample/running 6", "sample/batch 6", "train stein 6", "stein/running 6", "stein/batch 6",
    ]  # fmt: skip
    assert read_reproduction(path.parent / "out.json").seeds == list(range(7))
    assert "the pilot, 5 seeds of cells that are finished, gives an sd" in result.stderr


def test_a_run_without_any_result_of_the_main_contrast_ends(
    path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = loop.run_evaluation

    def failing(config, **rest):
        if config.bn == ("stein",):
            raise loop.RunError("no memory")
        return chosen(config, **rest)

    monkeypatch.setattr(loop, "run_evaluation", failing)
    assert reproduce(path, "--until", "2.5").exit_code == 3
    document = read_reproduction(path.parent / "out.json")
    assert (document.seeds, document.until.stopped_by) == ([0, 1], "no-result")
    assert document.registered[0].mean is None


@pytest.mark.integration
def test_an_earlier_document_is_a_pilot(path: Path, trained: list[str]) -> None:
    assert reproduce(path, "--seeds", "4", output="small.json").exit_code == 0
    trained.clear()
    result = reproduce(path, "--seeds", "5", "--seed", "4", "--pilot", str(path.parent / "small.json"))
    assert result.exit_code == 0, result.output
    power = read_reproduction(path.parent / "out.json").power
    sd = paired_t([0.0] * 4, [lost / SAMPLES for lost in LOST[:4]]).sd
    assert (
        "- known before the run about stein/running minus sample/running: with 5 seeds a true difference of"
        in " ".join(result.stdout.split())
    )
    assert (power.pilot, power.pilot_seeds) == (str(path.parent / "small.json"), 4)
    assert power.sd == pytest.approx(sd)
    assert power.detectable == pytest.approx(1.682 * sd, rel=1e-3)
    shown = "with 5 seeds a true difference of 3.1 points (1.7 to 11, from the 95 % interval of the sd) is detected"
    assert shown in result.stderr
    assert len(trained) == 5 * 6


@pytest.mark.integration
def test_a_document_of_the_experiments_own_cells_is_no_earlier_knowledge(path: Path, trained: list[str]) -> None:
    cells = ("--cells", str(path.parent / "cells"))
    assert reproduce(path, "--seeds", "4", *cells, output="small.json").exit_code == 0
    for arguments, own in ((("--seeds", "4"), True), (("--seeds", "4", "--seed", "4"), False)):
        result = reproduce(path, *arguments, *cells, "--pilot", str(path.parent / "small.json"))
        assert result.exit_code == 0, result.output
        told = " ".join(result.stdout.split())
        assert ("from cells of the experiment itself, so not known before them, about" in told) is own
        assert ("known before the run about" in told) is not own


def test_nothing_is_concluded_about_networks_at_chance(path: Path, trained: list[str], monkeypatch) -> None:
    chosen = loop.run_evaluation

    def at_chance(config, **rest):
        one = chosen(config, **rest)
        if (config.bn, config.stats) != (("stein",), ("running",)):
            return one
        broken = {FGSM: bits(960, SAMPLES), PGD: bits(960, SAMPLES)}
        own = variant("stein", "running", bits(950, SAMPLES), broken, weights=one.variants[0].weights)
        return replaced(one, variants=[own])

    monkeypatch.setattr(loop, "run_evaluation", at_chance)
    markdown = path.parent / "out.md"
    result = reproduce(path, "--markdown", str(markdown))
    told = " ".join(result.stdout.split())
    assert told.startswith("! standard, stein/running: clean accuracy has collapsed to 5.0 %")
    assert "No conclusion about the main contrast: the clean accuracy of stein/running has collapsed." in told
    assert "meaningless, since the clean accuracy of stein/running has collapsed" in told
    lines = markdown.read_text().splitlines()
    assert lines[2].startswith("**standard, stein/running: clean accuracy has collapsed")


@pytest.mark.parametrize("same_networks", [lambda seed: min(seed, 2)], indirect=True)
def test_networks_that_several_seeds_share_are_no_replicates(path: Path, trained: list[str]) -> None:
    result = reproduce(path, "--seeds", "4")
    assert result.exit_code == 3
    document = read_reproduction(path.parent / "out.json")
    assert {cell.seed for cell in document.cells if cell.distrusted} == {3}
    assert len(document.dishonest()) == 4
    assert document.dishonest()[0] == (
        "standard, sample/running, seed 3: its network is that of seed 2: the two are no replicates of each other"
    )


def test_cells_of_one_training_that_have_two_networks_are_distrusted(path: Path, trained: list[str]) -> None:
    assert reproduce(path, "--seeds", "2").exit_code == 0
    first, *others = read_reproduction(path.parent / "out.json").cells
    made_again = first.model_copy(update={"weights_sha256": "0" * 64, "stats": "batch"})
    *kept, found = loop._replicates([first, *others, made_again])
    assert not any(cell.distrusted for cell in kept)
    (why,) = found.distrusted
    assert why.startswith(f"its network is not that of the other cells of {first.weights}")


def test_without_contrasts_the_worst_case_is_watched(experiment_path: Path, trained: list[str]) -> None:
    result = reproduce(experiment_path, "--until", "2.5")
    assert result.exit_code == 0, result.output
    document = read_reproduction(experiment_path.parent / "out.json")
    assert "registered" not in json.loads(document.to_json())
    assert "contrasts" not in document.experiment
    assert len(document.seeds) == 7
    assert "Pre-registered" not in result.stdout


def test_contrasts_that_options_leave_out_are_told(path: Path, trained: list[str]) -> None:
    path.write_text(path.read_text() + "  - {bn: stein, outcome: noise-gaussian}\n")
    result = reproduce(path, "--attack", "fgsm:eps=4/255", "--attack", "pgd:eps=4/255")
    assert result.exit_code == 0, result.output
    document = read_reproduction(path.parent / "out.json")
    assert len(document.registered) == 2
    assert document.registered_tests == 3
    assert document.notes == [
        "registered contrast stein/running, noise-gaussian in standard: left out, the options take away or change "
        "its variants or attacks; it counts in the adjustment with p = 1",
        "--attack changed the experiment: contrasts were registered for the one in its file, not for this run",
    ]


def test_no_other_contrast_takes_the_place_of_the_main_one(path: Path, trained: list[str]) -> None:
    path.write_text(path.read_text() + "  - {bn: stein, outcome: noise-gaussian}\n")
    result = reproduce(path, "--attack", "noise-gaussian")
    assert result.exit_code == 0, result.output
    document = read_reproduction(path.parent / "out.json")
    assert (document.main_contrast_left_out, document.power, len(document.registered)) == (True, None, 2)
    assert "The main contrast was left out. Exploratory: " in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--until", "0"), "--until 0: the width of an interval is in percentage points"),
        (("--until", "narrow"), "--until: 'narrow' is no width. Write it in percentage points"),
        (("--until", "3%"), "--until: '3%' is no width. Write it in percentage points"),
        (("--until", "0,5"), "with a decimal point"),
        (("--preset", "controlled"), "--preset controlled: "),
        (("--preset", "publish"), "unknown preset 'publish'. Did you mean 'published'"),
        (("--until", "3", "--max-seeds", "1"), "--max-seeds 1: from 5 to 1000"),
        (("--until", "3", "--seeds", "9", "--max-seeds", "8"), "--max-seeds 8: from 9 to 1000"),
        (("--max-seeds", "9"), "--max-seeds is the cap of --until"),
        (("--until", "3", "--bn", "sample"), "leave out the main contrast, stein/running, worst-case in standard"),
        (("--until", "3", "--attack", "noise-gaussian"), "leave out the main contrast"),
        (("--pilot", "missing.json", "--attack", "noise-gaussian"), "--pilot: the options leave out the main contrast"),
        (("--pilot", "missing.json"), "missing.json"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(
    arguments: tuple[str, ...], message: str, path: Path, trained: list[str]
) -> None:
    result = reproduce(path, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert trained == []
    assert not (path.parent / "out.json.cells").exists()


def test_a_main_contrast_is_needed(experiment_path: Path, trained: list[str]) -> None:
    result = reproduce(experiment_path, "--until", "3", "--bn", "sample")
    assert (result.exit_code, trained) == (2, [])
    assert "--until needs a main contrast" in result.stderr


@pytest.mark.integration
def test_pilots_without_the_contrast_or_without_an_sd_are_refused(path: Path, trained: list[str]) -> None:
    small = str(path.parent / "small.json")
    assert reproduce(path, "--seeds", "1", output="small.json").exit_code == 0
    one = reproduce(path, "--pilot", small)
    assert (one.exit_code, one.stderr.count("\n")) == (2, 1)
    assert "have no standard deviation: it takes two seeds" in one.stderr
    assert reproduce(path, "--bn", "sample", output="small.json").exit_code == 0
    other = reproduce(path, "--pilot", small)
    assert other.exit_code == 2
    assert "there is no stein/running minus sample/running, worst case (standard) in it" in other.stderr


def test_several_processes_are_refused(path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stein_bench.cli.reproduce.launched", lambda: True)
    result = reproduce(path, "--until", "3")
    assert (result.exit_code, trained) == (2, [])
    assert "run it in one process, without torchrun" in result.stderr

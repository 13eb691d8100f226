"""`stein-bench theory risk`, from the command line to table, document and plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stein_bench.cli.commands import app
from stein_bench.theory import risk
from stein_bench.theory.figures import figure
from stein_bench.theory.names import CONTAMINATIONS

SMALL = ("--channels", "4", "--elements", "5", "--spread", "0,3", "--contamination", "none", "--draws", "500")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["theory", "risk", *arguments])


def test_few_settings_are_shown_one_by_one() -> None:
    result = invoke(*SMALL, "--estimator", "stein", "--estimator", "james-stein")
    assert result.exit_code == 0, result.output
    assert "C = 4, N = 5, spread 3, contamination none, 500 batches" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("stein  ")]
    assert rows[0][-1] == "dominates"
    assert rows[1][-2:] == ["does", "not"]
    assert "stein does not dominate the sample estimators here" in result.stdout
    assert "4 of 4 risks that are known in closed form agree" not in result.stdout
    assert "8 of 8 risks that are known in closed form agree" in result.stdout
    assert "risk: 500 of 500" in result.stderr


@pytest.mark.slow
def test_many_settings_are_summed_up_and_every_one_is_in_the_document(tmp_path: Path) -> None:
    output, plot = tmp_path / "risk.json", tmp_path / "risk.png"
    result = invoke(
        "--channels", "2,4", "--elements", "3", "--draws", "60", "--output", str(output), "--plot", str(plot), "-q"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout
    document = json.loads(output.read_text())
    assert next(iter(document)) == "schema_version"
    assert len(document["cells"]) == 2 * 4 * 6
    assert {cell["contamination"] for cell in document["cells"]} == set(CONTAMINATIONS)
    cell = document["cells"][0]
    assert cell["estimators"]["stein"]["mean"]["verdict"] == "same"  # two channels are not shrunk
    assert cell["estimators"]["stein"]["mean"]["ci95"] == [1, 1]
    assert cell["sample"]["mean"]["closed_form"] == pytest.approx(2 / 3)
    verdicts = [tally["verdicts"] for tally in document["summary"]]
    assert all(sum(counts.values()) == 48 for counts in verdicts)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_json_alone_goes_to_stdout_and_equal_seeds_give_equal_documents() -> None:
    first, second = (invoke(*SMALL, "--format", "json").stdout for _ in range(2))
    assert json.loads(first)["conclusion"].startswith("stein does not dominate")
    assert first == second
    assert invoke(*SMALL, "--format", "json", "--seed", "1").stdout != first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimator", "stien"], "unknown estimator 'stien'. Did you mean 'stein'"),
        (["--estimator", "ridge:x"], "bad strength 'x'"),
        (["--estimator", "sample"], "--estimator sample: all others are compared with the sample estimators"),
        (["--estimator", "ridge", "--estimator", "ridge:0.001"], "--estimator: ridge:0.001 is given twice"),
        (["--contamination", "cauchy"], "unknown contamination 'cauchy'. Did you mean 'clipped-cauchy'?"),
        (["--channels", "3,x"], "--channels"),
        (["--channels", "0"], "--channels: 0 is not between 1 and 65536"),
        (["--channels", "2.5"], "--channels: 2.5 is not a whole number"),
        (["--elements", "1"], "--elements: 1 is not between 2 and"),
        (["--spread", "1,1"], "--spread: 1.0 is given twice"),
        (["--spread", "-1"], "--spread: -1 is not between 0 and"),
        (["--strength", "nan"], "--strength: nan is not between"),
        (["--draws", "3"], "--draws: 3 is not between 40 and"),
        (["--seed", "-1"], "--seed: -1 is not between"),
        (["--elements", "10000000"], "have to be drawn one by one under uniform"),
        (["--format", "csv"], "unknown --format 'csv'"),
        (["--plot", "a.jpg"], "must end in .png, .svg, .pdf"),
        (["--output", "no/folder/a.json"], "must be a file in an existing folder"),
        (["--output", "a.png", "--plot", "a.png"], "is also the file of --output"),
        (["--drawz", "3"], "o such option: --drawz"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_is_one_line_and_exit_code_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(risk, "simulate_risk", interrupt)
    result = invoke(*SMALL, "--output", str(tmp_path / "risk.json"))
    assert result.exit_code == 130
    assert result.stderr == "stein-bench: interrupted.\n"
    assert not (tmp_path / "risk.json").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.0000"),
        (0.9994, "0.9994"),
        (0.999963, "1-4e-5"),
        (405000, "4.0e5"),
        (0.00066, "6.6e-4"),
        (1.5, "1.5"),
        (0, "0"),
        (4271, "4271"),
        (23.44, "23.4"),
    ],
)
def test_numbers_are_short_and_say_on_which_side_of_one_they_are(value: float, text: str) -> None:
    assert figure(value) == text

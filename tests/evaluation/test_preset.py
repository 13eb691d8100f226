"""`--preset published`: what the published code compares, marked as what it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from stein_bench.comparison.compare import compare
from stein_bench.comparison.leaderboard import Named
from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.measures.published import PUBLISHED_METRICS, published_metrics
from stein_bench.report.document import read_report
from stein_bench.statistics.class_counts import ClassCounts


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


@pytest.mark.integration
def test_each_bn_gets_its_published_source_and_nothing_is_tested(model: str, data: str, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    arguments = ("--bn", "sample", "--bn", "stein", "--bn", "ridge", "--preset", "published", "--attack", "fgsm")
    result = invoke("evaluate", model, "--data", data, *arguments, "--output", str(output))
    assert result.exit_code == 0, result.output
    report = read_report(output)
    assert report.run.preset == "published"
    sources = [(variant.bn, variant.stats) for variant in report.variants]
    assert sources == [("sample", "running"), ("stein", "batch"), ("ridge:0.001", "running")]
    words = " ".join(result.stdout.split())
    assert "confounded, as in the published code: stein with the statistics of the test batch" in words
    table = compare([Named("report", report)])
    assert all(row.difference is None or row.difference.p is None for row in table.rows)
    json.loads(output.read_text())


def test_the_attacks_are_the_published_battery_where_none_are_named() -> None:
    assert make_config({"model": "m", "preset": "published"}).battery == "published"
    assert make_config({"model": "m", "preset": "published"}).attack == ()
    named = make_config({"model": "m", "preset": "published", "attack": ["fgsm"]})
    assert (named.battery, named.attack) == (None, ("fgsm",))


@pytest.mark.parametrize("option", [{"stats": ["batch"]}, {"controls": True}])
def test_what_the_preset_decides_cannot_be_given(option: dict[str, object]) -> None:
    with pytest.raises(
        UsageError, match=f"--preset published fixes the statistics source of each BN: leave out --{next(iter(option))}"
    ):
        make_config({"model": "m", "preset": "published", **option})


def test_an_unknown_preset_is_named() -> None:
    result = invoke("evaluate", "m", "--preset", "publshed")
    assert result.exit_code == 2
    assert "--preset" in result.stderr


def test_the_published_metrics_are_what_they_are_said_to_be() -> None:
    """Two images of four pixels with one void each, two classes; worked by hand."""
    counts = ClassCounts(
        intersection=np.array([[1, 1], [2, 0]]),
        prediction=np.array([[2, 1], [3, 0]]),
        target=np.array([[1, 2], [2, 1]]),
    )
    found = {name: figure.value for name, figure in published_metrics(counts, pixels=4, batch_size=1).items()}
    precision, recall = (3 / 5 + 1 / 1) / 2, (3 / 3 + 1 / 3) / 2
    assert set(found) == set(PUBLISHED_METRICS)
    assert found["published_precision"] == pytest.approx(recall)
    assert found["published_sensitivity"] == pytest.approx(precision)
    assert found["published_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["published_js"] == pytest.approx((2 / 6 + 2 / 6) / 2)  # 2 of 4 right in each image

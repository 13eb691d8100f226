"""Metrics that people bring: per sample on clean, attacked and corrupted inputs, means with intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import stein_bench
from stein_bench import RunError, UsageError
from stein_bench.measures.own import own_figures, under_attack
from stein_bench.report.metric_columns import column_name, metric_name
from tests.api.brightest import brightest, network

IMAGES, LABELS = brightest()


def evaluated(metrics, attacks="fgsm", model=None, **options):
    model = network() if model is None else model
    return stein_bench.evaluate(
        model, (IMAGES, LABELS), attacks, metrics=metrics, progress=False, eps=4 / 255, **options
    )


def margin(logits, labels):
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return logits.gather(1, labels[:, None])[:, 0] - others


def confident(logits, labels):
    return logits.softmax(dim=1).amax(dim=1) > 0.4


def two(logits, labels):
    return {"first": logits[:, 0], "top1": logits.argmax(dim=1) == labels}


def test_clean_and_attacked_values_are_those_of_the_inputs():
    model = network().eval()
    report = evaluated(margin, ["pgd:steps=4"])
    adversarial = stein_bench.attack(model, IMAGES, LABELS, "pgd:steps=4", eps=4 / 255)
    with torch.no_grad():
        expected = [margin(model(inputs), LABELS).double().mean().item() for inputs in (IMAGES, adversarial)]
    variant = report.variants[0]
    assert variant.clean.own_metrics["margin"].value == pytest.approx(expected[0], abs=1e-5)
    # The attacks' random numbers depend on the sample's id, which differs; both end beyond the boundary or at the edge.
    assert variant.attacks[0].own_metrics["margin"].value < expected[0]
    spread = margin(model(IMAGES), LABELS).double().std().item()
    low, high = variant.clean.own_metrics["margin"].ci95
    assert high - low == pytest.approx(2 * 1.959964 * spread / math.sqrt(60), rel=1e-4)


def test_booleans_are_shares_with_wilson_intervals_and_the_accuracy_is_one_of_them():
    report = evaluated(two, ["fgsm", "noise-gaussian"])
    variant = report.variants[0]
    assert variant.clean.own_metrics["top1"].value == variant.clean.accuracy
    assert variant.clean.own_metrics["top1"].ci95 == pytest.approx(variant.clean.ci95)
    noise = variant.corruptions[0]
    assert noise.own_metrics["top1"].value == pytest.approx(noise.accuracy)
    assert noise.own_metrics["top1"].ci95 == pytest.approx(noise.ci95)
    assert set(variant.attacks[0].own_metrics) == {"first", "top1"}


def test_void_adversarial_inputs_count_with_the_clean_value():
    def far(model, inputs, labels):
        return 1 - inputs

    report = evaluated(margin, far)
    attack = report.variants[0].attacks[0]
    assert attack.over_budget == 60
    assert attack.own_metrics == report.variants[0].clean.own_metrics


@pytest.mark.integration
def test_under_batch_statistics_and_in_a_resumed_run_they_are_the_same(tmp_path):
    both = evaluated([margin, confident], "pgd:steps=3", bn="stein", stats=["running", "batch"])
    for variant in both.variants:
        assert set(variant.attacks[0].own_metrics) == {"margin", "confident"}

    class StopAfter:
        def __init__(self, phases):
            self.left = phases

        def start(self, phase, total, done=0):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

        def advance(self, samples, note=""):
            pass

        finish = note = lambda self, *_: None

    options = {"output": tmp_path / "r.json", "bn": "stein", "stats": ["running", "batch"], "batch_size": 20}
    whole = evaluated([margin, confident], "pgd:steps=3", **{**options, "output": None})
    with pytest.raises(KeyboardInterrupt):
        stein_bench.evaluate(network(), (IMAGES, LABELS), "pgd:steps=3", metrics=[margin, confident], eps=4 / 255,
                             progress=StopAfter(4), **options)  # fmt: skip
    resumed = evaluated([margin, confident], "pgd:steps=3", resume=True, **options)
    for one, other in zip(whole.variants, resumed.variants, strict=True):
        assert one.clean.own_metrics == other.clean.own_metrics
        assert one.attacks[0].own_metrics == other.attacks[0].own_metrics


@pytest.mark.integration
def test_of_a_random_model_they_are_means_over_the_draws():
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x + 0.05 * torch.randn_like(x))

    report = evaluated(margin, "pgd:steps=2", Noisy(), draws=30, battery=None)
    exact = margin(network().eval()(IMAGES), LABELS).mean().item()
    assert report.variants[0].clean.expected_accuracy is not None
    assert report.variants[0].clean.own_metrics["margin"].value == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda logits, labels: logits.mean(), r"returned shape \(\) for 2 samples; expected one value each, \(2,\)"),
        (lambda logits, labels: 3.0, "returned a float for 2 samples"),
        (lambda logits, labels: logits[:, 0] * math.nan, "a value is not finite although the logits are"),
        (lambda logits, labels: 1 / 0, "failed: ZeroDivisionError"),
        (5, "is no function of logits and labels"),
    ],
)
def test_what_is_no_metric_is_refused_before_anything_is_attacked(metric, message):
    with pytest.raises(UsageError, match=message):
        evaluated(metric)


def test_two_values_of_one_name_are_refused():
    def top1(logits, labels):
        return logits[:, 0]

    with pytest.raises(UsageError, match="both give 'top1': rename one"):
        evaluated([two, top1])


def test_one_that_fails_later_ends_the_run_and_is_named():
    def sometimes(logits, labels):
        if len(logits) > 2:
            raise ValueError("too many")
        return logits[:, 0]

    with pytest.raises(RunError, match=r"clean pass failed: metric .*sometimes failed: ValueError: too many"):
        evaluated(sometimes)


def test_table_page_markdown_show_them_and_say_what_they_mean(tmp_path):
    from stein_bench.render.report.files import report_markdown
    from stein_bench.render.report.page import Source, html_page

    report = evaluated(margin)
    value = f"{report.variants[0].clean.own_metrics['margin'].value:.4g}"
    for text in (report.summary(), html_page([Source("r", report, None, "")]), report_markdown([("r", report)])):
        assert value in text
        assert "own metrics are means over the samples" in " ".join(text.split()).lower()
    page = html_page([Source("r", report, None, "")])
    assert f"{report.run.parts[0].name}, SHA-256 {report.run.parts[0].sha256}" in page


def test_the_csv_file_has_a_row_for_each_metric_and_outcome():
    import csv
    import io

    from stein_bench.render.report.files import report_csv

    report = evaluated(margin, ["fgsm", "noise-gaussian"])
    rows = [row for row in csv.DictReader(io.StringIO(report_csv([("r", report)]))) if row["measure"] == "margin"]
    variant = report.variants[0]
    results = [variant.clean, *variant.attacks, *variant.corruptions]
    assert [float(row["value"]) for row in rows] == [one.own_metrics["margin"].value for one in results]
    assert [row["accuracy"] for row in rows] == ["clean", variant.attacks[0].label, variant.corruptions[0].label]


def test_a_figure_is_null_if_a_value_is_not_finite_and_clusters_widen_the_interval():
    name = column_name("top5")
    assert metric_name(name) == "top5"
    values = np.repeat(np.arange(10.0), 4)
    alone, clustered = (own_figures([{name: values}], cluster)["top5"] for cluster in (1, 4))
    assert alone.value == clustered.value == 4.5
    assert clustered.ci95[1] - clustered.ci95[0] > 1.9 * (alone.ci95[1] - alone.ci95[0])
    assert own_figures([{name: np.array([1.0, np.nan])}])["top5"].value is None
    assert own_figures([{"correct": values > 3}]) is None
    clean, adversarial = {name: np.zeros(3)}, {name: np.ones(3), "correct": np.ones(3)}
    mixed = under_attack(clean, adversarial, np.array([True, False, False]))
    assert mixed[name].tolist() == [0, 1, 1]

"""Segmentation from end to end: a small Cityscapes tree through evaluate, its report, gate and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from stein_bench.attacks import native
from stein_bench.cli.commands import app
from stein_bench.comparison.gate import gate
from stein_bench.comparison.policy import Policy
from stein_bench.config import make_config
from stein_bench.data import Resize, open_data
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.measures import Segmented
from stein_bench.render.comparison.gate_files import gate_markdown
from stein_bench.render.report.groups import group_grids, group_values
from stein_bench.render.report.outcomes import result_rows
from stein_bench.report.adversarials import read_adversarials
from stein_bench.report.document import Report, read_report, report_schema
from stein_bench.statistics.class_counts import METRICS, ClassCounts, image_miou, metrics
from tests.street import write_tree

NET = '''
import torch
from torch import nn

COLORS = torch.tensor([[128, 64, 128], [80, 80, 70], [60, 140, 40], [90, 150, 210], [20, 20, 150]]) / 255
CLASSES = [0, 2, 8, 10, 13]
MEAN = torch.tensor([0.3, 0.5, 0.2])


def make(num_classes=19):
    """The nearest color, by way of a BN layer whose running mean is no zero."""
    first, norm, last = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), nn.Conv2d(3, num_classes, 1)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[..., None, None])
        norm.running_mean.copy_(MEAN)
        last.weight.zero_()
        last.bias.fill_(-100.0)
        last.weight[CLASSES] = 40 * COLORS[..., None, None]
        last.bias[CLASSES] = 40 * (COLORS @ MEAN - (COLORS**2).sum(dim=1) / 2)
    return nn.Sequential(first, norm, last)


def half(num_classes=19):
    """Maps of half the size, which nobody brought to the images' size."""
    return nn.Conv2d(3, num_classes, 3, stride=2, padding=1)


def whole(num_classes=19):
    """One answer per image."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
'''


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "dense.py").write_text(NET)
    return f"{tmp_path / 'dense.py'}:make"


@pytest.fixture
def city(tmp_path: Path) -> str:
    return f"cityscapes:{write_tree(tmp_path / 'city', train=6, val=12)}"


def run(net: str, city: str, **options: Any) -> Report:
    settings = {
        "model": net,
        "data": city,
        "eps": "6/255",
        "image_size": 16,
        "batch_size": 5,
        "weights": "none",
        **options,
    }
    return run_evaluation(make_config(settings))


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


def kept(report: Report, variant: int = 0) -> tuple[ClassCounts, dict[str, ClassCounts]]:
    clean, robust = Segmented.unpacked(report.variants[variant].outcomes)
    return clean.counts, {label: outcome.counts for label, outcome in robust.items()}


def test_means_under_common_corruptions_are_of_the_miou_wherever_they_are_shown(net: str, city: str) -> None:
    report = run(net, city, corruption=["fog:1+3", "snow:2"])
    (variant,) = report.variants
    values = {one.label: one.metrics["miou"].value for one in variant.corruptions}
    accuracies = {one.label: one.accuracy for one in variant.corruptions}
    found = variant.common_corruptions
    fog = [values["fog:severity=1"], values["fog:severity=3"]]
    assert found.corruptions["fog"].accuracies == pytest.approx(fog)
    assert found.corruptions["fog"].accuracy == pytest.approx(np.mean(fog))
    assert found.accuracy == pytest.approx(np.mean(list(values.values())))
    assert found.accuracy != pytest.approx(np.mean(list(accuracies.values())))
    assert found.ci95[0] <= found.accuracy <= found.ci95[1]
    rows = {row.accuracy: row.figure.value for row in result_rows(report)}
    assert rows["corruptions"] == found.accuracy
    assert {group: value.accuracy for *_, group, value in group_values(report)} == {
        "fog/1": fog[0], "fog/3": fog[1], "snow/2": values["snow:severity=2"],
    }  # fmt: skip
    (grid,) = group_grids(report, intervals=False, everything=False)
    assert grid.title == "sample/running, corrupted: mIoU % by corruption and severity"


@pytest.mark.integration
def test_mce_of_a_segmentation_has_one_minus_miou_for_its_errors(net: str, city: str, tmp_path: Path) -> None:
    base = run(net, city, corruption=["fog:3", "snow:2"])
    (tmp_path / "base.json").write_text(base.to_json())
    options = {"corruption": ["fog:3", "snow:2"], "mce_baseline": str(tmp_path / "base.json")}
    same = run(net, city, **options).variants[0].common_corruptions.mce
    assert (same.mce, same.relative_mce) == (pytest.approx(1), pytest.approx(1))


def test_labels_do_not_move_with_the_image(net: str, city: str) -> None:
    report = run(net, city, corruption=["elastic_transform:1", "fog:1"])
    assert [one.name for one in report.variants[0].corruptions] == ["fog"]
    told = "common corruptions: elastic_transform is left out; it moves the image, but not the labels of its pixels"
    assert told in report.data.notes
    with pytest.raises(UsageError, match="not the labels of its pixels: no segmentation can be judged under it"):
        run(net, city, corruption=["elastic_transform"])


ATTACKS = ["fgsm", "pgd:steps=5", "segpgd:steps=5", "noise-gaussian:std=0.1"]


def test_a_report_holds_the_metrics_of_its_own_counts(net: str, city: str) -> None:
    report = run(net, city, attack=ATTACKS)
    assert (report.data.task, report.data.samples, report.data.shape) == ("segmentation", 12, (3, 16, 32))
    assert not report.dishonest()
    (variant,) = report.variants
    clean, robust = kept(report)
    for counts, part in [(clean, variant.clean), *zip(robust.values(), variant.attacks, strict=True)]:
        values = dict(zip(METRICS, metrics(counts.total()), strict=True))
        assert {name: figure.value for name, figure in part.metrics.items()} == pytest.approx(values)
        share = part.accuracy if part is variant.clean else part.robust_accuracy
        assert share == pytest.approx(values["pixel_accuracy"])
        assert all(figure.ci95[0] <= figure.value <= figure.ci95[1] for figure in part.metrics.values())
    by_image = np.stack([image_miou(counts) for counts in robust.values()])
    assert (by_image <= image_miou(clean) + 1e-12).all()
    worst = [list(robust.values())[i].select(np.array([n])) for n, i in enumerate(by_image.argmin(axis=0))]
    total = sum(one.total() for one in worst)
    assert variant.worst_case_metrics["miou"].value == pytest.approx(metrics(total)[0])
    assert variant.clean.metrics["miou"].value > 0.8
    assert all(a.metrics["miou"].value < variant.clean.metrics["miou"].value for a in variant.attacks)
    assert variant.corruptions[0].metrics["miou"].value > 0
    assert variant.outcomes.clean_correct is None


def test_the_counts_are_those_of_a_plain_recomputation(net: str, city: str) -> None:
    report = run(net, city, attack="fgsm")
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    network = namespace["make"]()
    images, labels = open_data(city).samples("test", Resize(16)).batch(range(12))
    with torch.no_grad():
        predicted = network.eval()(images).argmax(dim=1)  # a user's network has no input scaling of its own
    clean, _ = kept(report)
    assert report.variants[0].outcomes.class_counts.classes == [0, 2, 8, 10, 13]
    for image in range(12):
        valid = labels[image] != 255
        for label in range(14):
            truth, guess = (labels[image] == label) & valid, (predicted[image] == label) & valid
            expected = [(truth & guess).sum(), guess.sum(), truth.sum()]
            found = [part[image, label] for part in (clean.intersection, clean.prediction, clean.target)]
            assert found == [int(number) for number in expected]


@pytest.mark.integration
def test_results_depend_neither_on_the_batch_size_nor_on_the_order_of_attacks(net: str, city: str) -> None:
    first, other = run(net, city, attack=ATTACKS), run(net, city, attack=ATTACKS[::-1], batch_size=12, workers=2)
    for label, counts in kept(first)[1].items():
        assert (counts.intersection == kept(other)[1][label].intersection).all()
    assert (kept(first)[0].prediction == kept(other)[0].prediction).all()


def test_an_interrupted_run_goes_on_where_it_was(
    net: str, city: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"attack": ["fgsm", "segpgd:steps=3"], "output": str(tmp_path / "report.json")}
    expected = run(net, city, attack=options["attack"])
    real, calls = native.whole_batch, [0]

    def interrupted(*arguments: Any, **rest: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return real(*arguments, **rest)

    monkeypatch.setattr(native, "whole_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(net, city, **options)
    monkeypatch.setattr(native, "whole_batch", lambda *a, **k: calls.append(1) or real(*a, **k))
    resumed = run(net, city, **options, resume=True)
    assert sum(calls[1:]) == 2  # of three batches one was finished
    assert resumed.variants[0].outcomes == expected.variants[0].outcomes


@pytest.mark.integration
def test_batch_statistics_have_replays_and_controls_have_effects(net: str, city: str) -> None:
    report = run(net, city, attack="pgd:steps=3", bn="stein", controls=True, batch_size=4)
    assert [f"{v.bn}/{v.stats}" for v in report.variants] == [
        "stein/running", "sample/running", "sample/batch", "stein/batch",
    ]  # fmt: skip
    for variant in report.variants:
        replay = variant.attacks[0].replay
        assert (replay is not None) == (variant.stats == "batch")
        if replay is not None:
            assert replay.joint == pytest.approx(variant.attacks[0].metrics["miou"].value)
            assert 0 <= replay.among_clean_flipped <= 1
    effects = {(effect.outcome, effect.name): effect for effect in report.variants[0].effects}
    values = {f"{v.bn}/{v.stats}": v.clean.metrics["miou"].value for v in report.variants}
    estimator = effects["clean", "estimator-running"]
    assert estimator.difference == pytest.approx(values["stein/running"] - values["sample/running"])
    assert estimator.p is not None
    assert effects["clean", "source-sample"].p is None  # three batches are too few to be exchanged
    interaction = values["stein/batch"] - values["sample/batch"] - estimator.difference
    assert effects["clean", "interaction"].difference == pytest.approx(interaction)
    assert effects["clean", "interaction"].p is None


def worse(report: Report, images: int) -> Report:
    """The same report, with the clean counts of the first images moved to another class."""
    document = json.loads(report.to_json())
    variant = document["variants"][0]
    outcome = Segmented.unpacked(report.variants[0].outcomes)[0].counts
    intersection, prediction = outcome.intersection.copy(), outcome.prediction.copy()
    prediction[:images] = np.roll(intersection[:images], 1, axis=1) + prediction[:images] - intersection[:images]
    intersection[:images] = 0
    changed = Segmented(ClassCounts(intersection, prediction, outcome.target))
    _, robust = Segmented.unpacked(report.variants[0].outcomes)
    everything = Segmented.packed(changed, robust, {})["class_counts"]
    variant["outcomes"]["class_counts"] = everything.model_dump(mode="json")
    rate = changed.accuracy()
    variant["clean"] |= {"accuracy": rate.value, "ci95": [rate.low, rate.high]}
    variant["clean"]["metrics"] = {name: figure.model_dump() for name, figure in changed.metrics().items()}
    return Report.model_validate(document)


def test_the_gate_tells_a_lower_miou_from_an_equal_one(net: str, city: str) -> None:
    report = run(net, city, attack="fgsm")
    same = gate(report, report)
    assert same.verdict == "passed"
    assert {c.p_drop for c in same.comparisons} == {1.0}
    result = gate(worse(report, 10), report)
    assert result.verdict == "failed"
    clean = result.comparisons[0]
    assert (clean.title, clean.status, clean.graded, clean.lost) == ("clean mIoU", "regression", True, 10)
    assert clean.difference == pytest.approx(clean.now - clean.before)
    assert clean.before == pytest.approx(report.variants[0].clean.metrics["miou"].value)
    assert "10 of 12 images worse" in result.messages("error")[0]
    assert "- worse in sample/running, clean mIoU: images 0, 1, 2," in gate_markdown(result)
    slight = gate(worse(report, 1), report)
    assert slight.comparisons[0].status in ("unproven", "unchanged")
    floor = Policy.model_validate({"rules": [{"accuracy": "clean", "minimum": 0.9999}]})
    (held,) = gate(report, report, floor).floors
    assert held.value == pytest.approx(report.variants[0].clean.metrics["miou"].value)
    assert not held.held


def test_a_report_whose_accuracy_is_not_that_of_its_counts_is_refused(net: str, city: str) -> None:
    report = run(net, city, attack="fgsm")
    document = json.loads(worse(report, 4).to_json())
    document["variants"][0]["clean"]["accuracy"] = report.variants[0].clean.accuracy
    result = gate(Report.model_validate(document), report)
    assert result.verdict == "refused"
    assert "contradicts its own outcomes" in result.messages("error")[0]
    document["variants"][0]["outcomes"]["class_counts"]["target"] = "AAAA"
    with pytest.raises(UsageError, match=r"packed counts hold|not base64|damaged"):
        gate(Report.model_validate(document), report)


def test_the_command_line_from_a_tree_to_a_comparison(city: str, tmp_path: Path) -> None:
    output = str(tmp_path / "r.json")
    arguments = ["paper:hrnet,stem_stride=2", "--data", city, "--image-size", "32", "--limit", "3", "--eps", "4/255"]
    attacks = ["--attack", "fgsm", "--attack", "segpgd:steps=2", "--bn", "stein"]
    result = invoke("evaluate", *arguments, *attacks, "--output", output)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "mIoU" in result.stdout
    jsonschema.validate(json.loads(Path(output).read_text()), report_schema())
    report = read_report(output)
    assert report.model.parameters == 1_540_819
    assert report.data.shape == (3, 32, 64)
    compared = invoke("compare", output, output)
    assert compared.exit_code == 0, compared.output
    assert "images whose own mIoU is lower" in " ".join(compared.stdout.split())
    assert invoke("gate", output, "--baseline", output).exit_code == 0


@pytest.mark.slow
def test_a_model_of_torchvision_is_converted_and_attacked(city: str) -> None:
    report = run("torchvision:lraspp_mobilenet_v3_large", city, attack="pgd:steps=2", bn="stein", image_size=32)
    assert report.variants[0].converted_layers > 40
    assert not report.dishonest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "autoattack"}, "attack autoattack supports classification"),
        ({"attack": "torchattacks.PGD"}, "For segmentation: fgsm, pgd, mifgsm, segpgd, apgd-ce"),
        ({"attack": "apgd-dlr"}, "but the data is for segmentation"),
        ({"model": "half"}, "returns maps of 8×16 for images of 16×32: a score is needed for every pixel"),
        ({"model": "whole"}, "expected a score per class and pixel"),
        ({"model": "resnet18"}, "expected a score per class and pixel"),
        ({"weights": "pretrained", "model": "torchvision:fcn_resnet50"}, "predicts voc-21 classes"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    net: str, city: str, changes: dict[str, str], message: str, own_cache: Path
) -> None:
    if changes.get("model") in ("half", "whole"):
        changes = {**changes, "model": net.replace("make", changes["model"])}
    with pytest.raises(UsageError) as caught:
        run(**{"net": net, "city": city} | {"net" if k == "model" else k: v for k, v in changes.items()})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not own_cache.exists()


def test_segpgd_is_for_segmentation_only() -> None:
    with pytest.raises(UsageError, match="attack segpgd supports segmentation, but the data is for classification"):
        run_evaluation(make_config({"model": "resnet18", "attack": "segpgd"}))


@pytest.mark.integration
def test_examples_are_kept_with_their_maps_and_shown_on_the_page(net: str, city: str, tmp_path: Path) -> None:
    output = tmp_path / "r.json"
    report = run(net, city, attack=["pgd:steps=5"], eps="2/255,6/255", output=str(output), save_adversarials=2)
    output.write_text(report.to_json())
    gallery = read_adversarials(report, output)
    assert gallery is not None
    assert len(gallery.examples) == 4
    for example in gallery.examples:
        assert example.label.shape == example.adv_prediction.shape == (16, 32)
        wrong, before = (
            float((found != example.label)[example.label != 255].mean())
            for found in (example.adv_prediction, example.clean_prediction)
        )
        assert wrong > before or not example.broken
    result = invoke("report", str(output), "--html", str(tmp_path / "r.html"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("prediction, adversarial</div>") == 4
    assert "mIoU within each Linf budget" in page
    assert "IoU" in page

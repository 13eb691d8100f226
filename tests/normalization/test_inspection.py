"""What an inspection says is what the layers hold and what the estimators do with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.normalization import estimators
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.normalization.inspection import elements_per_sample, inspect_batchnorm


def trained(channels: int = 4) -> nn.Sequential:
    """A network whose running averages have seen one batch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.InstanceNorm2d(channels),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(4 * channels, track_running_stats=False),
    )  # fmt: skip
    model(torch.randn(16, 3, 8, 8))
    return model.eval()


def test_every_layer_is_there_with_the_reason_where_it_does_not_convert() -> None:
    found = inspect_batchnorm(trained(), ["stein"])
    assert [(layer.name, layer.kind, layer.channels) for layer in found.layers] == [
        ("1", "BatchNorm2d", 4), ("5", "BatchNorm1d", 16),
    ]  # fmt: skip
    assert [(layer.name, layer.kind) for layer in found.skipped] == [("2", "InstanceNorm2d")]
    assert "instance norm" in found.skipped[0].reason
    assert found.layers[1].statistics is None
    assert found.layers[1].shrinkage == {}


@pytest.mark.parametrize("name", ["stein", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.1"])
def test_shrinkage_is_that_of_the_estimator_on_the_biased_running_moments(name: str) -> None:
    model = trained()
    (layer, _) = inspect_batchnorm(model, [name], {"1": 36}, batch_size=16).layers
    assert (layer.count, layer.count_source) == (576, "batch")
    mean = model[1].running_mean.double()
    variance = model[1].running_var.double() * 575 / 576
    shrunk_mean, shrunk_variance = estimators.estimator(name)(mean, variance, 576)
    shown = layer.shrinkage[name]
    assert shown.mean_kept == pytest.approx(float((shrunk_mean @ mean) / (mean @ mean)))
    assert shown.variance_ratio is not None
    assert shown.variance_ratio.min == pytest.approx(float((shrunk_variance / variance).min()))
    assert shown.variance_ratio.max == pytest.approx(float((shrunk_variance / variance).max()))
    assert layer.statistics is not None
    assert layer.statistics.mean_rms == pytest.approx(float(mean.square().mean().sqrt()))
    assert layer.statistics.variance_geometric_mean == pytest.approx(float(variance.log().mean().exp()))


def test_a_layer_that_knows_its_count_is_believed_and_one_that_does_not_counts_as_infinite() -> None:
    model, _ = convert_batchnorm(trained(), "stein")
    unknown = inspect_batchnorm(model, ["stein"]).layers[0]
    assert (unknown.count, unknown.count_source) == (None, "unknown")
    ratio = unknown.shrinkage["stein"].variance_ratio
    assert ratio is not None
    assert ratio.max == 1
    convert_batchnorm(model, "stein", count=10)
    known = inspect_batchnorm(model, ["stein"], {"1": 36}, batch_size=16).layers[0]
    assert (known.count, known.count_source) == (10, "weights")
    ratio = known.shrinkage["stein"].variance_ratio
    assert ratio is not None
    assert ratio.max > 1


def test_a_fresh_or_dead_layer_has_no_shrinkage_to_speak_of() -> None:
    layer = nn.BatchNorm2d(3)
    fresh = inspect_batchnorm(layer, ["stein"]).layers[0]
    assert fresh.name == ""
    assert fresh.shrinkage["stein"].mean_kept is None
    layer.running_var.zero_()
    assert inspect_batchnorm(layer, ["stein"]).layers[0].shrinkage["stein"].variance_ratio is None


def test_elements_are_counted_without_leaving_hooks_behind() -> None:
    model = trained()
    with elements_per_sample(model) as elements:
        model(torch.zeros(5, 3, 8, 8))
    assert elements == {"1": 36, "5": 1}
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_inspection_changes_nothing_and_refuses_unknown_estimators() -> None:
    model = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inspect_batchnorm(model, ["stein", "james-stein"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(UsageError, match="unknown estimator 'stien'"):
        inspect_batchnorm(model, ["stien"])

"""Controls: all four cells are evaluated, and the effects are those of the kept outcomes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from stein_bench.config import make_config
from stein_bench.diagnostics.effects import with_effects
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.preparation.plan import prepare
from stein_bench.render.report.table import print_report
from stein_bench.report.document import Report
from stein_bench.report.packing import pack_bits, unpack_bits
from stein_bench.report.results import VariantResult


def run(model: str, data: str, **options: object) -> Report:
    return run_evaluation(make_config({"model": model, "data": data, "eps": "12/255", "attack": "fgsm", **options}))


def bits(variant: VariantResult) -> tuple[np.ndarray, np.ndarray]:
    (robust,) = variant.outcomes.robust.values()
    return unpack_bits(variant.outcomes.clean_correct, 60), unpack_bits(robust, 60)


@pytest.mark.integration
def test_controls_complete_the_four_cells_after_what_was_asked_for(model: str, data: str) -> None:
    report = run(model, data, bn="stein", controls=True, batch_size=6)
    assert [(v.bn, v.stats, v.control) for v in report.variants] == [
        ("stein", "running", False), ("sample", "running", True), ("sample", "batch", True), ("stein", "batch", True),
    ]  # fmt: skip
    own_running, plain_running, plain_batch, own_batch = (bits(variant) for variant in report.variants)
    effects = {(effect.outcome, effect.name): effect for effect in report.variants[0].effects}
    assert [variant.effects for variant in report.variants[1:]] == [[], [], []]
    for place, outcome in enumerate(("clean", report.variants[0].attacks[0].label)):
        cells = {
            "estimator-running": own_running[place].mean() - plain_running[place].mean(),
            "estimator-batch": own_batch[place].mean() - plain_batch[place].mean(),
            "source-sample": plain_batch[place].mean() - plain_running[place].mean(),
            "source-variant": own_batch[place].mean() - own_running[place].mean(),
        }
        cells["interaction"] = cells["estimator-batch"] - cells["estimator-running"]
        for name, difference in cells.items():
            effect = effects[outcome, name]
            assert effect.difference == pytest.approx(difference)
            assert effect.p is not None
            assert (effect.ci95 is None) == (name == "interaction")
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
    text = stream.getvalue()
    assert "Effects of stein" in text
    assert "networks trained from several seeds are the replicates" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    for effect in effects.values():
        assert f"{100 * effect.difference:+.1f}" in text


@pytest.mark.integration
def test_few_batches_leave_the_tests_out_but_not_the_one_under_running_statistics(model: str, data: str) -> None:
    (first, *_) = run(model, data, bn="stein", controls=True, batch_size=30).variants
    assert {effect.name for effect in first.effects if effect.p is not None} == {"estimator-running"}


def test_the_interaction_flips_whole_batches() -> None:
    """Ten batches of two; in each the estimator gains one sample under batch statistics and none under running ones."""
    half, whole = np.tile([True, False], 10), np.ones(20, bool)
    cells = {
        ("sample", "running"): half,
        ("sample", "batch"): half,
        ("stein", "running"): half,
        ("stein", "batch"): whole,
    }
    variants = [_variant(bn, stats, right) for (bn, stats), right in cells.items()]
    found = with_effects(variants, 2, "classification")
    effects = {effect.name: effect for effect in found[2].effects}
    assert effects["interaction"].difference == effects["estimator-batch"].difference == 0.5
    assert effects["interaction"].p == pytest.approx(2 / 2**10)
    assert effects["estimator-running"].difference == 0
    assert effects["estimator-running"].p == 1
    assert found[3].effects == []


def _variant(bn: str, stats: str, right: np.ndarray) -> VariantResult:
    kept = {"samples": len(right), "sample_ids_sha256": "0" * 64, "clean_correct": pack_bits(right), "robust": {}}
    share = float(right.mean())
    clean = {"accuracy": share, "ci95": (0, 1), "assumes_independence": True, "nonfinite_outputs": 0, "seconds": 0}
    return VariantResult.model_validate(
        {
            "bn": bn, "stats": stats, "control": False, "converted_layers": 0, "skipped_layers": [],
            "layers_of_unknown_count": 0, "conversion": "none", "function_preserved": False,
            "weights": {"kind": "fit", "sha256": None}, "clean": clean, "attacks": [], "worst_case_accuracy": None,
            "worst_case_ci95": None, "outcomes": kept,
        }
    )  # fmt: skip


def test_controls_need_plain_weights(model: str, data: str, own_cache: Path, tmp_path: Path) -> None:
    run(model, data, bn="stein")
    (file,) = (own_cache / "fits").iterdir()
    saved = file.rename(tmp_path / "stein.safetensors")
    with pytest.raises(UsageError, match="--controls needs plain-BN weights"):
        prepare(make_config({"model": model, "data": data, "weights": str(saved), "controls": True}))


def test_controls_of_plain_bn_alone_are_its_two_sources(model: str, data: str) -> None:
    variants = prepare(make_config({"model": model, "data": data, "controls": True})).variants
    assert [variant.label for variant in variants] == ["sample/running", "sample/batch"]

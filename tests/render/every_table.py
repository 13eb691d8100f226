"""Every table that the command line prints, each with many rows and columns and with long names, for tests of all."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from stein_bench.attacks.passes import Bounds, Passes
from stein_bench.comparison.compare import compare
from stein_bench.comparison.gate import gate
from stein_bench.comparison.leaderboard import Named
from stein_bench.diagnostics.effects import with_effects
from stein_bench.evaluation.costs.results import DryRun, PhaseCost
from stein_bench.evaluation.inspection import Inspection
from stein_bench.normalization.inspection import (
    LayerInspection,
    LayerStatistics,
    ModelInspection,
    Range,
    Shrinkage,
)
from stein_bench.normalization.survey import SkippedLayer
from stein_bench.render.comparison.compare import print_compare
from stein_bench.render.comparison.gate import print_gate
from stein_bench.render.console import print_uncut
from stein_bench.render.costs.table import dry_run_table, sweep_table
from stein_bench.render.inspection.table import print_inspection
from stein_bench.render.listings import print_listing
from stein_bench.render.report.table import print_report
from stein_bench.render.reproduction.table import print_reproduction
from stein_bench.render.theory.lipschitz import print_lipschitz
from stein_bench.render.theory.risk import print_risk
from stein_bench.render.training.table import print_training
from stein_bench.report.results import Calibration, ExpectedAccuracy, Figure, SiteResult
from stein_bench.reproduction.document import ExperimentRun, Reproduction
from stein_bench.reproduction.summary import Measured, rows
from stein_bench.theory.constants import LipschitzStudy
from stein_bench.theory.lipschitz import LipschitzSettings, random_layers
from stein_bench.theory.risk import RiskSettings, simulate_risk
from stein_bench.theory.study import RiskStudy
from stein_bench.training.card import EpochRecord, TrainedData, TrainingCard
from tests.render.page_reports import cell
from tests.reports import bits, corrupted, diagnostic, in_cells, replaced, report, variant

MODEL = "timm:vit_base_patch16_224.augreg_in21k_ft_in1k"
ATTACKS = {
    "fgsm": bits(40),
    "autoattack": bits(96),
    "torchattacks.MIFGSM": bits(70),
    "transfer.mifgsm": bits(20),
    ("pgd", 254 / 255): bits(100),
    "my_attack_of_a_long_name.py:wiggle_waggle": bits(30),
}
NOISES = {"noise-salt-and-pepper:amount=0.05,seeds=3": [bits(10)] * 3, "noise-clipped-cauchy:std=0.3": [bits(12)]}
CALIBRATION = Calibration(
    predictions=100, accuracy=0.9, confidence=0.95, confidence_when_wrong=0.7, overconfidence=0.05, ece=0.06,
    ece_if_calibrated=0.02,
)  # fmt: skip


def plain(*variants, **options):
    return report(*variants, model=MODEL, diagnostics=[diagnostic(variant="sample/running")], **options)


def many_attacks():
    return plain(corrupted(variant(attacks=ATTACKS), NOISES))


def many_variants():
    names = [("james-stein", "running"), ("my_norms.py:Shrunk", "running"), ("lasso:0.00123", "batch")]
    others = [variant(bn, stats, attacks=ATTACKS) for bn, stats in names]
    return plain(corrupted(variant(attacks=ATTACKS), NOISES), *others, variant("sample", "batch", control=True))


def controls():
    cells = [cell(bn, stats, 60) for stats in ("running", "batch") for bn in ("sample", "stein")]
    return report(*with_effects(cells, 10, "classification"), model=MODEL)


def heat_map():
    names = ("shot_noise", "jpeg_compression", "elastic_transform")
    one = in_cells(variant(clean=bits(20, 180), attacks={"fgsm": bits(90, 180)}),
                   *(f"{name}/{level}" for name in names for level in range(1, 6)))  # fmt: skip
    made = report(one, model=MODEL)
    return replaced(made, data=replaced(made.data, grouped_by=("corruption", "severity")))


def measured():
    """Further metrics, sites, own metrics and calibration of one variant."""
    names = ("auc", "precision", "sensitivity", "specificity", "f1", "published_js", "published_f1", "jaccard")
    metrics = {name: Figure(value=0.5 + i / 100, ci95=(0.4, 0.7)) for i, name in enumerate(names)}
    sites = {name: SiteResult(samples=50, accuracy=0.8, ci95=(0.7, 0.9), metrics=metrics)
             for name in ("Haukeland University Hospital", "Oslo")}  # fmt: skip
    own = {"margin_between_the_two_best": Figure(value=1.234, ci95=(1.1, 1.3))}
    more = {"metrics": metrics, "own_metrics": own, "calibration": CALIBRATION}
    one = variant(attacks=ATTACKS)
    clean = replaced(one.clean, **more, sites=sites)
    return plain(replaced(one, clean=clean, attacks=[replaced(a, **more) for a in one.attacks]))


def random_model():
    expected = ExpectedAccuracy(value=0.876, ci95=(0.8, 0.91), draws=10)
    one = variant(attacks=ATTACKS)
    return plain(
        replaced(
            one,
            clean=replaced(one.clean, expected_accuracy=expected),
            attacks=[replaced(a, expected_accuracy=expected) for a in one.attacks],
            worst_case_expected_accuracy=expected,
        )
    )


def board():
    ranked = {(f"attack{i}", 8 / 255): bits(30 + i) for i in range(12)}
    ones = [replaced(report(variant(attacks=ranked, clean=bits(n)), number=n)) for n in range(1, 5)]
    return compare([Named(f"vit_base_patch16_224.augreg_in21k_ft_in1k-{n}", one) for n, one in enumerate(ones)])


def inspection():
    names = ("bn1", "layer4.1.downsample.block.normalization_of_the_shortcut", "layer1.0.bn2")
    estimators = ("stein", "jsnorm", "james-stein", "ridge:0.001", "lasso:0.001", "stein-mean")
    shrunk = {name: Shrinkage(0.987, Range(1.0, 1.012, 1.2)) for name in estimators}
    statistics = LayerStatistics(0.123, Range(0.1, 0.456, 2.0), 0.4)
    layers = tuple(LayerInspection(n, "BatchNorm2d", 512, 102_400, "weights", statistics, shrunk) for n in names)
    skipped = (SkippedLayer("head.normalization_without_statistics", "GroupNorm", "it has no running averages"),)
    return Inspection(MODEL, MODEL, "file", "a" * 64, "sample", 100, ModelInspection(layers, skipped))


def trained():
    one = report()
    data = TrainedData(name="digits", split="train", task="classification", classes=10, shape=(3, 32, 32),
                       trained_on=1297, validated_on=100, sha256="d" * 64)  # fmt: skip
    epochs = tuple(
        EpochRecord(epoch=n, learning_rate=0.1, loss=1 / n, accuracy=0.9, validation_loss=0.4, validation_accuracy=0.8,
                    validation_robust_loss=1.0, validation_robust_accuracy=0.5) for n in range(1, 31)
    )  # fmt: skip
    return TrainingCard(
        created="2025-01-01T00:00:00+00:00", command="stein-bench train", model=MODEL, parameters=1, bn="stein",
        data=data, recipe={"name": "cifar10"}, adversarial="pgd:steps=7", started_from=None, seed=0, processes=1,
        epochs=epochs, best_epoch=20, kept_epoch=20, stopped_early=False, weights="w.safetensors",
        weights_sha256="a" * 64, config={"model": MODEL, "data": "digits"}, identity={},
        environment=one.run.environment, wall_seconds=1.0,
    )  # fmt: skip


def dry_run():
    bounds = Bounds(Passes(1, 1), Passes(12_345, 6_789))
    phases = [
        PhaseCost(v, title, title, "attack", 5000.0, 100.0, 900.0, parts=10, bounds=bounds, expected=Passes(99, 88),
                  peak_bytes=5 * 2**30) for v in ("sample/running", "james-stein/batch")
        for title in ("clean", "autoattack 8/255", "my_attack_of_a_long_name.py:wiggle_waggle 8/255")
    ]  # fmt: skip
    return DryRun(MODEL, "digits", 95, 10, "cpu", tuple(phases), 0.0, "resident set", 1.0)


@cache
def reproduction():
    attacks = {f"pgd:eps={i}": f"pgd {i}/255" for i in range(1, 9)}
    found = [
        Measured("standard", bn, stats, seed, {(key, "accuracy"): 0.5 + seed / 10 for key in ("clean", *attacks)},
                 {"clean": "clean", **attacks})
        for bn in ("sample", "stein", "my_norms.py:Shrunk") for stats in ("running", "batch") for seed in range(3)
    ]  # fmt: skip
    one = report()
    run = ExperimentRun(id="0", created="2025-01-01", command="x", environment=one.run.environment, wall_seconds=1.0)
    return Reproduction(
        schema_version=1, kind="reproduction", run=run, experiment={"name": "cifar10", "preset": "short"}, model=MODEL,
        parameters=1, data=one.data, training_data_sha256="a" * 64, seeds=[0, 1, 2], cells=[],
        rows=rows(found, (0, 1, 2)), collapsed=["standard, stein/batch: collapsed"], notes=["a note"],
    )  # fmt: skip


@cache
def risks(settings: int):
    spreads = (0.0, 1.0, 10.0)[:settings]
    chosen = RiskSettings((5, 16, 64), (2, 30), spreads, estimators=("stein", "james-stein"), draws=50)
    return RiskStudy(chosen, tuple(simulate_risk(chosen)))


@cache
def constants():
    settings = LipschitzSettings(bn=("stein", "jsnorm", "james-stein"), channels=(4,), elements=(8,), spreads=(0.0,))
    return LipschitzStudy(settings, None, tuple(random_layers(settings)))


def _pair():
    return compare([Named("before.json", many_variants()), Named("after.json", replaced(many_variants()))])


REPORTS = (many_attacks, many_variants, controls, heat_map, measured, random_model)
EVERY_TABLE = {
    **{make.__name__: (lambda console, make=make: print_report(make(), console)) for make in REPORTS},
    "pair": lambda console: print_compare(_pair(), console),
    "leaderboard": lambda console: print_compare(board(), console),
    "gate": lambda console: print_gate(gate(many_variants(), many_variants()), console),
    "inspection": lambda console: print_inspection(inspection(), ("stein", "jsnorm", "james-stein"), console),
    "training": lambda console: print_training(trained(), Path("w.safetensors"), "w.svg", console),
    "dry run": lambda console: print_uncut(dry_run_table(dry_run()), console),
    "dry run of a sweep": lambda console: print_uncut(
        sweep_table({MODEL: dry_run(), "net.py:make": "it has no BN layer and no weights"}), console
    ),
    "reproduction": lambda console: print_reproduction(reproduction(), console),
    "risk": lambda console: print_risk(risks(1), console),
    "risks": lambda console: print_risk(risks(3), console),
    "constants": lambda console: print_lipschitz(constants(), console),
    **{
        f"list {what}": partial(print_listing, what, "")
        for what in ("attacks", "bn", "data", "batteries", "recipes")
    },
}  # fmt: skip
"""By name a function that prints to a console."""

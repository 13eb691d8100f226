"""Small hand-made reports: every number in them is chosen, none is measured."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.outcomes import hash_ids, pack_bits
from stein_bench.report import SCHEMA_VERSION, DataInfo, Diagnostic, Environment, ModelInfo, Preprocessing, Report, Run
from stein_bench.results import AttackResult, Clean, Outcomes, Spread, VariantResult, WeightsInfo

SAMPLES = 10
WEIGHTS = WeightsInfo(kind="fit", sha256="a" * 64)


def _attack(name="pgd", **changes):
    """An attack that broke 4 of 9 clean-correct samples out of 10."""
    fields = {
        "name": name,
        "backend": "torchattacks" if name.startswith("torchattacks.") else "native",
        "norm": "Linf",
        "eps": 8 / 255,
        "params": {"steps": 10, "alpha": 2 / 255, "random_start": True},
        "label": f"{name}:norm=Linf,eps={8 / 255!r}",
        "status": "ok",
        "message": "",
        "robust_accuracy": 0.5,
        "ci95": (0.237, 0.763),
        "assumes_independence": False,
        "attack_success_rate": 4 / 9,
        "invalid": 0,
        "over_budget": 0,
        "perturbation_linf": Spread(mean=0.03, median=0.031, max=8 / 255),
        "perturbation_l2": None,
        "forward_passes": 100,
        "backward_passes": 100,
        "seconds": 12.34,
    }
    return AttackResult(**{**fields, **changes})


def _failed(name="torchattacks.FAB", message="RuntimeError: no view of this layout"):
    return _attack(
        name, status="failed", message=message, robust_accuracy=None, ci95=None, attack_success_rate=None,
        perturbation_linf=None,
    )  # fmt: skip


def _variant(bn="sample", stats="running", attacks=None, **changes):
    attacks = [_attack()] if attacks is None else attacks
    done = [attack for attack in attacks if attack.robust_accuracy is not None]
    clean = np.arange(SAMPLES) > 0
    robust = clean & (np.arange(SAMPLES) > 4)
    worst = len(done) == len(attacks)
    fields = {
        "bn": bn,
        "stats": stats,
        "control": False,
        "converted_layers": 0,
        "skipped_layers": [],
        "layers_of_unknown_count": 0,
        "conversion": "none",
        "function_preserved": False,
        "weights": WEIGHTS,
        "clean": Clean(
            accuracy=0.9, ci95=(0.596, 0.982), assumes_independence=stats == "batch", nonfinite_outputs=0, seconds=0.5
        ),
        "attacks": attacks,
        "worst_case_accuracy": 0.5 if worst else None,
        "worst_case_ci95": (0.237, 0.763) if worst else None,
        "outcomes": Outcomes(
            samples=SAMPLES,
            sample_ids_sha256=hash_ids([f"digits/test/{i:04d}" for i in range(SAMPLES)]),
            clean_correct=pack_bits(clean),
            robust={attack.label: pack_bits(robust) for attack in done},
        ),
    }
    return VariantResult(**{**fields, **changes})


def _report(variants=None, diagnostics=None):
    environment = Environment(
        python="3.12.0", platform="Linux x86_64", packages={"torch": "2.6.0"}, device="cpu", threads=2,
        precision="fp32", git_commit=None,
    )  # fmt: skip
    return Report(
        schema_version=SCHEMA_VERSION,
        run=Run(
            id="00000000-0000-4000-8000-000000000000",
            created="2025-01-01T00:00:00+00:00",
            command="stein-bench evaluate resnet18 --attack pgd",
            config={"model": "resnet18", "attack": ["pgd"], "eps": [8 / 255]},
            config_sha256="c" * 64,
            seed=0,
            environment=environment,
            wall_seconds=13.0,
            preset=None,
        ),
        model=ModelInfo(
            name="timm:resnet18",
            source="resnet18",
            parameters=11_181_642,
            batchnorm_layers=20,
            classes=10,
            weights=WEIGHTS,
            preprocessing=Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), origin="timm"),
        ),
        data=DataInfo(
            name="digits", split="test", task="classification", classes=10, samples=SAMPLES, shape=(3, 32, 32),
            sha256="d" * 64,
        ),
        variants=[_variant()] if variants is None else variants,
        diagnostics=[
            Diagnostic(
                name="step-budget", variant=None, attack="pgd", status="pass", value=2.5,
                message="alpha·steps is 2.5 times eps",
            )
        ] if diagnostics is None else diagnostics,
    )  # fmt: skip


@pytest.fixture
def make_attack():
    return _attack


@pytest.fixture
def make_failed():
    return _failed


@pytest.fixture
def make_variant():
    return _variant


@pytest.fixture
def make_report():
    return _report


@pytest.fixture
def report():
    """Plain BN and a converted variant, two attacks each, and a diagnostic that warns."""
    attacks = [_attack("fgsm", params={}), _attack()]
    warning = Diagnostic(
        name="step-budget", variant=None, attack="pgd", status="warn", value=1.5,
        message="alpha·steps is 1.5 times eps; below 2 it cannot cross its ball: give more steps or a larger alpha",
    )  # fmt: skip
    converted = _variant("stein", attacks=attacks, converted_layers=20, conversion="after-training")
    return _report([_variant(attacks=attacks), converted], [warning])

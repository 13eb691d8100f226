"""Hand-made reports from outcomes: every number in them follows from the bits that a test chooses."""

from __future__ import annotations

import numpy as np

from stein_bench.measures import RightOrWrong
from stein_bench.measures.groups import group_results
from stein_bench.report.document import (
    SCHEMA_VERSION,
    DataInfo,
    Diagnostic,
    Environment,
    ModelInfo,
    Preprocessing,
    Report,
    Run,
)
from stein_bench.report.packing import hash_ids, pack_bits
from stein_bench.report.results import AttackResult, Clean, CorruptionResult, Outcomes, VariantResult, WeightsInfo
from stein_bench.statistics.rates import accuracy, mean_accuracy

WEIGHTS = WeightsInfo(kind="fit", sha256="a" * 64)
PGD, FGSM = "pgd", "fgsm"


def bits(wrong, n=100):
    """Return n outcomes of which those in `wrong` (a number: the first ones) are wrong."""
    right = np.ones(n, np.bool_)
    right[np.arange(wrong) if isinstance(wrong, int) else list(wrong)] = False
    return right


def label(name, eps=8 / 255):
    return f"{name}:norm=Linf,eps={eps!r}"


def attack(name, right=None, batch_dependent=False, **changes):
    """An attack with these outcomes; without outcomes, one that has no result."""
    rate = None if right is None else accuracy(right)
    fields = {
        "name": name,
        "backend": "torchattacks" if name.startswith("torchattacks.") else "native",
        "norm": "Linf",
        "eps": 8 / 255,
        "params": {},
        "label": label(name, changes.get("eps", 8 / 255)),
        "status": "failed" if rate is None else "ok",
        "message": "RuntimeError: no memory" if rate is None else "",
        "robust_accuracy": None if rate is None else rate.value,
        "ci95": None if rate is None else (rate.low, rate.high),
        "assumes_independence": batch_dependent,
        "attack_success_rate": None,
        "invalid": 0,
        "over_budget": 0,
        "perturbation_linf": None,
        "perturbation_l2": None,
        "forward_passes": 100,
        "backward_passes": 100,
        "seconds": 1.0,
    }
    return AttackResult(**{**fields, **changes})


def variant(bn="sample", stats="running", clean=None, attacks=None, ids="digits", **changes):
    """A variant from its clean outcomes and those of its attacks, by name or as (name, eps)."""
    clean = bits(10) if clean is None else clean
    attacks = {FGSM: bits(40), PGD: bits(50)} if attacks is None else attacks
    batch_dependent = stats == "batch"
    results, robust = [], {}
    for key, right in attacks.items():
        if isinstance(right, AttackResult):
            results.append(right)
            continue
        name, eps = key if isinstance(key, tuple) else (key, 8 / 255)
        results.append(attack(name, right, batch_dependent, eps=eps))
        robust[results[-1].label] = right
    rate = accuracy(clean)
    worst = accuracy(np.stack(list(robust.values())).all(axis=0)) if robust and len(robust) == len(results) else None
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
            accuracy=rate.value if rate.n else 0.0, ci95=(rate.low, rate.high), assumes_independence=batch_dependent,
            nonfinite_outputs=0, seconds=0.5,
        ),
        "attacks": results,
        "worst_case_accuracy": None if worst is None else worst.value,
        "worst_case_ci95": None if worst is None else (worst.low, worst.high),
        "outcomes": Outcomes(
            samples=clean.size,
            sample_ids_sha256=hash_ids([f"{ids}/{i}" for i in range(clean.size)]),
            clean_correct=pack_bits(clean),
            robust={name: pack_bits(right) for name, right in robust.items()},
        ),
    }  # fmt: skip
    return VariantResult(**{**fields, **changes})


def corruption(label, *draws, batch_dependent=False, **changes):
    """A corruption with these outcomes, one per draw; its name and parameters are in the label."""
    name, _, given = label.partition(":")
    params = dict(part.split("=", 1) for part in given.split(",")) if given else {}
    rate = mean_accuracy(list(draws)) if draws else None
    worst = accuracy(np.stack(draws).all(axis=0)) if draws else None
    fields = {
        "name": name,
        "params": {key: NUMBERS.get(key, str)(value) for key, value in params.items()},
        "label": label,
        "status": "failed" if rate is None else "ok",
        "message": "RuntimeError: no memory" if rate is None else "",
        "accuracy": None if rate is None else rate.value,
        "ci95": None if rate is None else (rate.low, rate.high),
        "assumes_independence": batch_dependent,
        "accuracies": [float(draw.mean()) for draw in draws],
        "worst_accuracy": None if worst is None else worst.value,
        "worst_ci95": None if worst is None else (worst.low, worst.high),
        "forward_passes": 100,
        "seconds": 1.0,
    }
    return CorruptionResult(**{**fields, **changes})


NUMBERS = {"severity": int, "seeds": int, "std": float, "amount": float}


def corrupted(one, found):
    """Return a variant with corruptions: by label the outcomes of their draws, or of the only one."""
    draws = {label: given if isinstance(given, (list, tuple)) else [given] for label, given in found.items()}
    kept = {label: [pack_bits(draw) for draw in own] for label, own in draws.items()}
    return replaced(
        one,
        corruptions=[corruption(label, *own, batch_dependent=one.stats == "batch") for label, own in draws.items()],
        outcomes=replaced(one.outcomes, corrupted_correct={label: own for label, own in kept.items() if own}),
    )


def in_cells(one, *cells):
    """Return a variant whose samples are base images in these cells: with results by cell and clustered intervals."""
    clean, robust = RightOrWrong.unpacked(replaced(one.outcomes, cluster_size=len(cells) or None))

    def results(outcome, share):
        rate = outcome.accuracy()
        return {share: rate.value, "ci95": (rate.low, rate.high), "groups": group_results([outcome], cells)}

    worst = RightOrWrong.worst_case(list(robust.values()))
    rate = worst.accuracy()
    return replaced(
        one,
        clean=replaced(one.clean, **results(clean, "accuracy")),
        attacks=[replaced(a, **results(robust[a.label], "robust_accuracy")) for a in one.attacks],
        worst_case_accuracy=rate.value,
        worst_case_ci95=(rate.low, rate.high),
        worst_case_groups=group_results([worst], cells),
        outcomes=replaced(one.outcomes, cluster_size=len(cells) if len(cells) > 1 else None),
    )


def diagnostic(status="fail", **changes):
    fields = {"name": "stronger", "variant": None, "attack": None, "value": 0.1, "message": "pgd is weaker than fgsm"}
    return Diagnostic(**{**fields, "status": status, **changes})


def report(*variants, diagnostics=(), model="timm:resnet18", data="d", preset=None, config=None, seed=0, number=0):
    """A report of these variants; `number` tells its run from others."""
    variants = list(variants) or [variant()]
    environment = Environment(
        python="3.12.0", platform="Linux x86_64", packages={"torch": "2.6.0"}, device="cpu", threads=2,
        precision="fp32", git_commit=None,
    )  # fmt: skip
    return Report(
        schema_version=SCHEMA_VERSION,
        run=Run(
            id=f"00000000-0000-4000-8000-{number:012d}",
            created=f"2025-01-0{number + 1}T00:00:00+00:00",
            command="stein-bench evaluate resnet18",
            config={"model": "resnet18", "batch-size": 10} if config is None else config,
            config_sha256="c" * 64,
            seed=seed,
            environment=environment,
            wall_seconds=13.0,
            preset=preset,
        ),
        model=ModelInfo(
            name=model, source="resnet18", parameters=11_181_642, batchnorm_layers=20, classes=10, weights=WEIGHTS,
            preprocessing=Preprocessing(mean=(0.5,), std=(0.25,), origin="timm"),
        ),
        data=DataInfo(
            name="digits", split="test", task="classification", classes=10,
            samples=variants[0].outcomes.samples if variants else 0, shape=(3, 32, 32), sha256=data * 64,
        ),
        variants=variants,
        diagnostics=list(diagnostics),
    )  # fmt: skip


def doubtful(one, number=-1):
    """Return a variant with one of its attacks called invalid; its outcomes stay."""
    attacks = list(one.attacks)
    attacks[number] = replaced(attacks[number], status="invalid", message="2 inputs are outside", invalid=2)
    return replaced(one, attacks=attacks)


def replaced(part, /, **changes):
    """Return a pydantic model with some fields replaced."""
    return part.model_copy(update=changes)

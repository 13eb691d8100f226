"""Prints what stein-bench says of every network of the zoo: ``python -m tests.defences.table [NAME …]``.

Columns: the accuracy on clean images; the robust accuracy within the Linf ball of radius 0.2 that is true, as far as
is known, and those that PGD and 20 steps of auto-PGD on two losses report; with ``--autoattack`` that of the battery
``standard``; with ``--adaptive`` that of the adaptive attack and its passes per sample, forward and backward; and the
sanity checks that warn or fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stein_bench.config import RunConfig
from stein_bench.evaluation.run import run_evaluation
from stein_bench.report.document import Report
from stein_bench.report.results import AttackResult
from tests.defences import zoo
from tests.defences.truth import EPS, SAMPLES
from tests.defences.weights import path

ADAPTIVE = "adaptive:queries=1000"
"""With a fifth of the queries that it makes by default on networks that hide their gradients."""
PLAIN = ("pgd", "apgd-ce:steps=20", "apgd-dlr:steps=20")
SAME_FUNCTION = (
    zoo.Trained, zoo.Dropped, zoo.SaturatedSoftmax, zoo.ClampedSoftmax, zoo.SharpLogSoftmax, zoo.Argmax,
    zoo.HardOutputs, zoo.TinyLogits, zoo.HugeLogits, zoo.NoGradients, zoo.NoImageGradients, zoo.DetachedFeatures,
    zoo.ZeroGradients, zoo.NegatedGradients, zoo.NoiseIfTracked, zoo.WrongIfEnabled, zoo.FlatIfTracked,
    zoo.NanGradients, zoo.ClampedPixels, zoo.PositivePixels,
)  # fmt: skip
"""Networks that predict what the undefended one does, while they are not attacked."""
KNOWN = {
    **{network.__name__: 38.0 for network in SAME_FUNCTION},
    "Standard": 0.0, "Normalized": 53.0, "RoundedSoftmax": 38.0, "RoundedLogits": 39.0, "RoundedPixels": 6.0,
    "BytePixels": 38.0, "LookupPixels": 30.0, "BinaryPixels": 62.0, "SignFeatures": 0.0, "JpegPixels": 40.0,
    "MedianPixels": 21.0, "SmoothedPixels": 39.0, "SawtoothPixels": 41.0, "SparseFeatures": 39.0, "RandomNoise": 50.0,
    "RandomShift": 20.0,
}  # fmt: skip
"""Robust accuracy in percent on the first `SAMPLES` test images, as `truth` finds it: upper bounds."""


def config(name: str, *attacks: str, samples: int = SAMPLES, **options: object) -> RunConfig:
    """Return the configuration that evaluates a network of the zoo."""
    network = getattr(zoo, name)
    fields = {
        "model": f"{Path(zoo.__file__)}:{name}", "weights": str(path(network)), "mean": (0.0,), "std": (1.0,),
        "eps": (EPS,), "limit": samples, "attack": attacks, **options,
    }  # fmt: skip
    return RunConfig.model_validate(fields)


def flagged(report: Report) -> dict[str, str]:
    """Return the checks that warn or fail, by name; of several results of a check the worst."""
    found: dict[str, str] = {}
    for check in report.diagnostics:
        if check.status != "pass" and found.get(check.name) != "fail":
            found[check.name] = check.status
    return found


def row(name: str, *, autoattack: bool, adaptive: bool) -> list[str]:
    """Evaluate a network of the zoo and return its row."""
    report = run_evaluation(config(name, *PLAIN))
    variant = report.variants[0]
    clean = f"{100 * variant.clean.accuracy:.0f}"
    plain = [_robust(attack) for attack in variant.attacks]
    known = f"{KNOWN[name]:.0f}" if name in KNOWN else ""
    checks = ", ".join(f"{check}{'' if status == 'fail' else ' (warns)'}" for check, status in flagged(report).items())
    attacked = [
        *(_attacked(name, "autoattack")[:1] if autoattack else []), *(_attacked(name, ADAPTIVE) if adaptive else [])
    ]  # fmt: skip
    return [name, clean, known, *plain, *attacked, checks]


def _attacked(name: str, spec: str) -> list[str]:
    """Return the robust accuracy and the passes per sample."""
    (attack,) = run_evaluation(config(name, spec)).variants[0].attacks
    passes = (attack.forward_passes + attack.backward_passes) / SAMPLES
    return [_robust(attack), f"{passes:,.0f}"]


def _robust(attack: AttackResult) -> str:
    """Return the robust accuracy in percent, of a random network the expected one."""
    value = attack.robust_accuracy if attack.expected_accuracy is None else attack.expected_accuracy.value
    return "" if value is None else f"{100 * value:.0f}"


def main(arguments: list[str]) -> None:
    """Print the table in Markdown, row by row."""
    autoattack, adaptive = "--autoattack" in arguments, "--adaptive" in arguments
    names = [name for name in arguments if not name.startswith("--")]
    head = [
        *("network", "clean", "truth", "PGD-10", "APGD-CE-20", "APGD-DLR-20"),
        *(["AutoAttack"] if autoattack else []), *(["adaptive", "passes"] if adaptive else []), "checks",
    ]  # fmt: skip
    _print(head)
    _print(["---", *["---:"] * (len(head) - 2), "---"])
    for network in (*zoo.SOUND, *zoo.DEFENCES):
        if not names or network.__name__ in names:
            _print(row(network.__name__, autoattack=autoattack, adaptive=adaptive))


def _print(cells: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

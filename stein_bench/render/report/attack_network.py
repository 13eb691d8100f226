"""The note on an attack network that was not the evaluated model itself."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.document import Report


def attack_network_notes(report: Report) -> Iterator[str]:
    """Yield how the attack network differed and how many of its verdicts; nothing if attacks used the evaluated one."""
    how = report.run.attack_network
    if how is None:
        return
    attacks = [attack for variant in report.variants for attack in variant.attacks]
    found = [attack.verdict_differences for attack in attacks if attack.verdict_differences is not None]
    if not found:
        yield f"attack network: {how.summary()}; all figures are those of the evaluated model"
    else:
        yield (
            f"attack network: {how.summary()}; its verdict differs from the evaluated model's "
            f"({report.run.environment.precision}) on {sum(found):,} of {len(found) * report.data.samples:,} "
            "adversarial inputs; all figures are those of the evaluated model"
        )
    if how.compile:
        yield "times of attacks include compilation"

"""What must be known of a variant beside its figures: results that do not count, failed checks, how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from stein_bench.comparison.conclusion import BATCH_CHECKS
from stein_bench.comparison.contrasts import COLLAPSE
from stein_bench.comparison.entries import Entry
from stein_bench.comparison.pairing import WORST_CASE
from stein_bench.report.attack_names import titles

MASKING = frozenset({
    "iterated-vs-one-step", "white-box-vs-black-box", "probe-iterated-vs-one-step", "probe-white-box-vs-noise",
    "unbounded-attack", "input-gradients", "gradient-matches-loss", "same-without-gradients",
})  # fmt: skip
"""Checks that fail where gradients are masked."""


class Remark(NamedTuple):
    """One remark: `fail` for what cannot be trusted or failed, `warn` for a limitation, `note` for the rest."""

    kind: Literal["fail", "warn", "note"]
    text: str


def remarks(entries: Sequence[Entry]) -> list[list[Remark]]:
    """Return the remarks on each entry; those on seeds and repeated runs depend on all of them."""
    seeds: dict[tuple[object, ...], set[int]] = {}
    runs = Counter((entry.subject.report.run.id, entry.subject.name) for entry in entries)
    for entry in entries:
        seeds.setdefault(_alike(entry), set()).add(entry.subject.report.run.seed)
    return [
        [*_untrusted(entry), *_failed(entry), *_made(entry), *_repeated(entry, seeds, runs)]
        for entry in entries
    ]  # fmt: skip


def _alike(entry: Entry) -> tuple[object, ...]:
    """Return all that is equal for runs that differ in their seed."""
    subject = entry.subject
    report, variant = subject.report, subject.variant
    labels = frozenset(attack.label for attack in variant.attacks)
    return (*entry.key, report.model.name, variant.bn, variant.weights.kind, variant.conversion, labels)


def _untrusted(entry: Entry) -> Iterator[Remark]:
    names = titles(entry.subject.variant.attacks)
    for key, reason in entry.own_doubts.items():
        if key != WORST_CASE:
            yield Remark("fail", f"{names.get(key, key)}: {reason}")


def _failed(entry: Entry) -> Iterator[Remark]:
    """Yield the failed checks. Under batch statistics, verdicts that depend on the batch are a limitation."""
    subject = entry.subject
    failed = dict.fromkeys(
        check.name
        for check in subject.report.diagnostics
        if check.status == "fail" and check.variant in (None, subject.name)
    )
    depends = [name for name in failed if name in BATCH_CHECKS and subject.variant.stats == "batch"]
    masked = [name for name in failed if name in MASKING]
    others = [name for name in failed if name not in (*depends, *masked, COLLAPSE)]
    if COLLAPSE in failed:
        yield Remark("fail", "clean accuracy has collapsed: robust accuracies are meaningless")
    if masked:
        yield Remark("fail", f"gradients may be masked, robust accuracy may be far lower: {', '.join(masked)} failed")
    if others:
        yield Remark("fail", f"failed: {', '.join(others)}")
    if depends:
        yield Remark("warn", "verdicts hold only for these exact batches")
    if any(info.hidden for info in subject.variant.adaptive or ()):
        yield Remark("warn", "hides its gradients; attacked adaptively")


def _made(entry: Entry) -> Iterator[Remark]:
    report, variant = entry.subject.report, entry.subject.variant
    if variant.function_preserved and variant.stats == "running":
        yield Remark("warn", "computes the original network's function by construction: not a result")
    if variant.weights.kind == "none":
        yield Remark("warn", "untrained")
    if report.run.attack_network is not None:
        yield Remark("warn", f"attacks ran on another network: {report.run.attack_network.summary()}")
    if report.run.preset:
        yield Remark("note", f"preset {report.run.preset}: no paired tests")
    if variant.clean.expected_accuracy is not None:
        yield Remark("note", "random model: a sample counts as right if more than half of its draws are")
    for open_ in (attack.unsearched for attack in variant.attacks):
        if open_ is not None and open_.at_most_lower:
            text = (
                f"{open_.attack} searched a part of the survivors: at most {100 * open_.at_most_lower:.1f} points lower"
            )
            yield Remark("note", text)
    if variant.outcomes.cluster_size:
        yield Remark(
            "note", f"{variant.outcomes.cluster_size} versions of each base image: intervals count base images"
        )
    if variant.control:
        yield Remark("note", "control")


def _repeated(
    entry: Entry, seeds: dict[tuple[object, ...], set[int]], runs: Counter[tuple[str, str]]
) -> Iterator[Remark]:
    run = entry.subject.report.run
    count = len(seeds[_alike(entry)])
    if count > 1:
        yield Remark("note", f"seed {run.seed}, one of {count}")
    if runs[run.id, entry.subject.name] > 1:
        yield Remark("warn", "this run is listed more than once")

"""Matching a report's accuracies with those of its baseline: by identity, never by position or similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stein_bench.comparison.pairing import CLEAN, WORST_CASE, Subject, subject_differences
from stein_bench.comparison.policy import Policy, Target
from stein_bench.report.attack_names import titles


@dataclass(frozen=True)
class Pair:
    """A variant in the report and in the baseline, with the labels of the attacks that have a result in both."""

    now: Subject
    before: Subject
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """A variant, or one of its attacks, with a result in the baseline and none in the report."""

    variant: str
    accuracy: str | None
    message: str


@dataclass
class Matching:
    """Pairs, what is missing, what is new, and why something cannot be compared honestly."""

    pairs: list[Pair] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def targets(subject: Subject) -> list[Target]:
    """Return every accuracy of a variant that rules can match."""
    attacks = [Target(subject.name, a.label, a.name, a.eps) for a in subject.variant.attacks]
    return [Target(subject.name, CLEAN, CLEAN), *attacks, Target(subject.name, WORST_CASE, WORST_CASE)]


def match(now: Sequence[Subject], before: Sequence[Subject], policy: Policy) -> Matching:
    """Match the variants and attacks of two reports by identity, except those that the policy ignores.

    A variant or attack of the baseline that the report lacks is missing. But if the report has it in another form that
    the baseline lacks (the variant under the other statistics source, the attack with another ε or other parameters),
    it cannot be compared, and is refused.
    """
    matching = Matching()
    by_name = {subject.name: subject for subject in now}
    known = {subject.name for subject in before}
    for old in before:
        if all(policy.limits(target).ignore for target in targets(old)):
            continue
        if old.name in by_name:
            _match_attacks(by_name[old.name], old, policy, matching)
            continue
        instead = [s.name for s in now if s.variant.bn == old.variant.bn and s.name not in known]
        if instead:
            matching.refusals.append(f"other source of statistics: {instead[0]}, not {old.name}")
        else:
            matching.missing.append(Missing(old.name, None, f"{old.name}: the variant is missing from the report"))
    matching.new += [f"{name} is new: the baseline has no such variant" for name in by_name if name not in known]
    return matching


def _match_attacks(now: Subject, before: Subject, policy: Policy, matching: Matching) -> None:
    matching.refusals += [f"{now.name}: {line}" for line in subject_differences(now, before)]
    matching.missing += _missing(now, before, policy, matching.refusals)
    common = tuple(label for label in before.battery if label in now.battery)
    matching.pairs.append(Pair(now, before, common))
    names = titles(now.variant.attacks)
    matching.new += [
        f"{now.name}, {names[label]} is new: the baseline has no such attack"
        for label in now.battery
        if label not in before.battery
    ]


def _missing(now: Subject, before: Subject, policy: Policy, refusals: list[str]) -> Iterator[Missing]:
    names = titles(before.variant.attacks)
    here = {attack.label: attack for attack in now.variant.attacks}
    there = {attack.label for attack in before.variant.attacks}
    for target in targets(before):
        label = target.accuracy
        if label not in before.battery or label in now.battery or policy.limits(target).ignore:
            continue
        instead = [a.label for a in here.values() if a.name == target.name and a.label not in there]
        if label in here:
            reason = f"has no result: {here[label].status}: {here[label].message}".rstrip(": ")
            yield Missing(now.name, label, f"{now.name}, {names[label]} {reason}")
        elif instead:
            refusals.append(f"{now.name}: the attack has other parameters: {instead[0]}, not {label}")
        else:
            yield Missing(now.name, label, f"{now.name}, {names[label]}: the attack is missing from the report")

"""Matching a report's accuracies with those of its baseline: by identity, never by position or similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stein_bench.comparison.corruptions import CORRUPTIONS, Average, averages, listed
from stein_bench.comparison.pairing import (
    CLEAN,
    WORST_CASE,
    Subject,
    common_averages,
    other_draws,
    own_averages,
    subject_differences,
)
from stein_bench.comparison.policy import Policy, Target
from stein_bench.report.attack_names import titles


@dataclass(frozen=True)
class Pair:
    """A variant in the report and in the baseline, with what has a result in both: attacks by label, corruptions."""

    now: Subject
    before: Subject
    labels: tuple[str, ...]
    averages: tuple[Average, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A variant, one of its attacks or corruptions, with a result in the baseline and none in the report."""

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
    corrupted = [target_of(subject, average) for average in own_averages(subject)]
    return [Target(subject.name, CLEAN, CLEAN), *attacks, Target(subject.name, WORST_CASE, WORST_CASE), *corrupted]


def target_of(subject: Subject, average: Average) -> Target:
    """Return a mean over corruptions as rules match it."""
    return Target(subject.name, average.key, average.name)


def match(now: Sequence[Subject], before: Sequence[Subject], policy: Policy) -> Matching:
    """Match the variants, attacks and corruptions of two reports by identity, except those that the policy ignores.

    A variant, attack or corruption of the baseline that the report lacks is missing. But if the report has it in
    another form that the baseline lacks (the variant under the other statistics source, the attack with another ε or
    other parameters, the corruption at other severities), it cannot be compared, and is refused.
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
    corrupted = tuple(common_averages(now, before))
    matching.pairs.append(Pair(now, before, common, corrupted))
    _match_corruptions(now, before, policy, matching)
    matching.refusals += [
        f"{now.name}, {average.title}: the corruption has another number of draws"
        for average in corrupted
        if other_draws(now, before, average)
    ]
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


def _match_corruptions(now: Subject, before: Subject, policy: Policy, matching: Matching) -> None:
    """Note the corruptions that only one of the two has; those of one name are told together."""
    here, there = ({one.label: one for one in subject.variant.corruptions} for subject in (now, before))
    new = [one for label, one in here.items() if label not in there]
    if new:
        matching.new.append(f"{now.name}: corruptions that the baseline does not have: {listed(new)}")
    needed = {
        label
        for average in own_averages(before)
        if not policy.limits(target_of(before, average)).ignore
        for label in average.labels
    }
    gone = [one for label, one in there.items() if label not in here and label in needed]
    for name in dict.fromkeys(one.name for one in gone):
        own, instead = ([one for one in some if one.name == name] for some in (gone, new))
        if instead:
            matching.refusals.append(
                f"{now.name}: the corruption has other parameters: {listed(instead)}, not {listed(own)}"
            )
            continue
        for average in averages(own):
            if average.key != CORRUPTIONS:
                which = listed(there[label] for label in average.labels)
                message = f"{now.name}, {which}: the corruption is missing from the report"
                matching.missing.append(Missing(now.name, average.key, message))

"""The gate: turns a report, its baseline and a policy into a verdict. Pure functions, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from stein_bench.comparison.corruptions import Average, together, versions, versus, worse
from stein_bench.comparison.gate_result import (
    GATE_VERSION,
    Comparison,
    Finding,
    Floor,
    GateResult,
    Kind,
    Level,
    Origin,
    Status,
)
from stein_bench.comparison.leaderboard import GRADED, MAJORITIES
from stein_bench.comparison.matching import Missing, Pair, match, target_of, targets
from stein_bench.comparison.pairing import (
    CLEAN,
    WORST_CASE,
    Subject,
    distrust,
    own_averages,
    report_differences,
    subjects,
)
from stein_bench.comparison.policy import Limits, Policy
from stein_bench.measures import Outcome
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.results import Figure, headline
from stein_bench.statistics.class_counts import least_p
from stein_bench.statistics.paired_tests import BATCHES, LEAST_BATCHES, Paired, detectable_drop, holm

RANKS = {"error": 0, "warning": 1, "notice": 2, "regression": 0, "unproven": 1, "unchanged": 2, "improved": 3}


def gate(report: Report, baseline: Report, policy: Policy | None = None) -> GateResult:
    """Judge a report against its baseline.

    The order of variants and attacks in the reports makes no difference.

    Args:
        report: the report to judge.
        baseline: the report to compare with, usually an earlier report of the same command.
        policy: tolerances, floors and failure rules; None for the defaults.

    Raises:
        UsageError: a rule of the policy matches nothing in either report, or packed outcomes are damaged.
    """
    policy = policy or Policy()
    now, before = subjects(report, "the report"), subjects(baseline, "the baseline")
    policy.check_rules([target for subject in (*now, *before) for target in targets(subject)])
    matched = match(now, before, policy)
    refusals = [f"the report: {line}" for line in distrust(report, now)]
    refusals += [f"the baseline: {line}" for line in distrust(baseline, before)]
    refusals += [*report_differences(report, baseline), *matched.refusals]
    comparisons = [] if refusals else _compared(matched.pairs, policy)
    floors = [] if refusals else _floors(now, policy)
    if not (refusals or comparisons or floors or matched.missing):
        refusals.append("nothing is gated: the policy ignores every accuracy that both reports have")
    findings = [_finding("error", "refused", line) for line in dict.fromkeys(refusals)]
    if not refusals:
        findings += [finding for comparison in comparisons for finding in _judged(comparison, policy)]
        findings += map(_missing, sorted(matched.missing, key=lambda missing: missing.message))
        findings += [finding for floor in floors for finding in _held(floor)]
        findings += _diagnostics(report, policy)
        findings += _blind(comparisons, policy)
        findings += [_finding("notice", "new", line) for line in sorted(matched.new)]
        findings += [_finding("notice", "note", line) for line in _notes(report, baseline)]
    failed = any(finding.level == "error" for finding in findings)
    return GateResult(
        gate_version=GATE_VERSION,
        verdict="refused" if refusals else "failed" if failed else "passed",
        report=_origin(report),
        baseline=_origin(baseline),
        alpha=policy.alpha,
        tests=sum(comparison.p_drop is not None for comparison in comparisons),
        comparisons=tuple(comparisons),
        floors=tuple(floors),
        findings=tuple(sorted(findings, key=lambda finding: RANKS[finding.level])),
    )


def _origin(report: Report) -> Origin:
    run = report.run
    return Origin(id=run.id, created=run.created, model=report.model.name, git_commit=run.environment.git_commit)


def _finding(
    level: Level, kind: Kind, message: str, variant: str | None = None, accuracy: str | None = None
) -> Finding:
    return Finding(level=level, kind=kind, variant=variant, accuracy=accuracy, message=message)


@dataclass(frozen=True)
class _Gated:
    """One gated accuracy with its test; `versions` of each sample are counted in it."""

    pair: Pair
    accuracy: str
    title: str
    limits: Limits
    result: Paired
    newly_broken: tuple[int, ...]
    versions: int = 1


def _compared(pairs: Sequence[Pair], policy: Policy) -> list[Comparison]:
    """Test every gated accuracy, adjust for the number of tests, and sort worst first."""
    gated = [found for pair in pairs for found in _gated(pair, policy)]
    tested = [i for i, found in enumerate(gated) if found.result.p_drop is not None]
    drops = dict(zip(tested, holm([gated[i].result.p_drop or 0.0 for i in tested]), strict=True))
    gains = dict(zip(tested, holm([gated[i].result.p_gain or 0.0 for i in tested]), strict=True))
    comparisons = [
        _comparison(found, drops.get(i), gains.get(i), policy.alpha, len(tested)) for i, found in enumerate(gated)
    ]
    return sorted(comparisons, key=lambda c: (RANKS[c.status], c.difference, c.variant, c.accuracy))


def _gated(pair: Pair, policy: Policy) -> Iterable[_Gated]:
    for target in targets(pair.now):
        if target.accuracy not in (CLEAN, WORST_CASE, *pair.labels):
            continue
        if target.accuracy == WORST_CASE and len(pair.labels) < 2:
            continue  # equal to the only attack's accuracy: another test would only make all of them stricter
        limits = policy.limits(target)
        if limits.ignore:
            continue
        before, now = (_outcome(subject, target.accuracy, pair.labels) for subject in (pair.before, pair.now))
        lost = np.flatnonzero(now.worse_than(before))[: policy.list_samples]
        result = before.versus(now, pair.now.batch_size)
        yield _Gated(pair, target.accuracy, _title(pair.now, target.accuracy), limits, result, tuple(lost.tolist()))
    yield from _gated_corruptions(pair, policy)


def _gated_corruptions(pair: Pair, policy: Policy) -> Iterable[_Gated]:
    now, before, batch_size = pair.now.corrupted, pair.before.corrupted, pair.now.batch_size
    for average in pair.averages:
        limits = policy.limits(target_of(pair.now, average))
        if limits.ignore:
            continue
        number = versions(now, average.labels)
        there, here = together(before, average.labels), together(now, average.labels)
        lost = worse(here, there, number)[: policy.list_samples]
        result = versus(there, here, batch_size, number)
        yield _Gated(pair, average.key, average.title, limits, result, tuple(lost.tolist()), number)


def _outcome(subject: Subject, accuracy: str, labels: Sequence[str]) -> Outcome:
    # Over the attacks that both reports have, so that a new attack is not a regression.
    return subject.worst_case(labels) if accuracy == WORST_CASE else subject.outcomes[accuracy]


def _comparison(gated: _Gated, drop: float | None, gain: float | None, alpha: float, tests: int) -> Comparison:
    result, tolerance, subject = gated.result, gated.limits.tolerance, gated.pair.now
    seen = None if drop is None else _detectable(result, tolerance, alpha, tests)
    return Comparison(
        variant=subject.name,
        accuracy=gated.accuracy,
        title=gated.title,
        samples=result.n // gated.versions,
        before=result.first,
        now=result.second,
        difference=result.difference,
        interval=result.interval,
        lost=result.lost,
        gained=result.gained,
        tolerance=tolerance,
        p_drop=result.p_drop,
        p_drop_adjusted=drop,
        p_gain_adjusted=gain,
        detectable_drop=seen,
        assumes_independence=subject.batch_size is not None,
        status=_status(_fall(result), tolerance, alpha, drop, gain),
        newly_broken=gated.newly_broken,
        graded=result.graded,
        flipped=None if result.flipped == BATCHES else result.flipped,
        versions=None if gated.versions == 1 else gated.versions,
    )


def _detectable(result: Paired, tolerance: float, alpha: float, tests: int) -> float | None:
    if not result.graded:
        return detectable_drop(tolerance, alpha, tests, result.n, result.units)
    # An mIoU may fall by as little as one pixel in every image: only the smallest possible p limits detection.
    return tolerance if tests * least_p(result.units) < alpha else None


def _fall(result: Paired) -> Fraction:
    """Return by how much the first figure exceeds the second; exact for counted samples."""
    if result.graded:
        return Fraction(repr(round(-result.difference, 12)))
    return Fraction(result.lost - result.gained, max(result.n, 1))


def judge(
    lost: int, gained: int, n: int, tolerance: float, alpha: float, drop: float | None, gain: float | None
) -> Status:
    """Return the status of a change of accuracy, from the samples `lost` and `gained` of `n`.

    A drop beyond the tolerance is a regression if its adjusted p, `drop`, is below `alpha`, else unproven; a gain
    beyond it is an improvement if its adjusted p, `gain`, is below `alpha`. None means that there was no test. The
    tolerance is treated as the decimal number that was written: 7 of 100 do not exceed 0.07.
    """
    return _status(Fraction(lost - gained, max(n, 1)), tolerance, alpha, drop, gain)


def _status(fall: Fraction, tolerance: float, alpha: float, drop: float | None, gain: float | None) -> Status:
    allowed = Fraction(repr(tolerance))
    if fall > allowed:
        return "regression" if drop is not None and drop < alpha else "unproven"
    if -fall > allowed and gain is not None and gain < alpha:
        return "improved"
    return "unchanged"


def _title(subject: Subject, accuracy: str) -> str:
    names = {CLEAN: "clean", WORST_CASE: "worst case", **titles(subject.variant.attacks)}
    return f"{names[accuracy]} mIoU" if subject.report.data.task == "segmentation" else names[accuracy]


def _judged(comparison: Comparison, policy: Policy) -> Iterable[Finding]:
    shares = f"{100 * comparison.now:.1f} %, {100 * comparison.before:.1f} % before"
    what = f"{comparison.variant}, {comparison.title}: {shares}"
    unit = "samples" if comparison.versions is None else "corrupted versions"
    lost, gained = ("images worse", "better") if comparison.graded else (f"{unit} newly wrong", "newly right")
    of = comparison.samples * (comparison.versions or 1)
    counted = f"{comparison.lost} of {of} {lost}, {comparison.gained} {gained}"
    p = comparison.p_drop_adjusted
    if comparison.status == "regression":
        message = f"{what}; {counted}; adjusted p = {p:.2g}"
        yield _finding("error", "regression", message, comparison.variant, comparison.accuracy)
    elif comparison.status == "unproven":
        alone = BATCHES if comparison.assumes_independence else "samples"
        untested = f"below {LEAST_BATCHES} {comparison.flipped or alone} there is no test"
        reason = f"adjusted p = {p:.2g}" if p is not None else untested
        message = f"{what}; {counted}; beyond the tolerance but not proven ({reason})"
        level: Level = "error" if policy.unproven == "fail" else "warning"
        yield _finding(level, "unproven", message, comparison.variant, comparison.accuracy)
    elif comparison.status == "improved":
        yield _finding("notice", "improved", f"{what}; {counted}", comparison.variant, comparison.accuracy)


def _floors(found: Sequence[Subject], policy: Policy) -> list[Floor]:
    """Return every floor that the policy sets for these variants, violated ones first."""
    floors = [floor for subject in found for floor in _floors_of(subject, policy)]
    return sorted(floors, key=lambda floor: (floor.held, floor.variant, floor.accuracy))


def _floors_of(subject: Subject, policy: Policy) -> Iterable[Floor]:
    variant = subject.variant
    clean = variant.clean
    values = {a.label: _value(a.robust_accuracy, a.metrics) for a in variant.attacks}
    values[CLEAN] = _value(clean.accuracy, clean.metrics)
    values[WORST_CASE] = _value(variant.worst_case_accuracy, variant.worst_case_metrics)
    names = {CLEAN: _title(subject, CLEAN), WORST_CASE: _title(subject, WORST_CASE)}
    names |= {attack.label: _title(subject, attack.label) for attack in variant.attacks}
    for average in own_averages(subject):
        names[average.key] = average.title
        values[average.key] = _average(subject, average)
    for target in targets(subject):
        limits = policy.limits(target)
        if limits.minimum is None or limits.ignore:
            continue
        value = values[target.accuracy]
        yield Floor(
            variant=subject.name,
            accuracy=target.accuracy,
            title=names[target.accuracy],
            minimum=limits.minimum,
            value=value,
            held=value is not None and value >= limits.minimum,
        )


def _value(share: float | None, metrics: dict[str, Figure] | None) -> float | None:
    return None if share is None else headline(share, None, metrics).value


def _average(subject: Subject, average: Average) -> float | None:
    """Return a mean accuracy from the numbers that it is a mean of: 70 of 100 are 0.7, whatever floats add up to."""
    if not subject.samples or any(label not in subject.corrupted for label in average.labels):
        return None
    correct = together(subject.corrupted, average.labels).correct
    return int(np.count_nonzero(correct)) / len(correct)


def _held(floor: Floor) -> Iterable[Finding]:
    if not floor.held:
        value = "no result" if floor.value is None else f"{100 * floor.value:.2f} %"
        message = f"{floor.variant}, {floor.title}: {value}, below the minimum of {100 * floor.minimum:g} %"
        yield _finding("error", "floor", message, floor.variant, floor.accuracy)


def _blind(comparisons: Sequence[Comparison], policy: Policy) -> Iterable[Finding]:
    """Warn of a gate that no drop can fail, as there are too few samples or batches for any test."""
    if comparisons and policy.unproven == "warn" and all(one.detectable_drop is None for one in comparisons):
        yield _finding(
            "warning", "blind",
            "no drop could have been significant, so none can fail this gate: evaluate more samples, compare fewer "
            "accuracies, or set unproven: fail",
        )  # fmt: skip


def _missing(missing: Missing) -> Finding:
    return _finding("error", "missing", missing.message, missing.variant, missing.accuracy)


def _diagnostics(report: Report, policy: Policy) -> Iterable[Finding]:
    if policy.diagnostics == "ignore":
        return
    for diagnostic in report.diagnostics:
        if diagnostic.status == "fail":
            where = ", ".join(part for part in (diagnostic.variant, diagnostic.attack) if part)
            message = f"diagnostic {diagnostic.name} failed{f' ({where})' if where else ''}: {diagnostic.message}"
            level: Level = "error" if policy.diagnostics == "fail" else "warning"
            yield _finding(level, "diagnostic", message, diagnostic.variant, diagnostic.attack)


def _notes(now: Report, before: Report) -> Iterable[str]:
    """Yield the differences that are no reason to refuse but may explain a change."""
    if any(v.clean.expected_accuracy is not None for report in (now, before) for v in report.variants):
        yield MAJORITIES
    if now.data.task == "segmentation" and any(v.corruptions for report in (now, before) for v in report.variants):
        yield GRADED
    pairs = {
        "attack network": (now.run.attacked(), before.run.attacked()),
        "precision": (now.run.environment.precision, before.run.environment.precision),
        "seed": (now.run.seed, before.run.seed),
        "model": (now.model.name, before.model.name),
    }
    for name, (here, there) in pairs.items():
        if here != there:
            yield f"the {name} is {here}; in the baseline it is {there}"

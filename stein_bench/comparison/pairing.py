"""Pairing of variants: per-sample outcomes, which results cannot be trusted, and why variants cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stein_bench.comparison.corruptions import Average, Draws, averages, unpacked, versions
from stein_bench.errors import UsageError
from stein_bench.measures import MEASURES, Outcome
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.results import VariantResult

CLEAN = "clean"
WORST_CASE = "worst-case"

ROUNDING = 1e-9
"""Largest allowed difference between a stored rate and its outcomes, for reports that other programs wrote."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One variant of one report with its outcomes: `CLEAN`, and every attack that has a result by label.

    `corrupted` has those under each corruption that has a result, by label; none of a segmentation.
    """

    report: Report
    variant: VariantResult
    outcomes: dict[str, Outcome]
    corrupted: Draws = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The variant's identity within its report, e.g. ``stein/running``."""
        return variant_name(self.variant)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.variant.outcomes.samples

    @property
    def battery(self) -> tuple[str, ...]:
        """The labels of the attacks that have a result, in the report's order."""
        return tuple(label for label in self.outcomes if label != CLEAN)

    @property
    def batch_size(self) -> int | None:
        """The batch size under batch statistics, 0 if the report does not record it; None under running statistics."""
        if self.variant.stats != "batch":
            return None
        size = self.report.run.config.get("batch-size")
        return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0

    def worst_case(self, labels: Iterable[str]) -> Outcome:
        """Return each sample's outcome under the worst of these attacks (at least one)."""
        return type(self.outcomes[CLEAN]).worst_case([self.outcomes[label] for label in labels])


def variant_name(variant: VariantResult) -> str:
    """Return the identity of a variant within its report, e.g. ``stein/running``."""
    return f"{variant.bn}/{variant.stats}"


def subjects(report: Report, what: str) -> list[Subject]:
    """Return every variant of a report with its outcomes unpacked; `what` names the report in errors.

    Raises:
        UsageError: the packed outcomes are damaged.
    """
    found = []
    for variant in report.variants:
        try:
            clean, robust = MEASURES[report.data.task].unpacked(variant.outcomes)
            corrupted = unpacked(report.data.task, variant.outcomes)
        except UsageError as error:
            raise UsageError(f"{what}, {variant_name(variant)}: {error}") from None
        attacks = {a.label: robust[a.label] for a in variant.attacks if a.label in robust}
        found.append(Subject(report, variant, {CLEAN: clean, **attacks}, corrupted))
    return found


def distrust(report: Report, found: Sequence[Subject]) -> list[str]:
    """Return one line for each result of a report that cannot be trusted.

    These are results that the report itself marks as dishonest, accuracies that contradict their own outcomes,
    duplicate variants, and reports without variants or samples. `found` are the report's `subjects`.
    """
    lines = [*report.dishonest(), *contradictions(report, found)]
    lines += [f"{name}: there are {uses} variants with this name" for name, uses in _names(found).items() if uses > 1]
    if not found or not all(subject.samples for subject in found):
        lines.append("it contains no variant, or a variant without samples")
    return lines


def contradictions(report: Report, found: Sequence[Subject]) -> list[str]:
    """Return one line for each figure that the report's own outcomes contradict: it has been edited or is damaged.

    `found` are the report's `subjects`.
    """
    lines = [line for subject in found for line in _contradictions(subject)]
    if found and report.data.samples != found[0].samples:
        lines.append(f"data.samples is {report.data.samples}, but there are outcomes of {found[0].samples} samples")
    return lines


def _names(found: Sequence[Subject]) -> Counter[str]:
    return Counter(subject.name for subject in found)


def doubts(subject: Subject) -> dict[str, str]:
    """Return by accuracy why those of a variant are missing or cannot be trusted; the others are omitted.

    Corruptions are there by label, see `doubts_of`. The worst case is doubtful if any of the attacks is.
    """
    found = {}
    if subject.variant.clean.nonfinite_outputs:
        found[CLEAN] = f"{subject.variant.clean.nonfinite_outputs} clean outputs are not finite"
    for attack in subject.variant.attacks:
        if attack.status != "ok":
            found[attack.label] = f"{attack.status}: {attack.message}".rstrip(": ")
    for corruption in subject.variant.corruptions:
        if corruption.status != "ok":
            found[corruption.label] = f"{corruption.status}: {corruption.message}".rstrip(": ")
    for key in _contradicted(subject):
        found.setdefault(key, "its accuracy contradicts its own outcomes")
    names = titles(subject.variant.attacks)
    if attacks := [label for label in found if label in names]:
        found[WORST_CASE] = f"an attack has no valid result: {names[attacks[0]]}"
    return found


def own_averages(subject: Subject) -> list[Average]:
    """Return the accuracies under corruptions that are compared of a variant; none of a segmentation.

    Its images are graded, and a mean of their mIoU over draws or severities has no paired test here.
    """
    return [] if subject.report.data.task == "segmentation" else averages(subject.variant.corruptions)


def common_averages(first: Subject, second: Subject) -> list[Average]:
    """Return the `own_averages` that can be paired, over the corruptions that both variants have."""
    if not own_averages(first):
        return []
    labels = {result.label for result in second.variant.corruptions}
    return averages(result for result in first.variant.corruptions if result.label in labels)


def other_draws(first: Subject, second: Subject, average: Average) -> bool:
    """Return whether the two variants have this mean over different numbers of draws, so that they cannot be paired."""
    return versions(first.corrupted, average.labels) != versions(second.corrupted, average.labels)


def doubts_of(average: Average, doubted: Mapping[str, str]) -> str | None:
    """Return why a mean over corruptions cannot be trusted, given the `doubts` about its parts; None if it can."""
    return next((doubted[label] for label in average.labels if label in doubted), None)


def _contradictions(subject: Subject) -> Iterable[str]:
    for key, share in _contradicted(subject).items():
        if key in subject.outcomes or key in subject.corrupted or key == WORST_CASE:
            yield f"{subject.name}, {key}: the accuracy {share:.6g} contradicts its own outcomes"
        else:
            yield f"{subject.name}, {key}: there is an accuracy but no per-sample outcomes"


def _contradicted(subject: Subject) -> dict[str, float]:
    """Return the stored accuracies that contradict their own outcomes, or have none."""
    variant = subject.variant
    stored = {CLEAN: variant.clean.accuracy, **{a.label: a.robust_accuracy for a in variant.attacks}}
    found = {}
    for key, share in stored.items():
        outcome = subject.outcomes.get(key)
        if share is None:
            continue
        right, of = (0.0, 0) if outcome is None else outcome.right()
        if outcome is None or (of and abs(right / of - share) > ROUNDING):
            found[key] = share
    worst = variant.worst_case_accuracy
    if worst is not None and not found and subject.battery:
        right, of = subject.worst_case(subject.battery).right()
        if of and abs(right / of - worst) > ROUNDING:
            found[WORST_CASE] = worst
    return found | _contradicted_corruptions(subject)


def _contradicted_corruptions(subject: Subject) -> dict[str, float]:
    """Return the stored mean accuracies that the draws contradict, or that have none; graded ones are not checked."""
    if subject.report.data.task == "segmentation":
        return {}
    found = {}
    for corruption in subject.variant.corruptions:
        draws = subject.corrupted.get(corruption.label, ())
        share = corruption.accuracy
        if share is None or not subject.samples:
            continue
        shares = [draw.value() for draw in draws]
        if len(shares) != len(corruption.accuracies) or abs(sum(shares) / max(len(shares), 1) - share) > ROUNDING:
            found[corruption.label] = share
    return found


def report_differences(now: Report, before: Report) -> list[str]:
    """Return why two reports cannot be compared at all; empty if they can.

    They need the same samples with the same labels, the same task and the same preset.
    """
    lines = []
    if now.data.task != before.data.task:
        lines.append(f"other task: {now.data.task}, not {before.data.task}")
    if now.data.sha256 != before.data.sha256:
        lines.append(
            f"other data: {_data(now)} ({now.data.sha256[:12]}), not {_data(before)} ({before.data.sha256[:12]})"
        )
    if now.run.preset != before.run.preset:
        lines.append(f"other preset: {now.run.preset or 'none'}, not {before.run.preset or 'none'}")
    return lines


def _data(report: Report) -> str:
    return f"{report.data.name} {report.data.split} with {report.data.samples} samples"


def subject_differences(now: Subject, before: Subject) -> list[str]:
    """Return why two variants of comparable reports cannot be compared; empty if they can.

    They need the same samples in the same order, the same statistics source and, under batch statistics, the same
    batch size.
    """
    lines = []
    if now.variant.stats != before.variant.stats:
        lines.append(f"other source of statistics: {now.variant.stats}, not {before.variant.stats}")
    if now.variant.outcomes.sample_ids_sha256 != before.variant.outcomes.sample_ids_sha256:
        lines.append("other samples: the hashes of their ids differ")
    elif now.samples != before.samples:
        lines.append(f"other samples: {now.samples}, not {before.samples}")
    if now.variant.stats == before.variant.stats == "batch":
        sizes = now.batch_size, before.batch_size
        if 0 in sizes:
            lines.append("a report does not record the batch size, on which batch statistics depend")
        elif sizes[0] != sizes[1]:
            lines.append(f"other batch size: {sizes[0]}, not {sizes[1]}")
    return lines


def differences(now: Subject, before: Subject) -> list[str]:
    """Return every reason why two variants, of any reports, cannot be compared; empty if they can."""
    return [*report_differences(now.report, before.report), *subject_differences(now, before)]

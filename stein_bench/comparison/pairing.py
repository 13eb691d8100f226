"""Pairing of reports: common outcomes, sample by sample, and reasons why others cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stein_bench.errors import UsageError
from stein_bench.measures import MEASURES, Outcome
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.results import VariantResult

CLEAN = "clean"
WORST_CASE = "worst-case"

ROUNDING = 1e-9
"""A stored rate may differ from its own outcomes by this much, for reports that were written by other means."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One variant of one report with its outcomes: `CLEAN` and, by label, every attack that has a result."""

    report: Report
    variant: VariantResult
    outcomes: dict[str, Outcome]

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
        """The size of the batches that couple samples; None under running statistics, where none does.

        Under batch statistics 0 says that the report does not tell it.
        """
        if self.variant.stats != "batch":
            return None
        size = self.report.run.config.get("batch-size")
        return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0

    def worst_case(self, labels: Iterable[str]) -> Outcome:
        """Return what is left of each sample under the worst of these attacks (at least one)."""
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
        except UsageError as error:
            raise UsageError(f"{what}, {variant_name(variant)}: {error}") from None
        attacks = {a.label: robust[a.label] for a in variant.attacks if a.label in robust}
        found.append(Subject(report, variant, {CLEAN: clean, **attacks}))
    return found


def distrust(report: Report, found: Sequence[Subject]) -> list[str]:
    """Return one line for each result of a report that cannot be trusted.

    These are the results that the report itself calls so, those that its outcomes contradict, variants that are
    there twice, and reports without variants or samples. `found` are the report's `subjects`.
    """
    lines = [*report.dishonest(), *(line for subject in found for line in _contradictions(subject))]
    lines += [f"{name}: there are {uses} variants of this name" for name, uses in _names(found).items() if uses > 1]
    if not found or not all(subject.samples for subject in found):
        lines.append("it holds a variant without samples, or no variant")
    return lines


def _names(found: Sequence[Subject]) -> Counter[str]:
    return Counter(subject.name for subject in found)


def doubts(subject: Subject) -> dict[str, str]:
    """Return why accuracies of a variant cannot be trusted or are not there, by accuracy; the others are left out.

    The worst case is in doubt where one of the attacks is.
    """
    found = {}
    if subject.variant.clean.nonfinite_outputs:
        found[CLEAN] = f"{subject.variant.clean.nonfinite_outputs} clean outputs are not finite"
    for attack in subject.variant.attacks:
        if attack.status != "ok":
            found[attack.label] = f"{attack.status}: {attack.message}".rstrip(": ")
    for key in _contradicted(subject):
        found.setdefault(key, "its accuracy is not that of its own outcomes")
    if attacks := [key for key in found if key != CLEAN]:
        found[WORST_CASE] = f"an attack has no result that counts: {titles(subject.variant.attacks)[attacks[0]]}"
    return found


def _contradictions(subject: Subject) -> Iterable[str]:
    for key, share in _contradicted(subject).items():
        if key in subject.outcomes:
            yield f"{subject.name}, {key}: the accuracy {share:.6g} is not that of its own outcomes"
        else:
            yield f"{subject.name}, {key}: there is an accuracy but no outcome of any sample"


def _contradicted(subject: Subject) -> dict[str, float]:

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
    return found


def report_differences(now: Report, before: Report) -> list[str]:
    """Return why two reports cannot be compared at all; nothing where they can.

    They must hold the same samples with the same labels, for the same task, under the same preset.
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
    """Return why two variants of comparable reports cannot be compared; nothing where they can.

    They must hold the same samples in the same order, under the same statistics source, and under batch
    statistics in batches of the same size.
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
            lines.append("a report does not tell the batch size, on which batch statistics depend")
        elif sizes[0] != sizes[1]:
            lines.append(f"other batch size: {sizes[0]}, not {sizes[1]}")
    return lines


def differences(now: Subject, before: Subject) -> list[str]:
    """Return every reason why two variants, of any reports, cannot be compared; nothing where they can."""
    return [*report_differences(now.report, before.report), *subject_differences(now, before)]

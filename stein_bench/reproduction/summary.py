"""Summarize the cells' reports as the rows of a document: pure functions, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stein_bench.comparison.pairing import CLEAN, WORST_CASE
from stein_bench.report.attack_names import noise_strength, titles
from stein_bench.report.document import Report
from stein_bench.report.results import CorruptionResult, Figure
from stein_bench.reproduction.document import Contrast, Row
from stein_bench.reproduction.experiment import PLAIN
from stein_bench.reproduction.replicates import mean_sd, paired_t
from stein_bench.statistics.paired_tests import holm
from stein_bench.statistics.rates import COLLAPSED

ACCURACY = "accuracy"
HEADLINE = {"segmentation": "miou"}
"""The metric whose contrasts are shown, if it is not accuracy; the document has the contrasts of all metrics."""

Figures = Mapping[tuple[str, str], float | None]
"""(outcome, metric) to the value of one cell, None if it has no valid one."""


@dataclass(frozen=True)
class Measured:
    """The values of one cell, in the order of its report, and short names of its outcomes."""

    part: str
    bn: str
    stats: str
    seed: int
    figures: Figures
    titles: Mapping[str, str]


def measured(part: str, seed: int, report: Report) -> Measured:
    """Extract the values from a cell's report, which has one variant."""
    (variant,) = report.variants
    return Measured(part, variant.bn, variant.stats, seed, dict(_figures(report)), _titles(report))


def _figures(report: Report) -> Iterator[tuple[tuple[str, str], float | None]]:
    (variant,) = report.variants
    clean = variant.clean
    yield from _of(CLEAN, clean.accuracy, clean.metrics, counts=not clean.nonfinite_outputs)
    for attack in variant.attacks:
        yield from _of(attack.label, attack.robust_accuracy, attack.metrics, counts=attack.status == "ok")
    if len(variant.attacks) > 1:
        every = all(attack.status == "ok" for attack in variant.attacks)
        yield from _of(WORST_CASE, variant.worst_case_accuracy, variant.worst_case_metrics, counts=every)
    for corruption in variant.corruptions:
        yield from _of(corruption.label, corruption.accuracy, corruption.metrics, counts=corruption.status == "ok")


def _of(
    outcome: str, share: float | None, metrics: Mapping[str, Figure] | None, *, counts: bool
) -> Iterator[tuple[tuple[str, str], float | None]]:
    yield (outcome, ACCURACY), share if counts else None
    for name, figure in (metrics or {}).items():
        yield (outcome, name), figure.value if counts else None


def _titles(report: Report) -> dict[str, str]:
    (variant,) = report.variants
    corruptions = {c.label: _strength(c) for c in variant.corruptions}
    return {CLEAN: "clean", WORST_CASE: "worst case", **titles(variant.attacks), **corruptions}


def _strength(corruption: CorruptionResult) -> str:
    """Return a corruption's name and strength, e.g. ``gaussian 25/255``."""
    return f"{corruption.name.removeprefix('noise-')} {noise_strength(corruption.params)[1]}"


def rows(cells: Sequence[Measured], seeds: Sequence[int]) -> list[Row]:
    """Return one row per part, variant, outcome and metric, with its contrasts, if there is a reference.

    The value of a seed is None if its cell has none.

    The estimator contrast is with plain BN under the same statistics, the source contrast with the same BN under
    running statistics. If plain BN has rows, but none under the same statistics, the row is confounded.
    """
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for cell in cells:
        groups.setdefault((cell.part, cell.bn, cell.stats), []).append(cell)
    found = [row for key in groups for row in _rows_of(key, seeds, groups)]
    return _adjusted(found)


Group = Sequence[Measured]


def _rows_of(
    key: tuple[str, str, str], seeds: Sequence[int], groups: Mapping[tuple[str, str, str], Group]
) -> Iterator[Row]:
    (part, bn, stats), group = key, groups[key]
    others = {other for p, b, other in groups if p == part and b == PLAIN}
    names = {outcome: title for cell in group for outcome, title in cell.titles.items()}
    for outcome, metric in dict.fromkeys(figure for cell in group for figure in cell.figures):
        values = dict.fromkeys(seeds) | {cell.seed: cell.figures.get((outcome, metric)) for cell in group}
        counted = [value for value in values.values() if value is not None]
        mean, sd = mean_sd(counted) if counted else (None, None)
        yield Row.model_validate(
            {
                "part": part, "bn": bn, "stats": stats, "outcome": outcome, "metric": metric,
                "title": names.get(outcome, outcome),
                "seeds": list(values), "values": list(values.values()), "mean": mean, "sd": sd,
                "confounded": bn != PLAIN and bool(others) and stats not in others,
                "contrasts": list(_contrasts(key, (outcome, metric), groups)),
            }
        )  # fmt: skip


def _contrasts(
    key: tuple[str, str, str], figure: tuple[str, str], groups: Mapping[tuple[str, str, str], Group]
) -> Iterator[Contrast]:
    part, bn, stats = key
    if bn != PLAIN and (part, PLAIN, stats) in groups:
        yield from _contrast("estimator", f"{PLAIN}/{stats}", groups[part, PLAIN, stats], groups[key], figure)
    if stats == "batch" and (part, bn, "running") in groups:
        yield from _contrast("source", f"{bn}/running", groups[part, bn, "running"], groups[key], figure)


def _contrast(kind: str, against: str, first: Group, second: Group, figure: tuple[str, str]) -> Iterator[Contrast]:
    before = {cell.seed: cell.figures.get(figure) for cell in first}
    after = {cell.seed: cell.figures.get(figure) for cell in second}
    pairs = [(a, b) for seed in before if (a := before[seed]) is not None and (b := after.get(seed)) is not None]
    if not pairs:
        return
    result = paired_t([a for a, _ in pairs], [b for _, b in pairs])
    yield Contrast.model_validate(
        {
            "kind": kind, "against": against, "seeds": result.n, "mean": result.mean, "sd": result.sd,
            "ci95": result.interval, "p": result.p, "p_adjusted": None,
        }
    )  # fmt: skip


def _adjusted(found: Sequence[Row]) -> list[Row]:
    """Return the rows with every contrast's p adjusted over the contrasts of its kind (Holm)."""
    adjusted: dict[tuple[int, str], float] = {}
    for kind in ("estimator", "source"):
        tests = [(i, c.p) for i, row in enumerate(found) for c in row.contrasts if c.kind == kind and c.p is not None]
        for (i, _), p in zip(tests, holm([p for _, p in tests]), strict=True):
            adjusted[i, kind] = p
    return [
        row.model_copy(
            update={
                "contrasts": [c.model_copy(update={"p_adjusted": adjusted.get((i, c.kind))}) for c in row.contrasts]
            }
        )
        for i, row in enumerate(found)
    ]


def collapsed(found: Iterable[Row], classes: int) -> list[str]:
    """Return one line for each collapsed variant, whose robust accuracies are meaningless.

    Its mean clean accuracy is below `COLLAPSED` times the best variant's in its part, or not above chance.
    """
    clean = [row for row in found if row.outcome == CLEAN and row.metric == ACCURACY and row.mean is not None]
    lines = []
    for row in clean:
        best = max(other.mean or 0.0 for other in clean if other.part == row.part)
        reached = row.mean or 0.0
        if reached < COLLAPSED * best or reached <= 1 / classes:
            lines.append(
                f"{row.part}, {row.bn}/{row.stats}: clean accuracy has collapsed to {100 * reached:.1f} %; the best "
                f"variant has {100 * best:.1f} %, chance {100 / classes:.1f} %: its robust accuracies are meaningless"
            )
    return lines

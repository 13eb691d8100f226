"""The results of a report as rows, shared by all formats, and as series for figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stein_bench.comparison.contrasts import Contrast, Mark, contrasts, corruption_contrasts, marks
from stein_bench.comparison.corruptions import CORRUPTIONS
from stein_bench.comparison.pairing import CLEAN, WORST_CASE, variant_name
from stein_bench.render.figures import Series
from stein_bench.render.report.common import cells_text, made_here, rows_apart, severities_text
from stein_bench.render.report.expected import EXPECTED, MAJORITY
from stein_bench.render.report.marks import SIGNS
from stein_bench.report.attack_names import SEVERITY, noise_strength, titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import p_value, percent, signed_interval
from stein_bench.report.results import CorruptionResult, ExpectedAccuracy, Figure, VariantResult, headline, shown
from stein_bench.specs import format_eps


@dataclass(frozen=True)
class ResultRow:
    """One figure of one variant.

    Attributes:
        variant: its label; `control`: whether it was added for comparison.
        accuracy, title: ``clean``, ``worst-case`` or the label of an attack or corruption; and its display name.
        expected: whether it is the expected accuracy of a random model, which comes before that of majority verdicts.
        figure: value and interval: accuracy, for segmentation the mIoU; None without a result.
        status: ``ok``, or why the figure does not count.
        mark: see `contrasts.marks`.
        contrast: against plain BN under the same statistics, if possible.
    """

    variant: str
    control: bool
    accuracy: str
    title: str
    figure: Figure | None
    status: str
    mark: Mark | None
    contrast: Contrast | None
    expected: bool = False


def result_rows(report: Report) -> list[ResultRow]:
    """Return every result of a report, in its order.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    found = contrasts(report)
    compared = (*found, *corruption_contrasts(report))
    marked, by_key = marks(report, found), {(c.variant, c.accuracy): c for c in compared}
    rows = []
    for variant in report.variants:
        name = variant_name(variant)
        for key, title, figure, status, expected in _figures(variant):
            mark, contrast = marked.get((name, key)), by_key.get((name, key))
            if expected is not None:
                mean = Figure(value=expected.value, ci95=expected.ci95)
                lead = (name, variant.control, key, f"{title}, {EXPECTED}")
                rows.append(ResultRow(*lead, mean, status, None, None, expected=True))
            told = title if expected is None else f"{title}, {MAJORITY}"
            rows.append(ResultRow(name, variant.control, key, told, figure, status, mark, contrast))
    return rows


def _figures(variant: VariantResult) -> Iterator[tuple[str, str, Figure | None, str, ExpectedAccuracy | None]]:
    clean, names = variant.clean, titles(variant.attacks)
    yield CLEAN, CLEAN, headline(clean.accuracy, clean.ci95, clean.metrics), "ok", clean.expected_accuracy
    for attack in variant.attacks:
        share = attack.robust_accuracy
        figure = None if share is None else headline(share, attack.ci95, attack.metrics)
        yield attack.label, names[attack.label], figure, attack.status, attack.expected_accuracy
    if len(variant.attacks) > 1 and variant.worst_case_accuracy is not None:
        worst = headline(variant.worst_case_accuracy, variant.worst_case_ci95, variant.worst_case_metrics)
        yield WORST_CASE, "worst case", worst, "ok", variant.worst_case_expected_accuracy
    yield from _common(variant)
    apart = rows_apart(variant) if variant.common_corruptions is None else []
    for corruption in variant.corruptions:
        if SEVERITY in corruption.params and corruption.status == "ok" and corruption not in apart:
            continue
        share = corruption.accuracy
        figure = None if share is None else headline(share, corruption.ci95, corruption.metrics)
        yield (
            corruption.label,
            f"{corruption.name.removeprefix('noise-')} {noise_strength(corruption.params)[1]} ({_kind(corruption)})",
            figure,
            corruption.status,
            None,
        )


def _common(variant: VariantResult) -> Iterator[tuple[str, str, Figure | None, str, None]]:
    """Yield the means over the common corruptions that were made, and each of them over its severities.

    These are what corruptions are compared by; the grid has every severity.
    """
    found = variant.common_corruptions
    if found is None or not made_here(variant):
        return
    if len(found.corruptions) > 1:
        mean = Figure(value=found.accuracy, ci95=found.ci95)
        yield CORRUPTIONS, f"mean of {cells_text(found)} (not attacks)", mean, "ok", None
    for name, one in found.corruptions.items():
        figure = Figure(value=one.accuracy, ci95=one.ci95)
        title = f"{name}, {severities_text(one.severities)} (not an attack)"
        yield f"{CORRUPTIONS}/{name}", title, figure, "ok", None


def _kind(corruption: CorruptionResult) -> str:
    return "corruption, not an attack" if SEVERITY in corruption.params else "noise, not an attack"


def row_texts(row: ResultRow) -> tuple[str, str, str, str, str]:
    """Return a row as text: variant, outcome, value with interval and mark, difference with interval, and p."""
    value = row.status
    if row.figure is not None and row.figure.value is not None:
        low, high = row.figure.ci95 or (row.figure.value, row.figure.value)
        value = f"{percent(row.figure.value)} ({percent(low)}–{percent(high)})"
        value = value if row.status == "ok" else f"{row.status} {value}"
    sign = f" {SIGNS[row.mark]}" if row.mark else ""
    d = row.contrast.difference if row.contrast else None
    compared = (signed_interval(d.value, d.interval), p_value(d.p_adjusted)) if d else ("", "")
    return (f"{row.variant} (control)" if row.control else row.variant, row.title, value + sign, *compared)


def measure(report: Report) -> str:
    """Return the name of the measure in `result_rows`."""
    return "mIoU" if report.data.task == "segmentation" else "accuracy"


def curves(report: Report, prefix: str = "") -> dict[str, list[Series]]:
    """Return by norm one series per variant: its worst case by budget against eps, starting at eps 0 (clean).

    Values are as in `result_rows`: accuracies, or mIoUs for segmentation (`measure`).
    Empty if there is only one budget, which makes no curve.
    """
    found: dict[str, list[Series]] = {}
    for variant in report.variants:
        for norm in dict.fromkeys(budget.norm for budget in variant.budgets):
            budgets = [budget for budget in variant.budgets if budget.norm == norm]
            if len(budgets) > 1:
                clean = variant.clean
                places = [(0.0, shown(headline(clean.accuracy, clean.ci95, clean.metrics), clean.expected_accuracy))]
                places += [
                    (b.eps, shown(headline(b.accuracy, b.ci95, b.metrics), b.expected_accuracy)) for b in budgets
                ]
                points = [(eps, figure.value, figure.ci95) for eps, figure in places if figure.value is not None]
                found.setdefault(norm, []).append(_series(prefix + variant_name(variant), points))
    return found


def eps_ticks(series: Sequence[Series]) -> dict[float, str]:
    """Return the tick labels of a curve's x axis by position."""
    return {eps: format_eps(eps) if eps else "0" for eps in sorted({x for one in series for x in one.x})}


def bar_groups(rows: Sequence[tuple[str, ResultRow]]) -> tuple[list[str], list[Series]]:
    """Return the groups (clean, each attack, worst case, each corruption) and one series per variant.

    For a random model only its expected accuracies are drawn.

    Args:
        rows: each with a prefix to the variant's name in the legend.
    """
    rows = [(p, row) for p, row in rows if not row.accuracy.startswith(f"{CORRUPTIONS}/")]  # the grid has them
    means = {(prefix, row.variant, row.accuracy) for prefix, row in rows if row.expected}
    rows = [(p, row) for p, row in rows if row.expected or (p, row.variant, row.accuracy) not in means]
    counted = [(prefix, row, row.figure) for prefix, row in rows if row.figure and row.figure.value is not None]
    groups = {row.accuracy: row.title for _, row, _ in counted}
    uses = Counter(groups.values())  # reports may have different attacks with the same title
    groups = {key: title if uses[title] == 1 else key for key, title in groups.items()}
    order = list(groups)
    series = []
    for label in dict.fromkeys(prefix + row.variant for prefix, row, _ in counted):
        own = [(order.index(r.accuracy), f.value or 0.0, f.ci95) for p, r, f in counted if p + r.variant == label]
        series.append(_series(label, own))
    return list(groups.values()), series


def _series(label: str, points: Sequence[tuple[float, float, tuple[float, float] | None]]) -> Series:
    intervals = [interval or (value, value) for _, value, interval in points]
    return Series(
        label,
        tuple(x for x, _, _ in points),
        tuple(y for _, y, _ in points),
        tuple(low for low, _ in intervals),
        tuple(high for _, high in intervals),
    )


def shrinkage_series(report: Report) -> tuple[list[Series], list[Series]]:
    """Return, by BN estimator, the share of the mean kept and the variance ratio against the layer's number."""
    kept, ratios = [], []
    for variant in {v.bn: v for v in reversed(report.variants) if v.shrinkage}.values():
        means = [(i, s.mean_kept) for i, s in enumerate(variant.shrinkage, 1) if s.mean_kept is not None]
        kept.append(_series(variant.bn, [(i, value, None) for i, value in means]))
        found = [(i, s.variance_ratio) for i, s in enumerate(variant.shrinkage, 1) if s.variance_ratio is not None]
        ratios.append(_series(variant.bn, [(i, middle, (low, high)) for i, (low, middle, high) in found]))
    return kept, ratios

"""A comparison as a grid of text, shown as a table, Markdown, LaTeX or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.comparison.corruptions import CORRUPTIONS
from stein_bench.comparison.document import (
    ALPHA,
    BoardRow,
    Column,
    Difference,
    Leaderboard,
    PairRow,
    PairTable,
    Rated,
)
from stein_bench.render.columns import Column as TableColumn
from stein_bench.render.console import Paragraph, note_list, print_uncut
from stein_bench.render.markup import csv_text, latex_comment, latex_table, latex_text, markdown_table, markdown_text
from stein_bench.render.text_table import TextTable
from stein_bench.report.number_format import UNKNOWN, p_value, percent, signed_interval
from stein_bench.report.results import on_lines

MARK = "†"
"""Marks a row that cannot be compared."""


@dataclass(frozen=True)
class Grid:
    """A table of text, shared by all formats.

    Attributes:
        heading: what is compared.
        headers, rows: the cells; `marked` are the numbers of the rows that cannot be compared.
        right: the right-aligned columns.
        notes: how to read it, after the reasons for the marked rows.
    """

    heading: tuple[str, ...]
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int]
    right: frozenset[int]
    notes: tuple[str, ...]


def grid(result: PairTable | Leaderboard) -> Grid:
    """Return a comparison as a grid."""
    return _pairs(result) if isinstance(result, PairTable) else _board(result)


def _pairs(result: PairTable) -> Grid:
    one = len(result.sources) == 1
    names = ("1st", "2nd") if one else ("A", "B")
    stats = {name.rpartition("/")[2] for row in result.rows for name in (row.first, row.second) if name}
    heading = [f"{s.name} ({s.model}, {s.created})" for s in result.sources]
    if not one:
        heading = [f"{name}: {line}" for name, line in zip(names, heading, strict=True)]
    if len(stats) == 1:
        heading.append(f"{stats.pop()} statistics")
    rows, reasons = [], []
    for row in result.rows:
        variant = _variants(row, with_stats=bool(stats))
        rows.append((variant, row.title, *_pair_cells(row)))
        if row.difference is None:
            reasons.append(f"{MARK} {variant}, {row.title}: {row.reason}")
    return Grid(
        heading=tuple(heading),
        headers=(
            "BN",
            "mIoU" if result.graded else "accuracy",
            f"{names[0]} %",
            f"{names[1]} %",
            "difference (95 %)",
            "−/+",
            "p",
        ),
        rows=tuple(rows),
        marked=frozenset(i for i, row in enumerate(result.rows) if row.difference is None),
        right=frozenset({2, 3, 5, 6}),
        notes=(
            *reasons,
            f"difference: {names[1]} minus {names[0]}, in percentage points, with its 95 % interval "
            f"({'bootstrap over images' if result.graded else 'Newcombe'}); * significant, p < {ALPHA:g}",
            _counted(result.graded, names),
            *result.notes,
            *_errors(result, names),
        ),
    )


def _errors(result: PairTable, names: tuple[str, str]) -> Iterator[str]:
    """Yield what the mean corruption errors are, and one of each pair."""
    if result.errors:
        yield (
            f"mCE: mean corruption error, {names[1]}'s errors under each common corruption over {names[0]}'s; relative "
            "mCE: errors minus the clean error; below 100 % is better (Hendrycks and Dietterich 2019)"
        )
    for one in result.errors:
        pair = one.first if one.first == one.second else f"{one.first}→{one.second}"
        over = f"{len(one.corruption_errors)} corruptions"
        yield f"{pair}: mCE {_ratio(one.mce)}, relative mCE {_ratio(one.relative_mce)} over {over}"


def _ratio(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else f"{percent(ratio)} %"


def _counted(graded: bool, names: tuple[str, str]) -> str:
    if graded:
        return (
            f"−/+: images whose own mIoU is lower and higher in {names[1]}; p: two-sided permutation test over images, "
            "adjusted (Holm)"
        )
    return f"−/+: samples correct in {names[0]} only and in {names[1]} only; p: two-sided, exact, adjusted (Holm)"


def _pair_cells(row: PairRow) -> tuple[str, ...]:
    d = row.difference
    if d is None:
        return (UNKNOWN, UNKNOWN, f"not comparable {MARK}", UNKNOWN, UNKNOWN)
    shares = _share(row.first_accuracy), _share(row.second_accuracy)
    return (*shares, _difference(d), f"{d.lost}/{d.gained}", p_value(d.p_adjusted))


def _variants(row: PairRow, *, with_stats: bool) -> str:
    """Return the pair's name: a single name if both are the same or only one exists."""
    names = list(dict.fromkeys(name for name in (row.first, row.second) if name))
    sources = {name.rpartition("/")[2] for name in names}
    if len(sources) > 1:
        return "→".join(names)
    short = "→".join(name.rpartition("/")[0] for name in names)
    return f"{short}/{sources.pop()}" if with_stats else short


def _board(result: Leaderboard) -> Grid:
    stats = {row.variant.rpartition("/")[2] for row in result.rows}
    one_source = f", {stats.pop()} statistics" if len(stats) == 1 else ""
    battery = "1 attack" if len(result.battery) == 1 else f"{len(result.battery)} attacks"
    heading = (f"Worst case of {battery} on {result.samples} samples{one_source}",)
    corrupted = _shown(result)
    baselines = _baselines(result)
    under = [c.title for c in (*result.columns, *corrupted)] + ["mCE %"] * bool(baselines)
    headers = ("", "report", "BN", "clean %", *under, "worst case %", "behind (95 %)", "p")
    rows, reasons = [], []
    for row in result.rows:
        attacks = [_rate(row.attacks.get(column.label)) for column in result.columns]
        attacks += [_rate(row.corruptions.get(column.label)) for column in corrupted]
        if baselines:
            attacks.append(UNKNOWN if row.mce is None or row.mce.mce is None else percent(row.mce.mce))
        behind = ("", "") if row.behind is None else (_difference(row.behind), p_value(row.behind.p_adjusted))
        rank = MARK if row.rank is None else str(row.rank)
        worst = _interval(row.worst_case) if row.worst_case else UNKNOWN
        variant = row.variant.rpartition("/")[0] if one_source else row.variant
        rows.append((rank, row.source, variant, percent(row.clean.value), *attacks, worst, *behind))
        if row.reasons:
            reasons.append(f"{MARK} {row.source}, {variant}: not comparable: {'; '.join(row.reasons)}")
    for one in result.failed:
        rows.append((MARK, one.name, "", *[UNKNOWN] * (1 + len(under)), "failed", "", ""))
        reasons.append(f"{MARK} {one.name} ({one.model}): failed: {one.reason}")
    marked = frozenset(i for i, row in enumerate(rows) if row[0] == MARK)
    worst, interval, how = (
        (
            "mIoU with every image under the attack that lowers it most",
            "bootstrap over images",
            "permutation test over images",
        )
        if result.graded
        else ("share of samples that survive every ranked attack", "Wilson", "exact")
    )
    notes = [
        *(["every figure is an mIoU over all images"] if result.graded else []),
        *(["corruptions do not count in the worst case and the ranking"] if corrupted else []),
        *_about_mce(baselines),
        f"worst case: {worst}, with its 95 % interval ({interval})",
        f"behind: paired difference from the first, in percentage points "
        f"({'bootstrap over images' if result.graded else 'Newcombe'}); * significant, p < {ALPHA:g}, "
        f"two-sided, {how}, adjusted (Holm); the first was selected on the same samples, which overstates its lead",
    ]
    right = frozenset({0, *range(3, 4 + len(under)), len(headers) - 1})
    return Grid(heading, headers, tuple(rows), marked, right, (*reasons, *notes, *result.notes))


def _baselines(board: Leaderboard) -> dict[str, list[str]]:
    """Return whose errors those of the rows are relative to: by baseline, the reports."""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        if row.mce is not None:
            found.setdefault(row.mce.baseline, []).append(row.source)
    return found


def _about_mce(baselines: dict[str, list[str]]) -> Iterator[str]:
    what = "mCE: mean corruption error over the common corruptions, relative to"
    if len(baselines) == 1:
        yield f"{what} {next(iter(baselines))}; below 100 % is better"
    for baseline, sources in baselines.items() if len(baselines) > 1 else ():
        yield f"{what} {baseline} in {', '.join(dict.fromkeys(sources))}; not comparable with other baselines"


def _shown(board: Leaderboard) -> list[Column]:
    """Return the corruptions with a column: noises, and the mean of the common ones or, if it is one, that."""
    several = any(column.label == CORRUPTIONS for column in board.corruptions)
    return [column for column in board.corruptions if not (several and column.label.startswith(f"{CORRUPTIONS}/"))]


def _share(share: float | None) -> str:
    return UNKNOWN if share is None else percent(share)


def _rate(rated: Rated | None) -> str:
    return UNKNOWN if rated is None else percent(rated.value)


def _interval(rated: Rated) -> str:
    return f"{percent(rated.value)} ({percent(rated.interval[0])}–{percent(rated.interval[1])})"


def _difference(d: Difference) -> str:
    return signed_interval(d.value, d.interval) + ("*" if d.significant else "")


def compare_table(result: PairTable | Leaderboard) -> RenderableType:
    """Return a comparison as a table."""
    laid = grid(on_lines(result))
    board = isinstance(result, Leaderboard)
    names = (0, 1, 2) if board else (0, 1)
    # The terminal's leaderboard omits p, which other formats have: the stars mark what is significant.
    shown = laid.headers[:-1] if board else laid.headers
    main = (3, len(shown) - 2, len(shown) - 1) if board else ()  # clean, worst case, behind
    table = TextTable(
        [
            TableColumn(
                header.replace(" ", "\n") if board and i in laid.right else header,
                name=i in names,
                right=i in laid.right,
                point=i not in laid.right and i not in names,
                narrow="beneath" if i not in laid.right and i not in names else None,
                importance=int(i in main),
            )
            for i, header in enumerate(shown)
        ]
    )
    for row in laid.rows:
        table.add(*row[: len(shown)])
    return Group(
        *(Paragraph(line, style="bold") for line in laid.heading), Text(), table, Text(), note_list(laid.notes)
    )


def print_compare(result: PairTable | Leaderboard, console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`."""
    print_uncut(compare_table(result), console)


def compare_markdown(result: PairTable | Leaderboard) -> str:
    """Return a comparison as Markdown."""
    laid = grid(result)
    lines = [*(f"**{markdown_text(line)}**  " for line in laid.heading), ""]
    lines += [*markdown_table(laid.headers, laid.rows, laid.right), ""]
    return "\n".join([*lines, *(f"- {markdown_text(line)}" for line in laid.notes)]) + "\n"


def compare_latex(result: PairTable | Leaderboard) -> str:
    """Return a comparison as a LaTeX tabular, which needs the package booktabs."""
    laid = grid(result)
    comments = [latex_comment(line) for line in laid.heading]
    lines = [*comments, r"% needs \usepackage{booktabs}", *latex_table(laid.headers, laid.rows, laid.right)]
    notes = [rf"{latex_text(line)}\par" for line in laid.notes]
    return "\n".join([*lines, r"\par{\footnotesize", *notes, "}"]) + "\n"


PAIR_COLUMNS = (
    "first", "second", "accuracy", "samples", "first_accuracy", "second_accuracy", "difference", "low", "high", "lost",
    "gained", "p", "p_adjusted", "reason",
)  # fmt: skip
BOARD_COLUMNS = ("rank", "report", "model", "variant", "clean", "worst_case", "worst_case_low", "worst_case_high",
    "behind", "behind_low", "behind_high", "p", "p_adjusted")  # fmt: skip


MCE_COLUMNS = ("mce", "relative_mce", "mce_baseline")


def compare_csv(result: PairTable | Leaderboard) -> str:
    """Return a comparison as CSV in full precision; missing values are empty."""
    if isinstance(result, PairTable):
        return csv_text(PAIR_COLUMNS, [list(_pair_values(row)) for row in result.rows])
    labels = [column.label for column in (*result.columns, *result.corruptions)]
    errors = MCE_COLUMNS if _baselines(result) else ()
    headers = (*BOARD_COLUMNS, *labels, *errors, "reason")
    rows = [list(_board_values(row, labels, bool(errors))) for row in result.rows]
    blank = [""] * (len(headers) - 4)
    failed = [["", one.name, one.model, *blank, f"failed: {one.reason}"] for one in result.failed]
    return csv_text(headers, [*rows, *failed])


def _pair_values(row: PairRow) -> Iterator[object]:
    yield from (row.first, row.second, row.accuracy, row.samples or "", row.first_accuracy, row.second_accuracy)
    d = row.difference
    yield from (d.value, *d.interval, d.lost, d.gained, d.p, d.p_adjusted) if d else ("",) * 7
    yield row.reason


def _board_values(row: BoardRow, labels: list[str], errors: bool) -> Iterator[object]:
    worst, d = row.worst_case, row.behind
    yield from (row.rank, row.source, row.model, row.variant, row.clean.value)
    yield from (worst.value, *worst.interval) if worst else ("",) * 3
    yield from (d.value, *d.interval, d.p, d.p_adjusted) if d else ("",) * 5
    rated = {**row.attacks, **row.corruptions}
    yield from (rated[label].value if label in rated else "" for label in labels)
    if errors:
        yield from ("",) * 3 if row.mce is None else (row.mce.mce, row.mce.relative_mce, row.mce.baseline)
    yield "; ".join(row.reasons)

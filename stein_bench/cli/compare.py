"""`stein-bench compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import COMPARE, command
from stein_bench.cli.files import check_outputs
from stein_bench.cli.folders import Found, board_of, find_reports, places, read_named
from stein_bench.cli.options import file_option, format_option
from stein_bench.cli.said import say_document
from stein_bench.errors import UsageError
from stein_bench.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from stein_bench.comparison.document import Leaderboard, PairTable
    from stein_bench.comparison.leaderboard import Named


@command("compare", COMPARE, "Two reports sample by sample, or many as a leaderboard")
def compare_(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT",
            help="Reports written by evaluate, or folders of them.",
            show_default=False,
            rich_help_panel="Reports",
        ),
    ],
    markdown: Annotated[str | None, file_option("Write Markdown here.")] = None,
    csv: Annotated[str | None, file_option("Write CSV here, at full precision.")] = None,
    latex: Annotated[str | None, file_option("Write a LaTeX table (booktabs) here.")] = None,
    html: Annotated[str | None, file_option("Write a page here that sorts and filters all rows.")] = None,
    output: Annotated[str | None, file_option("Write the JSON document here.")] = None,
    format: Annotated[str, format_option()] = "table",
) -> int:
    """Compare reports sample by sample.

    One report: its variants against the first. Two reports: one against the other (difference, interval, p). More, or a
    folder: a leaderboard, sorted by worst-case accuracy, with the models of a sweep that failed. Rows that cannot be
    compared (other samples, another statistics source, untrustworthy results) are marked with the reason.

    - `stein-bench compare before.json after.json --markdown difference.md`
    - `stein-bench compare runs/ --html leaderboard.html`

    More examples are in the documentation: compare.

    Exit codes: 0 done, 2 wrong usage or input, 3 nothing can be compared.
    """
    if format not in ("table", "json"):
        raise UsageError(f"--format: {format!r} is neither table nor json.")
    outputs = {"--markdown": markdown, "--csv": csv, "--latex": latex, "--html": html, "--output": output}
    found = find_reports(reports)
    check_outputs(outputs, found.files)
    named = read_named(found)
    result = _compare(found, named)
    _write(result, named, found, outputs)
    if format == "json":
        say_document(result.to_json())
    else:
        from stein_bench.render.comparison.compare import print_compare

        print_compare(result)
    return DONE if result.comparable else FAILED


def _compare(found: Found, named: Sequence[Named]) -> PairTable | Leaderboard:
    from stein_bench.comparison.compare import compare

    return board_of(found, named) if found.folders else compare(named)


def _write(
    result: PairTable | Leaderboard, named: Sequence[Named], found: Found, outputs: dict[str, str | None]
) -> None:
    """Write the files; all texts are made before the first is written."""
    from stein_bench.files import write_text
    from stein_bench.render.comparison.compare import compare_csv, compare_latex, compare_markdown

    def page(result: PairTable | Leaderboard) -> str:
        from stein_bench.render.leaderboard.page import leaderboard_page

        return leaderboard_page(result, named, dict(zip((one.name for one in named), places(found.files), strict=True)))

    makers: dict[str, Callable[[PairTable | Leaderboard], str]] = {
        "--markdown": compare_markdown, "--csv": compare_csv, "--latex": compare_latex, "--html": page,
        "--output": lambda result: result.to_json(),
    }  # fmt: skip
    texts = {path: make(result) for option, make in makers.items() if (path := outputs[option]) is not None}
    for path, text in texts.items():
        write_text(path, text)

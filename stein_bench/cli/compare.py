"""`stein-bench compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import app
from stein_bench.cli.files import check_outputs, read_comparable
from stein_bench.cli.folders import Found, board_of, find_reports, names_of
from stein_bench.cli.said import say_document
from stein_bench.errors import UsageError
from stein_bench.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from stein_bench.comparison.document import Leaderboard, PairTable


@app.command("compare", no_args_is_help=True)
def compare_(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT...", help="Reports written by evaluate, or folders of them.", show_default=False
        ),
    ],
    markdown: Annotated[str | None, typer.Option(metavar="PATH", help="Write Markdown here.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="PATH", help="Write CSV here, at full precision.")] = None,
    latex: Annotated[str | None, typer.Option(metavar="PATH", help="Write a LaTeX table (booktabs) here.")] = None,
    output: Annotated[str | None, typer.Option(metavar="PATH", help="Write the JSON document here.")] = None,
    format: Annotated[
        str, typer.Option(metavar="table|json", help="What goes to stdout. Default: table.", show_default=False)
    ] = "table",
) -> int:
    """Compare reports sample by sample.

    One report: its variants against the first. Two reports: one against the other (difference, interval, p). More, or a
    folder: a leaderboard, sorted by worst-case accuracy, with the models of a sweep that failed. Rows that cannot be
    compared (other samples, another statistics source, untrustworthy results) are marked with the reason.

    Examples:

    - `stein-bench compare report.json`
    - `stein-bench compare before.json after.json --markdown difference.md`
    - `stein-bench compare runs/*.json --latex table.tex --csv table.csv`
    - `stein-bench compare runs/`

    Exit codes: 0 done, 2 wrong usage or input, 3 nothing can be compared.
    """
    if format not in ("table", "json"):
        raise UsageError(f"--format: {format!r} is neither table nor json.")
    outputs = {"--markdown": markdown, "--csv": csv, "--latex": latex, "--output": output}
    found = find_reports(reports)
    check_outputs(outputs, found.files)
    result = _compare(found, reports)
    _write(result, outputs)
    if format == "json":
        say_document(result.to_json())
    else:
        from stein_bench.render.comparison.compare import print_compare

        print_compare(result)
    return DONE if result.comparable else FAILED


def _compare(found: Found, paths: list[str]) -> PairTable | Leaderboard:
    from stein_bench.comparison.compare import compare
    from stein_bench.comparison.leaderboard import Named

    if found.folders:
        return board_of(found)
    names = names_of(paths)
    return compare([Named(name, read_comparable(path)) for name, path in zip(names, paths, strict=True)])


def _write(result: PairTable | Leaderboard, outputs: dict[str, str | None]) -> None:
    from stein_bench.files import write_text
    from stein_bench.render.comparison.compare import compare_csv, compare_latex, compare_markdown

    texts = {"--markdown": compare_markdown, "--csv": compare_csv, "--latex": compare_latex}
    for option, make in texts.items():
        if (path := outputs[option]) is not None:
            write_text(path, make(result))
    if (path := outputs["--output"]) is not None:
        write_text(path, result.to_json())

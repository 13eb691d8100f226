"""`stein-bench report`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stein_bench.cli.app import COMPARE, command
from stein_bench.cli.completion import completing
from stein_bench.cli.files import check_outputs
from stein_bench.cli.folders import names_of
from stein_bench.cli.help import Command
from stein_bench.cli.options import OUT, file_option, log_option
from stein_bench.cli.reproduction_files import reproduction_among, write_reproduction
from stein_bench.cli.said import say
from stein_bench.cli.trackers import log_reports
from stein_bench.errors import RunError, UsageError, unknown_name
from stein_bench.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stein_bench.render.report.page import Source
    from stein_bench.report.document import Report
    from stein_bench.reproduction.document import Reproduction

PLOTS = ("curve", "bars", "gallery")
SUFFIXES = (".png", ".svg")
REPORTS = "Reports"


class _PairedOptions(Command):
    """Joins the two words of `--plot KIND PATH` into one value, KIND=PATH: Typer has no repeatable options with two."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two words after every --plot; KIND=PATH is left as it is."""
        joined: list[str] = []
        rest = iter(args)
        for word in rest:
            joined.append(word)
            if word == "--plot" and (kind := next(rest, None)) is not None:
                path = None if "=" in kind else next(rest, None)
                joined.append(kind if path is None else f"{kind}={path}")
        return super().parse_args(ctx, joined)


@command("report", COMPARE, "Reports as an HTML page, Markdown, CSV, figures, or a table", cls=_PairedOptions)
def report_(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT",
            help="Reports from evaluate, or one document from reproduce.",
            show_default=False,
            rich_help_panel=REPORTS,
        ),
    ],
    html: Annotated[str | None, file_option("Write one self-contained page here.")] = None,
    markdown: Annotated[str | None, file_option("Write Markdown here.")] = None,
    csv: Annotated[str | None, file_option("Write CSV here, at full precision.")] = None,
    junit: Annotated[str | None, file_option("Write the checks as JUnit XML here.")] = None,
    plot: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND PATH",
            help="Draw one figure, curve, bars or gallery, as .png or .svg; repeat for several.",
            show_default=False,
            autocompletion=completing(lambda: PLOTS),
            rich_help_panel=OUT,
        ),
    ] = None,
    model_card: Annotated[
        str | None,
        file_option(
            "Write the results into the metadata of this Hugging Face model card (README.md), new or existing.",
        ),
    ] = None,
    log: Annotated[list[str] | None, log_option()] = None,
) -> int:
    """Show reports from evaluate as an HTML page, as files for other programs, or as a table.

    Without an output file, the table goes to stdout. The page works offline and shows adversarial examples if
    `evaluate --save-adversarials N` stored some beside the report.

    - `stein-bench report report.json --html report.html`
    - `stein-bench report runs/*.json --html all.html --plot curve curve.svg`

    More examples are in the documentation: report.

    Exit codes: 0 done, 2 wrong usage or input, 3 a tracker of --log failed, or no result is fit for a model card.
    """
    from stein_bench.trackers.choice import parse_trackers

    drawings, trackers = _drawings(plot or []), parse_trackers(log or ())
    outputs = {"--html": html, "--markdown": markdown, "--csv": csv, "--junit": junit, "--model-card": model_card}
    from stein_bench.report.adversarials import adversarials_path

    inputs = [*reports, *(str(adversarials_path(report)) for report in reports)]
    check_outputs({**outputs, **{f"--plot {kind}": path for kind, path in drawings}}, inputs)
    if (document := reproduction_among(reports)) is not None:
        if trackers:
            raise UsageError("--log takes reports from evaluate; a document written by reproduce has no such runs.")
        return _show_reproduction(document, outputs, drawings)
    sources = _read(reports, with_galleries=html is not None or any(kind == "gallery" for kind, _ in drawings))
    texts = list(_texts(sources, outputs))  # everything is made before anything is written
    figures = [(kind, path, _figure(kind, path, sources)) for kind, path in drawings]
    _write(texts, figures)
    if not (drawings or trackers or any(outputs.values())):
        from stein_bench.render.report.table import print_report

        for number, source in enumerate(sources):
            if number:
                say("")
            print_report(source.report)
    return DONE if log_reports([source.report for source in sources], trackers) else FAILED


def _show_reproduction(document: Reproduction, outputs: dict[str, str | None], drawings: list[tuple[str, str]]) -> int:
    if drawings or outputs["--junit"] is not None or outputs["--model-card"] is not None:
        raise UsageError(
            "a document written by reproduce supports --html, --markdown and --csv only; use reproduce --plot."
        )
    write_reproduction(document, outputs)
    if not any(outputs.values()):
        from stein_bench.render.reproduction.table import print_reproduction

        print_reproduction(document)
    return 0


def _drawings(plots: list[str]) -> list[tuple[str, str]]:
    """Return the kind and the path of every requested figure."""
    found: dict[str, str] = {}
    for text in plots:
        kind, equals, path = text.partition("=")
        if not equals or not path:
            raise UsageError(f"--plot {text}: write a kind and a file, e.g. --plot curve curve.svg.")
        if kind not in PLOTS:
            raise unknown_name("kind of --plot", kind, PLOTS)
        if Path(path).suffix.lower() not in SUFFIXES:
            raise UsageError(f"--plot {kind} {path}: the name must end in {' or '.join(SUFFIXES)}.")
        if kind in found:
            raise UsageError(f"--plot {kind} is given twice.")
        found[kind] = path
    return list(found.items())


def _read(paths: list[str], *, with_galleries: bool) -> list[Source]:
    from stein_bench.comparison.pairing import contradictions, subjects
    from stein_bench.render.report.page import Source
    from stein_bench.report.adversarials import read_adversarials
    from stein_bench.report.document import read_report

    found = []
    for name, path in zip(names_of(paths), paths, strict=True):
        report, gallery, problem = read_report(path), None, ""
        if lines := contradictions(report, subjects(report, path)):
            raise UsageError(f"{path}: {lines[0]}. It has been edited or is damaged: evaluate again.")
        if with_galleries:
            try:
                gallery = read_adversarials(report, path)
            except UsageError as error:
                problem = str(error)
                say(f"stein-bench: {problem}", err=True)
        found.append(Source(name, report, gallery, problem))
    return found


def _texts(sources: list[Source], outputs: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """Yield path and content of every text file that is asked for."""
    from stein_bench.render.report.files import report_csv, report_junit, report_markdown
    from stein_bench.render.report.page import html_page

    named = [(source.name, source.report) for source in sources]
    if (path := outputs["--html"]) is not None:
        yield path, html_page(sources)
    for option, make in (("--markdown", report_markdown), ("--csv", report_csv), ("--junit", report_junit)):
        if (path := outputs[option]) is not None:
            yield path, make(named)
    if (path := outputs["--model-card"]) is not None:
        yield path, _card(path, [source.report for source in sources])


def _write(texts: list[tuple[str, str]], figures: list[tuple[str, str, Figure]]) -> None:
    from stein_bench.files import write_text

    for path, text in texts:
        write_text(path, text)
    if figures:
        from stein_bench.render.figures import save

        for kind, path, figure in figures:
            save(figure, path, f"--plot {kind}")


def _card(path: str, reports: list[Report]) -> str:
    """Return the model card at `path`, or a new one, with the results of the reports."""
    from stein_bench.render.report.card import card_index, model_card

    try:
        existing = Path(path).read_bytes().decode("utf-8") if Path(path).exists() else None
    except UnicodeDecodeError:
        raise UsageError(f"--model-card {path}: it is not UTF-8 text.") from None
    index = card_index(reports)
    for line in index.left_out:
        say(f"stein-bench: left out of {path}: {line}", err=True)
    if not index.models:
        raise RunError(f"--model-card {path}: no result can be trusted, so nothing was written.")
    try:
        return model_card(existing, index.models)
    except UsageError as error:
        raise UsageError(f"--model-card {path}: {error}") from None


def _figure(kind: str, path: str, sources: list[Source]) -> Figure:
    from stein_bench.render import figures
    from stein_bench.render.report import gallery, outcomes

    prefixes = [f"{source.name}: " if len(sources) > 1 else "" for source in sources]
    if kind == "curve":
        by_norm: dict[str, list[figures.Series]] = {}
        for source, prefix in zip(sources, prefixes, strict=True):
            for norm, series in outcomes.curves(source.report, prefix).items():
                by_norm.setdefault(norm, []).extend(series)
        if not by_norm:
            raise UsageError(f"--plot curve {path}: there is only one budget. Evaluate with --eps 1/255,4/255,8/255.")
        panels = [figures.Panel(f"ε ({norm})", outcomes.eps_ticks(lines), lines) for norm, lines in by_norm.items()]
        return figures.curve(panels, ylabel=f"{outcomes.measure(sources[0].report)}, %")
    if kind == "bars":
        rows = [(p, row) for s, p in zip(sources, prefixes, strict=True) for row in outcomes.result_rows(s.report)]
        groups, series = outcomes.bar_groups(rows)
        return figures.bars(groups, series, xlabel=f"{outcomes.measure(sources[0].report)}, %")
    shots = [shot for source in sources if source.gallery for shot in gallery.shots(source.gallery, 12)]
    if not shots:
        raise UsageError(f"--plot gallery {path}: no examples were stored. Evaluate with --save-adversarials N.")
    return figures.pictures(gallery.drawn(shots))

"""A report as Markdown, CSV and JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.corruptions import CORRUPTIONS
from stein_bench.comparison.pairing import variant_name
from stein_bench.render.markup import csv_text, markdown_table, markdown_text, xml_text
from stein_bench.render.report.adaptive import adaptive_notes
from stein_bench.render.report.attack_network import attack_network_notes
from stein_bench.render.report.calibration import (
    COLUMNS,
    TITLE,
    calibration_cells,
    calibration_notes,
    calibration_values,
    calibrations,
    calibrations_of_cells,
)
from stein_bench.render.report.expected import EXPECTED, expected_notes
from stein_bench.render.report.groups import group_grids, group_notes, group_values
from stein_bench.render.report.loading import loading_notes
from stein_bench.render.report.marks import legend
from stein_bench.render.report.outcomes import ResultRow, measure, result_rows, row_texts
from stein_bench.render.report.own_metrics import own_metric_cells, own_metric_notes, own_metric_values
from stein_bench.render.report.table import about, alerts
from stein_bench.render.report.unsearched import unsearched_notes
from stein_bench.report.document import Report

Named = tuple[str, Report]
"""The name of a report, and the report."""

CSV_COLUMNS = (
    "report", "model", "data", "variant", "control", "accuracy", "measure", "value", "low", "high", "status",
    "difference", "difference_low", "difference_high", "p", "p_adjusted",
)  # fmt: skip


def report_markdown(reports: Sequence[Named]) -> str:
    """Return reports as a Markdown page.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    return "\n".join("\n".join(_markdown(report)) + "\n" for _, report in reports)


def _markdown(report: Report) -> Iterator[str]:
    concluded = conclude(report)
    yield f"### {markdown_text(report.model.name)} on {markdown_text(report.data.name)}"
    yield from ("", markdown_text(about(report)), "")
    for line in alerts(report):
        yield from (f"**! {markdown_text(line)}**", "")
    yield from (f"**{markdown_text(concluded.sentence)}**", "")
    rows = [row_texts(row) for row in result_rows(report)]
    yield from markdown_table(("variant", measure(report), "% (95 %)", "difference (95 %)", "p"), rows, right=(2, 3, 4))
    yield ""
    for grid in group_grids(report, intervals=True, everything=False):
        yield from (markdown_text(f"{grid.title}; {grid.detail}"), "")
        yield from (*markdown_table(grid.headers, grid.rows, right=range(1, len(grid.headers))), "")
    headers, own = own_metric_cells(report)
    if own:
        yield from (*markdown_table(headers, own, right=range(2, len(headers))), "")
    headers, calibrated = calibration_cells(report)
    if calibrated:
        yield from (markdown_text(TITLE), "")
        yield from (*markdown_table(headers, calibrated, right=range(2, len(headers))), "")
    notes = (
        *concluded.caveats, *legend(report), *group_notes(report), *loading_notes(report),
        *attack_network_notes(report),
        *unsearched_notes(report), *expected_notes(report), *adaptive_notes(report), *own_metric_notes(report),
        *calibration_notes(report),
    )  # fmt: skip
    yield from (f"- {markdown_text(line)}" for line in notes)
    for check in report.diagnostics:
        if check.status == "warn":
            what = f"{check.variant}: {check.message}" if check.variant else check.message
            yield f"- {markdown_text(check.name)} warned: {markdown_text(what)}"
    passed = sum(check.status == "pass" for check in report.diagnostics)
    yield f"- {passed} of {len(report.diagnostics)} sanity checks passed"
    yield f"- {markdown_text(f'run {report.run.id} of {report.run.created}: {report.run.command}')}"


def report_csv(reports: Sequence[Named]) -> str:
    """Return the results of the reports as CSV, a row each, in full precision; missing values are empty.

    Metrics of the user's own have rows of their own. If a report has calibrations, there are the further columns
    `calibration.COLUMNS`; if it has results by group, a last column, ``group``, and a row for each group of each
    outcome.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    results = [(name, report, row) for name, report in reports for row in result_rows(report)]
    calibrated = any(calibrations(variant) for _, report in reports for variant in report.variants)
    rows = [[*_values(*one), *(_calibration_values(*one[1:]) if calibrated else ())] for one in results]
    rows += [list(row) for name, report in reports for row in _own_values(name, report)]
    groups = [row for name, report in reports for row in _group_values(name, report, calibrated)]
    columns = (*CSV_COLUMNS, *(COLUMNS if calibrated else ()))
    blank = [""] * len(columns)
    rows = [[*row, *blank[len(row) :]] for row in rows]
    if not groups:
        return csv_text(columns, rows)
    by_group = [[*row, *blank[len(row) :], group] for *row, group in groups]
    return csv_text((*columns, "group"), [*([*row, ""] for row in rows), *by_group])


def _calibration_values(report: Report, row: ResultRow) -> Iterator[object]:
    found = {variant_name(variant): calibrations(variant) for variant in report.variants}
    for value in calibration_values(found[row.variant].get(row.accuracy)).values():
        yield "" if value is None else value


def _own_values(name: str, report: Report) -> Iterator[tuple[object, ...]]:
    """Yield a row for each of the user's own metrics in each outcome; its measure is the metric's name."""
    for variant, key, metric, figure in own_metric_values(report):
        lead = (name, report.model.name, report.data.name, variant_name(variant), variant.control, key, metric)
        low, high = figure.ci95 or ("", "")
        yield (*lead, "" if figure.value is None else figure.value, low, high, "ok", *([""] * 5))


def _group_values(name: str, report: Report, calibrated: bool) -> Iterator[tuple[object, ...]]:
    known = {variant_name(variant): calibrations_of_cells(variant) for variant in report.variants}
    for variant, control, key, group, found in group_values(report):
        lead = (name, report.model.name, report.data.name, variant, control, key, measure(report))
        values = calibration_values(known[variant].get(group) if key == CORRUPTIONS else None).values()
        more = ["" if value is None else value for value in values] if calibrated else []
        yield (*lead, found.accuracy, *found.ci95, "ok", *([""] * 5), *more, group)


def _values(name: str, report: Report, row: ResultRow) -> Iterator[object]:
    measured = f"{EXPECTED} {measure(report)}" if row.expected else measure(report)
    yield from (name, report.model.name, report.data.name, row.variant, row.control, row.accuracy, measured)
    figure = row.figure
    low, high = (figure.ci95 if figure and figure.ci95 else None) or ("", "")
    yield from (figure.value if figure and figure.value is not None else "", low, high, row.status)
    d = row.contrast.difference if row.contrast else None
    yield from (d.value, *d.interval, d.p, d.p_adjusted) if d else ("",) * 5


def report_junit(reports: Sequence[Named]) -> str:
    """Return the sanity checks of the reports as JUnit XML, one test suite per report.

    A failed check is a failure, a warning passes with its message, an untrustworthy result is an error.
    """
    root = ET.Element("testsuites")
    for name, report in reports:
        suite = ET.SubElement(root, "testsuite", name=xml_text(f"stein-bench {name}"))
        for check in report.diagnostics:
            of = f" [{check.attack}]" if check.attack else ""
            case = _case(suite, check.variant or "run", f"{check.name}{of}")
            if check.status == "fail":
                ET.SubElement(case, "failure", message=xml_text(check.message), type=xml_text(check.name))
            elif check.status == "warn":
                ET.SubElement(case, "system-out").text = xml_text(check.message)
        for line in report.dishonest():
            ET.SubElement(_case(suite, "results", line), "error", message=xml_text(line), type="untrustworthy")
        for key, kind in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            suite.set(key, str(sum(1 for _ in suite.iter(kind))))
        suite.set("skipped", "0")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=xml_text(classname), name=xml_text(name), time="0")

"""The gate's verdict as Markdown, JUnit XML and GitHub annotations."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from stein_bench.comparison.gate_result import Comparison, Finding, GateResult
from stein_bench.errors import visible
from stein_bench.render.comparison.gate import IN_ROWS
from stein_bench.render.comparison.gate_wording import caveats, detectable, headline, newly_broken, p_of_change
from stein_bench.render.markup import markdown_table, markdown_text, xml_text
from stein_bench.report.number_format import percent, signed_interval

_ICONS = {"error": "❌", "warning": "⚠️", "notice": "ℹ️"}
_VERDICTS = {"passed": "✅", "failed": "❌", "refused": "⛔"}


def gate_markdown(result: GateResult) -> str:
    """Return the verdict as Markdown, e.g. for a job summary or a comment; unchanged rows are collapsed."""
    warned = result.verdict == "passed" and any(finding.level == "warning" for finding in result.findings)
    icon = _ICONS["warning"] if warned else _VERDICTS[result.verdict]
    lines = [f"### {icon} stein-bench gate {headline(result)}", ""]
    changed = [c for c in result.comparisons if c.status != "unchanged"]
    if changed:
        lines += [*_markdown_rows(changed), ""]
    noted = [finding for finding in result.findings if finding.kind not in IN_ROWS]
    lines += [f"- {_ICONS[finding.level]} {markdown_text(finding.message)}" for finding in noted]
    lines += [
        f"- {newly_broken(c, f'{markdown_text(c.variant)}, {markdown_text(c.title)}')}"
        for c in changed
        if c.status != "improved" and c.newly_broken
    ]
    lines += [f"- {caveat}" for caveat in caveats(result)]
    lines += [""] if lines[-1] else []
    unchanged = [c for c in result.comparisons if c.status == "unchanged"]
    if unchanged:
        lines += [f"<details><summary>{len(unchanged)} unchanged</summary>", "", *_markdown_rows(unchanged), ""]
        lines += ["</details>", ""]
    if result.comparisons:
        lines += [
            f"{detectable(result)} p is one-sided, for the change in its row, adjusted for all tests (Holm).",
            "",
        ]
    now, before = result.report, result.baseline
    lines.append(
        markdown_text(f"Report of {now.model} from {now.created}, baseline of {before.model} from {before.created}.")
    )
    return "\n".join(lines) + "\n"


def _markdown_rows(comparisons: Sequence[Comparison]) -> list[str]:
    headers = ("variant", "accuracy", "before %", "now %", "change (95 %)", "lost", "won", "p", "")
    rows = [
        (
            c.variant, c.title, percent(c.before), percent(c.now), signed_interval(c.difference, c.interval),
            str(c.lost), str(c.gained), p_of_change(c), c.status,
        )
        for c in comparisons
    ]  # fmt: skip
    return markdown_table(headers, rows, right=(2, 3, 5, 6, 7))


def gate_junit(result: GateResult) -> str:
    """Return the verdict as JUnit XML: a test case for every comparison, satisfied floor and other finding.

    Regressions, missed floors and missing results are failures, refusals are errors, warnings pass with a message.
    """
    suite = ET.Element("testsuite", name="stein-bench gate")
    told = {(f.variant, f.accuracy): f for f in result.findings if f.kind in ("regression", "unproven")}
    for c in result.comparisons:
        _case(suite, c.variant, f"{c.title} [{c.accuracy}]", told.get((c.variant, c.accuracy)))
    for floor in result.floors:
        if floor.held:
            _case(suite, floor.variant, f"{floor.title} is at least {100 * floor.minimum:g} %", None)
    for finding in result.findings:
        if finding.kind not in IN_ROWS and finding.level != "notice":
            _case(suite, finding.variant or "stein-bench", f"{finding.kind}: {finding.message}", finding)
    for name, kind in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        suite.set(name, str(sum(1 for _ in suite.iter(kind))))
    suite.set("skipped", "0")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, classname: str, name: str, finding: Finding | None) -> None:
    case = ET.SubElement(suite, "testcase", classname=xml_text(classname), name=xml_text(name), time="0")
    if finding is None:
        return
    if finding.level == "error":
        tag = "error" if finding.kind == "refused" else "failure"
        ET.SubElement(case, tag, message=xml_text(finding.message), type=finding.kind)
    else:
        ET.SubElement(case, "system-out").text = xml_text(finding.message)


def gate_annotations(result: GateResult) -> str:
    """Return the workflow commands that make GitHub annotate the run with every error and warning.

    Source: GitHub's documentation of workflow commands; % and line ends are escaped, in properties also : and ,.
    """
    return "".join(
        f"::{finding.level} title=stein-bench gate%3A {finding.kind}::{_escaped(finding.message)}\n"
        for finding in result.findings
        if finding.level != "notice"
    )


def _escaped(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

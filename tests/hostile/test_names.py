"""No text of a report has any effect in what is made of the report: it is shown as it is written, or spelled out."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from html.parser import HTMLParser
from itertools import chain
from xml.etree import ElementTree as ET

import pytest
import yaml
from markdown_it import MarkdownIt

from stein_bench.api.shown import _text
from stein_bench.comparison.compare import compare
from stein_bench.comparison.gate import gate
from stein_bench.comparison.leaderboard import Named
from stein_bench.errors import RunError, UsageError, one_line, reason, visible
from stein_bench.render.comparison.compare import compare_csv, compare_latex, compare_markdown, print_compare
from stein_bench.render.comparison.gate import print_gate
from stein_bench.render.comparison.gate_files import gate_annotations, gate_junit, gate_markdown
from stein_bench.render.report.card import card_index, model_card
from stein_bench.render.report.files import report_csv, report_junit, report_markdown
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.report.document import Report
from stein_bench.report.results import on_lines
from stein_bench.trackers.mlflow_runs import _names
from stein_bench.trackers.runs import slug, tracked_runs
from tests.hostile.names import HARMLESS, NAMES, clean_runs, report_of
from tests.reports import replaced

every_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


def compared(name):
    return compare([Named(name + "1", report_of(name)), Named(name + "2", report_of(name))])


def board(name):
    return compare([Named(f"{name}{number}", clean_runs(name)[number % 2]) for number in range(3)])


def judged(name):
    return gate(*clean_runs(name))


def unseen(text):
    """What of a text is no letter, sign or line end."""
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"]
    return [c for c in bad if c not in "\u200c\u200d"] + [c for c in text if c in "\u3164\ufffe\uffff"]


def test_the_reports_are_hostile():
    one = report_of(NAMES["rich"])
    assert one.model.name.startswith("[red]")
    assert one.variants[0].attacks[0].label.startswith("[red]")
    assert one.variants[0].attacks[0].label in one.variants[0].outcomes.robust
    assert all(check.message.startswith("[red]") for check in one.diagnostics)


@every_name
def test_json_is_plain_text_and_reads_back_the_same(name):
    one = report_of(name)
    assert unseen(one.to_json()) == []
    back = Report.model_validate(json.loads(one.to_json()))
    assert back == (on_lines(one) if name == NAMES["surrogate"] else one)  # UTF-8 has no half of a surrogate pair


@every_name
def test_a_terminal_shows_everything_and_obeys_nothing(name, capsys):
    tables = [
        _text(lambda console: print_report(report_of(name), console)),
        _text(lambda console: print_compare(compared(name), console)),
        _text(lambda console: print_compare(board(name), console)),
        _text(lambda console: print_gate(judged(name), console)),
    ]
    word = "".join(one_line(name).split())[:6]
    for text in tables:
        assert unseen(text) == []
        assert word in "".join(text.split())


def markdown_shape(text):
    """The kinds of blocks and spans that Markdown finds, in order."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    shape = []
    for token in tokens:
        shape.append((token.type, token.tag))
        shape += [(span.type, span.tag) for span in token.children or () if span.type not in ("text", "text_special")]
    return shape


MARKDOWN = {
    "report": lambda name: report_markdown([(name, report_of(name))]),
    "compare": lambda name: compare_markdown(compared(name)),
    "board": lambda name: compare_markdown(board(name)),
    "gate": lambda name: gate_markdown(judged(name)),
}


@pytest.mark.parametrize("kind", MARKDOWN)
@every_name
def test_markdown_has_the_same_structure_as_with_harmless_names(name, kind):
    text = MARKDOWN[kind](name)
    assert unseen(text) == []
    assert markdown_shape(text) == markdown_shape(MARKDOWN[kind](HARMLESS))
    assert not re.search(r"[a-z]://|(?<!\w)@\w|\bwww\.", text)


TABLES = {
    "report": lambda name: report_csv([(name, report_of(name))]),
    "compare": lambda name: compare_csv(compared(name)),
    "board": lambda name: compare_csv(board(name)),
}


def csv_rows(text):
    return list(csv.reader(io.StringIO(text), strict=True))


@pytest.mark.parametrize("kind", TABLES)
@every_name
def test_no_cell_of_a_spreadsheet_is_a_formula_and_numbers_stay_numbers(name, kind):
    rows, harmless = csv_rows(TABLES[kind](name)), csv_rows(TABLES[kind](HARMLESS))
    assert [len(row) for row in rows] == [len(row) for row in harmless]
    for cell, other in zip(chain(*rows), chain(*harmless), strict=True):
        assert unseen(cell) == []
        if cell.strip()[:1] in ("=", "+", "-", "@", "\t", "\r"):
            assert float(cell) == float(other)
    assert any(re.fullmatch(r"-\d.*", cell) for row in rows for cell in row)


LATEX = {
    "compare": lambda name: compare_latex(compared(name)),
    "board": lambda name: compare_latex(board(name)),
}
WORDS = {
    "par", "footnotesize", "begin", "end", "toprule", "midrule", "bottomrule", "textbackslash", "textasciitilde",
    "textasciicircum", "dots", "varepsilon", "alpha", "times", "to", "dagger",
}  # fmt: skip


def latex_shape(text):
    """The rows, cells and groups of a LaTeX text; asserts that it uses no other commands than ours."""
    lines = [line for line in text.splitlines() if not line.startswith("% ")]
    body = "\n".join(lines)
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= WORDS
    bare = re.sub(r"\\\\(?=\n)", "¶", body)
    assert not re.search(r"(?:¶|rule)\s*(?:\[|\*)", bare)
    assert not re.search(r"\\[^A-Za-z&%$#_{}]", bare)
    bare = re.sub(r"\\[&%$#_{}]|\$(?:[-<>]|\\[a-z]+)\$", "", bare)
    assert not re.search(r"[%$#_~^]|[^\S\n ]", bare)
    assert bare.count("{") == bare.count("}")
    return len(lines), bare.count("¶"), bare.count("&")


@pytest.mark.parametrize("kind", LATEX)
@every_name
def test_latex_sees_no_command_in_a_name(name, kind):
    assert latex_shape(LATEX[kind](name)) == latex_shape(LATEX[kind](HARMLESS))


JUNIT = {
    "report": lambda name: report_junit([(name, report_of(name))]),
    "gate": lambda name: gate_junit(judged(name)),
}


@pytest.mark.parametrize("kind", JUNIT)
@every_name
def test_junit_is_well_formed_and_has_the_same_elements(name, kind):
    text, other = JUNIT[kind](name), JUNIT[kind](HARMLESS)
    shape = [[(one.tag, sorted(one.attrib)) for one in ET.fromstring(xml.encode()).iter()] for xml in (text, other)]
    assert shape[0] == shape[1]
    values = [value for one in ET.fromstring(text.encode()).iter() for value in (*one.attrib.values(), one.text or "")]
    assert unseen("".join(values)) == []


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.values, self.comments = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag != "wbr":  # where a name may be wrapped: after its slashes and underscores, and without attributes
            self.found.append((tag, tuple(name for name, _ in attrs)))
        assert tag != "wbr" or not attrs
        self.values += [value or "" for _, value in attrs]

    def handle_comment(self, data):
        self.comments.append(data)


@pytest.mark.integration
def test_a_page_has_the_elements_of_the_page_with_harmless_names():
    name = " ".join(NAMES.values())
    text = html_page([Source(name, report_of(name)), Source("b", report_of(name))])
    harmless = html_page([Source(HARMLESS, report_of(HARMLESS)), Source("b", report_of(HARMLESS))])
    page, other = Elements(text), Elements(harmless)
    assert unseen(text) == []
    assert [one for one in page.found if one[0] not in ("use", "path", "text", "g", "defs", "tspan")] == [
        one for one in other.found if one[0] not in ("use", "path", "text", "g", "defs", "tspan")
    ]
    assert {tag for tag, _ in page.found} == {tag for tag, _ in other.found}
    assert {name for _, names in page.found for name in names} == {name for _, names in other.found for name in names}
    assert not any("script" in tag or name.startswith("on") for tag, names in page.found for name in (*names, ""))
    assert not any(re.match(r"\s*javascript:", value, re.IGNORECASE) for value in page.values)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


@every_name
def test_annotations_are_one_line_each_and_no_other_command(name):
    lines = gate_annotations(judged(name)).split("\n")
    assert len(lines) == len(gate_annotations(judged(HARMLESS)).split("\n"))
    for line in lines[:-1]:
        assert re.fullmatch(r"::(error|warning) title=stein-bench gate%3A [a-z]+::[^\r\n]*", line)
        assert unseen(line) == []


@every_name
def test_a_model_card_keeps_its_front_matter_and_the_text_below(name):
    index = card_index([clean_runs(name)[0]])
    text = model_card("---\nlicense: mit\n---\n# Text\n", index.models)
    front, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert rest == "# Text\n"
    assert unseen(text) == []
    found = yaml.safe_load(front)
    assert list(found) == ["license", "model-index"]
    assert found["model-index"][0]["name"] == one_line(clean_runs(name)[0].model.name)
    assert any(one_line(name) in metric["name"] for metric in found["model-index"][0]["results"][0]["metrics"])


@every_name
def test_trackers_get_plain_names_and_folders_inside_their_own(name):
    for run in tracked_runs(report_of(name)):
        texts = [run.name, run.group, *run.params, *run.params.values(), *run.metrics, *run.texts, *run.texts.values()]
        assert all(unseen(text) == [] and "\n" not in text for text in texts)
        for part in (slug(run.group), slug(run.name)):
            assert re.fullmatch(r"[\w][\w.\-]*", part)
            assert len(part.encode()) <= 200
        for key in _names([*run.params, *run.metrics, *run.texts, name, "../x", "a/../b", "..", ""]).values():
            assert re.fullmatch(r"(?!\.)[\w.\- ]+(/(?!\.)[\w.\- ]+)?", key)
            assert len(key) <= 250


@every_name
def test_errors_are_one_plain_line(name):
    for error in (UsageError(f"no file {name}"), RunError(name), UsageError(reason(ValueError(name)))):
        assert unseen(str(error)) == []
        assert "\n" not in str(error)


@pytest.mark.parametrize("text", ["naïve Größe ε ≤ 8/255", "می\u200cروم", "👩\u200d💻", "日本語 − – † ✗"])
def test_letters_of_all_scripts_stay(text):
    assert visible(text) == one_line(text) == text


def test_an_exception_that_cannot_be_printed_is_named():
    class SilentError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    assert reason(SilentError()) == "SilentError"


def test_a_report_without_the_strength_of_a_corruption_or_an_effect_is_shown():
    one = report_of(HARMLESS)
    first = one.variants[0]
    odd = [replaced(corruption, params={"std": "loud"}) for corruption in first.corruptions]
    variants = [replaced(variant, effects=variant.effects[:1]) for variant in one.variants[1:]]
    changed = replaced(one, variants=[replaced(first, corruptions=odd), *variants])
    assert "noise-gaussian" in _text(lambda console: print_report(changed, console)).replace("\n", "")
    assert report_csv([("a", changed)])

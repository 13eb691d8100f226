"""Tables at every width: no name and no number is broken or lost, and lines are too long only for a name that is."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph, Terminal, note_list, print_uncut, wrapped
from stein_bench.render.text_table import TextTable
from tests.render.every_table import EVERY_TABLE

TO_COPY = ("weights: ", "evaluate with: ")
WIDTHS = (60, 61, 66, 72, 80, 90, 100, 120, 160, 200)
_SIGNS = "*†‡△▲+−;,"
_TITLES = ("BN", "stats", "variant", "estimator", "outcome")
"""Titles of leading columns, which a line above the rows needs not."""


def printed(show, width):
    stream = io.StringIO()
    show(Terminal(file=stream, width=width))
    return stream.getvalue()


def words(text):
    """How often each word occurs, without rules, titles of names, and signs that move with what they follow."""
    found = (word.rstrip(_SIGNS) for word in text.split() if not set(word) <= {"─"})
    return Counter(word for word in found if word and word not in _TITLES)


@pytest.mark.parametrize("name", EVERY_TABLE)
def test_no_word_is_broken_or_lost_at_any_width(name):
    """Names and numbers are words; parts of a table repeat some."""
    show = EVERY_TABLE[name]
    whole = words(printed(show, 2000))
    for width in WIDTHS:
        text = printed(show, width)
        lost = whole - words(text)
        assert not lost, (width, lost, text)
        for line in text.splitlines():
            alone = " " not in line.strip() or line.startswith(TO_COPY)
            assert cell_len(line) <= width or alone, (width, line)
            assert line == line.rstrip()
        assert "\x1b" not in text
        assert "…" not in text


def table(*columns, rows):
    made = TextTable([*columns])
    for row in rows:
        made.add(*row)
    return made


def shown(what: RenderableType, width: int) -> list[str]:
    return printed(lambda console: print_uncut(what, console), width).splitlines()


BN, ATTACK = Column("BN", name=True, lead=True), Column("attack", name=True)
CLEAN = Column("clean", point=True, lead=True, narrow="beneath")
ROBUST = Column("robust", point=True, narrow="beneath", importance=1)
ROWS = [
    ("sample", "90.0 (82.6–94.5)", "fgsm", "4.0 (1.6–9.8)"),
    ("", "", "salt-and-pepper†", "100.0 (96.3–100.0)△"),
    ("stein", "9.0 (5.0–16.2)", "my attack", "50.0 (40.4–59.6)"),
]


def test_columns_give_way_one_after_the_other():
    made = table(BN, CLEAN, ATTACK, ROBUST, rows=ROWS)
    assert shown(made, 80) == [
        "BN      clean             attack            robust",
        "───────────────────────────────────────────────────────────────",
        "sample  90.0 (82.6–94.5)  fgsm                4.0 (1.6–9.8)",
        "                          salt-and-pepper†  100.0 (96.3–100.0)△",
        "stein    9.0 (5.0–16.2)   my attack          50.0 (40.4–59.6)",
    ]
    assert shown(made, 60)[0].split() == ["BN", "clean", "attack", "robust"]
    assert shown(made, 60)[2].split() == ["sample", "90.0", "(82.6–94.5)", "fgsm", "4.0", "(1.6–9.8)"]  # smaller gaps
    assert shown(table(BN, CLEAN, ATTACK, ROBUST, rows=[*ROWS, ("", "", "pgd", "0.0")]), 60)[
        :5
    ] == [  # what was in parentheses is in the next row, where nothing else is
        "BN      clean        attack            robust",
        "──────────────────────────────────────────────────────────",
        "sample  90.0         fgsm                4.0 (1.6–9.8)",
        "        (82.6–94.5)  salt-and-pepper†  100.0 (96.3–100.0)△",
        "stein    9.0         my attack          50.0 (40.4–59.6)",
    ]
    assert shown(made, 50)[2:7] == [  # the leading columns are a line above
        "sample; clean 90.0 (82.6–94.5)",
        "fgsm                4.0 (1.6–9.8)",
        "salt-and-pepper†  100.0 (96.3–100.0)△",
        "",
        "stein; clean 9.0 (5.0–16.2)",
    ]


def test_a_long_name_stands_above_its_figures_and_others_beside_them():
    rows = [("pgd", "50.0 (40.4–59.6)"), ("a_long_name_of_a_file.py:its_attack", "4.0 (1.6–9.8)")]
    assert shown(table(ATTACK, ROBUST, rows=rows), 44)[2:] == [
        "pgd    50.0 (40.4–59.6)",
        "a_long_name_of_a_file.py:its_attack",
        "        4.0 (1.6–9.8)",
    ]


def test_what_does_not_fit_goes_on_in_a_further_part_the_most_important_first():
    columns = [Column(f"attack{i}", right=True) for i in range(8)]
    rows = [(f"model{n}", *(f"{10 * n + i}.5" for i in range(8)), "99.9") for n in (1, 2)]
    lines = shown(table(Column("model", name=True), *columns, Column("worst", right=True, importance=1), rows=rows), 60)
    assert lines[0].split() == ["model", *(f"attack{i}" for i in range(5)), "worst"]
    assert lines[5].split() == ["model", "attack5", "attack6", "attack7"]
    assert lines[7].split() == ["model1", "15.5", "16.5", "17.5"]


def test_equal_columns_each_have_their_place():
    columns = [Column("attack name", right=True) for _ in range(8)]
    lines = shown(table(Column("model", name=True), *columns, rows=[("m", *["1.0"] * 8)]), 60)
    assert sum(line.count("1.0") for line in lines) == 8


def test_sentences_are_not_broken_in_a_word_but_parameters_may_be_after_a_comma():
    assert [line.plain for line in wrapped(Text("a salt-and-pepper b"), 10)] == ["a", "salt-and-pepper", "b"]
    long = "pgd:eps=0.03,alpha=0.007,restarts=2"
    assert [line.plain for line in wrapped(Text(long), 20)] == ["pgd:eps=0.03,", "alpha=0.007,", "restarts=2"]
    assert [line.plain for line in wrapped(Text("1,000,000 samples"), 5)] == ["1,000,000", "samples"]
    name = "x" * 100
    assert shown(Group(Paragraph(f"see {name}"), note_list([f"see {name}"])), 60) == ["see", name, "- see", f"  {name}"]


def test_output_that_is_no_terminal_has_the_width_of_none(monkeypatch):
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (200, 50))
    assert Terminal(file=io.StringIO()).width == 80
    monkeypatch.setenv("COLUMNS", "100")
    assert Terminal(file=io.StringIO()).width == 100


@pytest.mark.parametrize("name", EVERY_TABLE)
def test_nothing_has_a_color_that_a_light_or_dark_background_may_hide(name):
    """Yellow and white vanish on white, dim text on either; shaded cells bring their own background."""
    stream = io.StringIO()
    EVERY_TABLE[name](Terminal(file=stream, width=80, force_terminal=True, color_system="standard", no_color=False))
    codes = re.findall(r"\x1b\[([0-9;]*)m", stream.getvalue())
    for code in codes:
        parts = set(code.split(";"))
        has_background = any(re.fullmatch(r"4\d|10\d", part) for part in parts)
        assert has_background or not parts & {"2", "33", "37", "30", "93", "97", "90"}, code

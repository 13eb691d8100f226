"""Markdown, LaTeX, CSV and XML text and tables. Every cell is escaped here.

Names of models, classes and attacks may hold whatever their makers wrote. Here, what has a meaning in the format loses
it, and what cannot be seen is spelled out (see `visible`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence

from stein_bench.errors import visible

_MARKDOWN = re.compile(
    r"[\\`*_\[\]<>|~$]|&(?=[#\w])"  # anywhere
    r"|^(?:#(?=#{0,5}(?: |$))|[+-](?= |$)|[=-](?=[=-]*$))"  # a heading, a list, a rule
    r"|:(?=//)|(?<=\bwww)\.",  # in what GitHub turns into links
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?= |$)")
_MENTION = re.compile(r"(?<![\w`])@(?=\w)")
"""What makes GitHub notify a person or a team."""
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""The beginning of a cell that spreadsheets compute (OWASP, CSV injection)."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "[": "{[}",  # after the end of a row or a rule it would begin their argument
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
    "ε": r"$\varepsilon$",
    "α": r"$\alpha$",
    "×": r"$\times$",
    "→": r"$\to$",
    "†": r"$\dagger$",
    "<": "$<$",
    ">": "$>$",
}


def xml_text(text: str) -> str:
    """Spell out what XML 1.0 cannot contain, not even escaped, among others; the XML writer escapes the rest."""
    return visible(text)


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it literally, on one line."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", visible(" ".join(text.split())))
    escaped = _NUMBERED.sub(r"\1\\\2", escaped)
    return _MENTION.sub("@&#8203;", escaped)


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a Markdown table; `right` are the right-aligned columns."""
    rule = ["---:" if i in right else "---" for i in range(len(headers))]
    lines = [headers, *rows]
    cells = ["| " + " | ".join(markdown_text(cell) for cell in line) + " |" for line in lines]
    return [cells[0], "| " + " | ".join(rule) + " |", *cells[1:]]


def latex_text(text: str) -> str:
    """Escape a text so that LaTeX shows it literally, on one line."""
    return "".join(_LATEX.get(character, character) for character in visible(" ".join(text.split())))


def latex_comment(text: str) -> str:
    """Return a text as a comment of one line."""
    return f"% {visible(' '.join(text.split()))}"


def latex_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a LaTeX tabular with booktabs rules; an empty row becomes a thin rule."""
    columns = "".join("r" if i in right else "l" for i in range(len(headers)))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(headers), r"\midrule"]
    lines += [_latex_row(row) if row else r"\midrule" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(latex_text(cell) for cell in cells) + r" \\"
    return f"{{}}{row}" if row.startswith("*") else row  # the end of the row before would take it


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV (RFC 4180, except that lines end with \\n).

    A text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in (headers, *rows):
        writer.writerow([_csv_cell(cell) for cell in row])
    return stream.getvalue()


def _csv_cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

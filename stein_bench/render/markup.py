"""Markdown, LaTeX, CSV and XML text and tables. Every cell is escaped here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")
_LATEX = {
    "\\": r"\textbackslash{}",
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


_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot contain, not even escaped."""


def xml_text(text: str) -> str:
    """Replace characters that XML cannot contain; the XML writer escapes the rest."""
    return _NOT_XML.sub("\ufffd", text)


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it literally, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a Markdown table; `right` are the right-aligned columns."""
    rule = ["---:" if i in right else "---" for i in range(len(headers))]
    lines = [headers, *rows]
    cells = ["| " + " | ".join(markdown_text(cell) for cell in line) + " |" for line in lines]
    return [cells[0], "| " + " | ".join(rule) + " |", *cells[1:]]


def latex_text(text: str) -> str:
    """Escape a text so that LaTeX shows it literally, on one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def latex_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a LaTeX tabular with booktabs rules; an empty row becomes a thin rule."""
    columns = "".join("r" if i in right else "l" for i in range(len(headers)))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(headers), r"\midrule"]
    lines += [_latex_row(row) if row else r"\midrule" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV (RFC 4180, except that lines end with \\n)."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return stream.getvalue()

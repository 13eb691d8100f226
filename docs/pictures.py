"""Draw the README's pictures of a report: `python docs/pictures.py REPORT.json FOLDER`.

It writes table.svg, the table as a terminal of 80 columns shows it, and page.png, the beginning of the HTML page as
Chromium shows it.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Group
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from stein_bench.errors import SteinBenchError
from stein_bench.render.console import Terminal, print_uncut, wrapped
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import report_table
from stein_bench.report.adversarials import read_adversarials
from stein_bench.report.document import Report, read_report

COLUMNS = 80
WINDOW = (1280, 900)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

DARK = TerminalTheme(
    (32, 38, 48),  # between a light and a dark page, and text on it has a contrast of 4.5 to 1 at least (WCAG 2)
    (222, 228, 236),
    [(32, 38, 48), (255, 138, 128), (126, 211, 133), (229, 192, 123), (121, 184, 255), (210, 168, 255), (120, 214, 220),
     (222, 228, 236)],
)  # fmt: skip

SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: FONTS;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{
  font-family: sans-serif;
  font-size: 18px;
  font-weight: bold;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
  <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("FONTS", FONTS)
"""Rich's own template fetches a font from the web."""


def table_svg(report: Report) -> str:
    """Return the table of a report below the command that made it, as SVG without anything from elsewhere."""
    console = Terminal(
        file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", no_color=False,
        legacy_windows=False,
    )  # fmt: skip
    lines = wrapped(Text(f"$ {report.run.command}"), COLUMNS - 4)
    command = Text(" \\\n    ").join(lines)
    command.stylize("bold")
    print_uncut(Group(command, Text(), report_table(report)), console)
    return console.export_svg(title="", theme=DARK, code_format=SVG, unique_id="table")


def page_png(report: Report, path: Path, target: Path) -> None:
    """Write the first screenful of a report's HTML page; `path` is the report's, beside its stored examples.

    Raises:
        SystemExit: there is no browser, or it has drawn nothing.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(
            f"docs/pictures.py: no {', '.join(BROWSERS[:-1])} or {BROWSERS[-1]} to draw {target} with: install one."
        )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html_page([Source(path.name, report, read_adversarials(report, path))]), encoding="utf-8")
        target.unlink(missing_ok=True)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/own"]
        size = ",".join(map(str, WINDOW))
        command = [browser, *options, f"--window-size={size}", f"--screenshot={target.resolve()}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not target.exists():
        sys.exit(f"docs/pictures.py: {browser} has drawn nothing: {done.stderr.strip()[-300:]}")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path, metavar="REPORT.json", help="a report from evaluate")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where table.svg and page.png go")
    asked = parser.parse_args(arguments)
    try:
        report = read_report(str(asked.report))
        asked.folder.mkdir(parents=True, exist_ok=True)
        (asked.folder / "table.svg").write_text(table_svg(report), encoding="utf-8")
        page_png(report, asked.report, asked.folder / "page.png")
    except SteinBenchError as error:
        sys.exit(f"docs/pictures.py: {error}")


if __name__ == "__main__":
    main()

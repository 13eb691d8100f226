"""A hook of mkdocs: writes the pages of the reference from the code whenever the site is built; none is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from from_code import attacks, command_line, configuration, estimators, python, report

from stein_bench.cli.commands import app

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

FOLDER = "reference"


def pages() -> dict[str, str]:
    """Name → Markdown of every generated page."""
    root = typer.main.get_command(app)
    return {
        "command-line": command_line.page(root),
        "configuration": configuration.page(root),
        "report": report.page(),
        "attacks": attacks.page(),
        "estimators": estimators.page(),
        "python": python.page(),
    }


def on_files(files: Files, /, *, config: Any) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File  # what the pages say can be tested without mkdocs

    for name, text in pages().items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files

"""`stein-bench theory`: the command group and its shared options."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stein_bench.cli.app import OneLineErrors, app
from stein_bench.cli.files import check_outputs, check_picture
from stein_bench.cli.options import OUT
from stein_bench.errors import unknown_name
from stein_bench.files import check_output_file

theory = typer.Typer(cls=OneLineErrors, no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(theory, name="theory", help="Check the paper's theorems by simulation.")

FORMATS = ("table", "json")

Seed = Annotated[int, typer.Option(metavar="N", help="Seed.")]
Format = Annotated[str, typer.Option(metavar="table|json", help="What goes to stdout.", rich_help_panel=OUT)]
Output = Annotated[str | None, typer.Option(metavar="PATH", help="Write the JSON document here.", rich_help_panel=OUT)]
Plot = Annotated[
    str | None, typer.Option(metavar="PATH", help="Plot to a .png, .svg or .pdf file.", rich_help_panel=OUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=OUT)]


def check_files(format: str, output: str | None, plot: str | None) -> None:
    """Refuse an unknown format and files that cannot be written, before anything is computed."""
    if format not in FORMATS:
        raise unknown_name("--format", format, FORMATS)
    outputs = {"--output": output, "--plot": plot}
    check_outputs(outputs, ())
    for option, name in outputs.items():
        if name is not None:
            check_output_file(option, name)
    if plot is not None:
        check_picture("--plot", plot)


def write_document(document: dict[str, Any], output: str | None) -> str:
    """Return the document as JSON text, and write it to `output` if that is given."""
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    if output is not None:
        from stein_bench.files import write_text

        write_text(output, text)
    return text

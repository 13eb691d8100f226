"""`stein-bench theory`: the command group and its shared options."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stein_bench.cli.app import TRAIN, OneLineErrors, app
from stein_bench.cli.files import check_outputs, check_picture
from stein_bench.cli.options import ADVANCED, file_option, format_option, quiet_option
from stein_bench.errors import unknown_name
from stein_bench.files import check_output_file

theory = typer.Typer(cls=OneLineErrors, no_args_is_help=True)
app.add_typer(
    theory,
    name="theory",
    help="""Check the paper's theorems by simulation.

    - `stein-bench theory risk --plot risk.png`
    - `stein-bench theory lipschitz --model resnet18`
    """,
    short_help="Check the paper's theorems by simulation",
    rich_help_panel=TRAIN,
)

FORMATS = ("table", "json")

Seed = Annotated[int, typer.Option(metavar="N", help="Seed.", rich_help_panel=ADVANCED)]
Format = Annotated[str, format_option()]
Output = Annotated[str | None, file_option("Write the JSON document here.")]
Plot = Annotated[str | None, file_option("Plot to a .png, .svg or .pdf file.")]
Quiet = Annotated[bool, quiet_option()]


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

"""`stein-bench inspect`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import EVALUATE, command
from stein_bench.cli.completion import data_sets, models
from stein_bench.cli.completion import weights as weights_typed
from stein_bench.cli.files import check_outputs, check_picture
from stein_bench.cli.options import (
    BN,
    DATA,
    MODEL,
    bn_option,
    device_option,
    file_option,
    format_option,
    image_size_option,
    offline_option,
    quiet_option,
    seed_option,
    trust_option,
    weights_key_option,
)
from stein_bench.cli.said import say_document
from stein_bench.errors import visible_json
from stein_bench.evaluation.outputs import check_apart, input_files
from stein_bench.normalization.names import parse_estimator

if TYPE_CHECKING:
    from stein_bench.evaluation.inspection import Inspection


@command("inspect", EVALUATE, "BN layers: which convert, how strongly each would be shrunk")
def inspect_(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="As for evaluate, e.g. resnet18 or net.py:make.",
            show_default=False,
            autocompletion=models,
            rich_help_panel=MODEL,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set that fits the weights. Default: digits.",
            autocompletion=data_sets,
            rich_help_panel=DATA,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KIND|PATH",
            help="As for evaluate: auto, pretrained, none, fit or a file.",
            autocompletion=weights_typed,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights_key: Annotated[str | None, weights_key_option()] = None,
    bn: Annotated[
        list[str] | None,
        bn_option("Estimators to show; repeat for several. Default: all; in the table as many as fit."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Training batch size assumed if the weights do not record N. Default: 100.",
            rich_help_panel=BN,
        ),
    ] = None,
    trust_code: Annotated[bool | None, trust_option("the file of --weights")] = None,
    offline: Annotated[bool | None, offline_option()] = None,
    image_size: Annotated[int | None, image_size_option()] = None,
    seed: Annotated[int | None, seed_option()] = None,
    device: Annotated[str | None, device_option()] = None,
    format: Annotated[str | None, format_option()] = None,
    output: Annotated[str | None, file_option("Write the JSON document here.")] = None,
    plot: Annotated[str | None, file_option("Draw the shrinkage by layer: a .png, .svg or .pdf file.")] = None,
    quiet: Annotated[bool | None, quiet_option()] = None,
) -> int:
    """Inspect a model's BN layers: statistics, which can be converted, how strongly each estimator would shrink them.

    The network is the one that `evaluate` would use with these options, trained if necessary (once; cached).

    - `stein-bench inspect resnet18`
    - `stein-bench inspect net.py:make --weights net.safetensors --data npz:test.npz`
    """
    options = {key: value for key, value in locals().items() if key != "plot"}
    from stein_bench.config import make_config

    settings = make_config(options)
    outputs = {"--output": output, "--plot": plot}
    check_outputs(outputs, [])
    check_apart(
        {f"{option} {path}": path for option, path in outputs.items() if path is not None}, input_files(settings)
    )
    if plot is not None:
        check_picture("--plot", plot)

    from stein_bench.preparation.early import check_sources

    check_sources(settings.data, settings.model)
    from stein_bench.evaluation.inspection import inspect_model
    from stein_bench.render.progress import terminal_progress

    with terminal_progress(quiet=settings.quiet) as progress, redirect_stdout(sys.stderr):
        inspection = inspect_model(settings, progress=progress)
    _write(inspection, settings.format, output, plot, settings.bn)
    return 0


def _write(
    inspection: Inspection, format: str, output: str | None, plot: str | None, asked: tuple[str, ...] | None
) -> None:
    text = json.dumps(inspection.document(), indent=2, allow_nan=False, ensure_ascii=False)
    text = visible_json(text) + "\n"
    if output is not None:
        from stein_bench.files import write_text

        write_text(output, text)
    if plot is not None:
        from stein_bench.render.inspection.plot import plot_shrinkage

        plot_shrinkage(inspection, plot)
    if format == "json":
        say_document(text)
        return
    from stein_bench.render.inspection.table import print_inspection

    print_inspection(inspection, [str(parse_estimator(name)) for name in asked or ()])

"""`stein-bench inspect`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import app
from stein_bench.cli.files import check_outputs, check_picture
from stein_bench.cli.options import (
    bn_option,
    device_option,
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


@app.command("inspect", no_args_is_help=True)
def inspect_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As for evaluate.", show_default=False)],
    data: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Data set that fits the weights. Default: digits.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="KIND|PATH", help="As for evaluate: auto, pretrained, none, fit or a file."),
    ] = None,
    weights_key: Annotated[str | None, weights_key_option(panel=None)] = None,
    bn: Annotated[
        list[str] | None,
        bn_option("Estimators to show; repeat for several. Default: all; in the table as many as fit.", None),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Training batch size assumed if the weights do not record N. Default: 100."),
    ] = None,
    trust_code: Annotated[bool | None, trust_option("the file of --weights", None)] = None,
    offline: Annotated[bool | None, offline_option(None)] = None,
    image_size: Annotated[int | None, image_size_option(None)] = None,
    seed: Annotated[int | None, seed_option(panel=None)] = None,
    device: Annotated[str | None, device_option(None)] = None,
    format: Annotated[str | None, format_option(panel=None)] = None,
    output: Annotated[str | None, typer.Option(metavar="PATH", help="Write the JSON document here.")] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="PATH", help="Draw the shrinkage by layer: a .png, .svg or .pdf file.")
    ] = None,
    quiet: Annotated[bool | None, quiet_option(None)] = None,
) -> int:
    """Inspect a model's BN layers: statistics, which can be converted, how strongly each estimator would shrink them.

    The network is the one that `evaluate` would use with these options, trained if necessary (once; cached).

    Examples:

    - `stein-bench inspect resnet18`
    - `stein-bench inspect resnet50 --weights pretrained --data imagefolder:imagenet/val --plot shrinkage.png`
    - `stein-bench inspect net.py:make --weights net.safetensors --data npz:test.npz --format json`
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

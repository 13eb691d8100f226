"""`stein-bench theory lipschitz`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stein_bench.cli.completion import data_sets, estimators, models
from stein_bench.cli.completion import weights as weights_typed
from stein_bench.cli.help import Command
from stein_bench.cli.options import (
    ADVANCED,
    BN,
    device_option,
    image_size_option,
    mean_option,
    offline_option,
    std_option,
    trust_option,
    weights_key_option,
)
from stein_bench.cli.said import say_document
from stein_bench.cli.theory import Format, Output, Plot, Quiet, Seed, check_files, theory, write_document
from stein_bench.errors import UsageError

if TYPE_CHECKING:
    from stein_bench.config import RunConfig
    from stein_bench.theory.constants import LipschitzStudy
    from stein_bench.theory.settings import LipschitzSettings

NETWORK, RANDOM = "Network layers", "Random batches"


@theory.command("lipschitz", cls=Command, short_help="Local Lipschitz constants of normalization layers")
def lipschitz(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Measure a network's layers (named as for evaluate) instead of random batches.",
            autocompletion=models,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set of the batch. Default: digits.",
            autocompletion=data_sets,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KIND|PATH",
            help="As for evaluate: auto, pretrained, none, fit or a file.",
            autocompletion=weights_typed,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    weights_key: Annotated[str | None, weights_key_option(panel=NETWORK)] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Batch size. Default: 100.", rich_help_panel=NETWORK)
    ] = None,
    image_size: Annotated[int | None, image_size_option()] = None,
    mean: Annotated[str | None, mean_option()] = None,
    std: Annotated[str | None, std_option()] = None,
    device: Annotated[str | None, device_option(NETWORK)] = None,
    trust_code: Annotated[bool | None, trust_option("the file of --weights")] = None,
    offline: Annotated[bool | None, offline_option()] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Numbers of channels C. Default: 16,64,256.", rich_help_panel=RANDOM),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Elements per channel N. Default: 4,64,1024.", rich_help_panel=RANDOM),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Spreads of the true means, in σ. Default: 0,1.", rich_help_panel=RANDOM),
    ] = None,
    variance_spread: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Standard deviation of log σ² over the channels. Default: 1.", rich_help_panel=RANDOM
        ),
    ] = None,
    bn: Annotated[
        list[str] | None,
        typer.Option(
            "--bn",
            "--estimator",
            metavar="NAME",
            help="Estimators to compare with plain BN; repeat for several. Default: stein, jsnorm, james-stein.",
            autocompletion=estimators,
            rich_help_panel=BN,
        ),
    ] = None,
    starts: Annotated[
        int,
        typer.Option(metavar="N", help="Random starts of the power iteration per constant.", rich_help_panel=ADVANCED),
    ] = 2,
    seed: Seed = 0,
    format: Format = "table",
    output: Output = None,
    plot: Plot = None,
    quiet: Quiet = False,
) -> int:
    """Compute the local Lipschitz constant of normalization layers under batch statistics, plain and shrunk.

    It is the spectral norm of the layer's Jacobian, by power iteration, on random batches or, with --model, at the
    layer inputs in a network for one batch of data.

    - `stein-bench theory lipschitz`
    - `stein-bench theory lipschitz --model resnet18 --plot lipschitz.png`
    """
    network = {
        "data": data, "weights": weights, "weights_key": weights_key, "batch_size": batch_size,
        "image_size": image_size, "mean": mean, "std": std, "device": device,
        "trust_code": trust_code, "offline": offline,
    }  # fmt: skip
    batches = {"channels": channels, "elements": elements, "spread": spread, "variance_spread": variance_spread}
    check_files(format, output, plot)
    _check_either(model, network, batches)
    from stein_bench.config import make_config
    from stein_bench.evaluation.outputs import check_apart, input_files
    from stein_bench.theory.settings import LipschitzSettings, canonical_bn, parse_list, parse_whole_list

    asked: dict[str, Any] = {"bn": canonical_bn(bn), "starts": starts, "seed": seed}
    for option, text in (("channels", channels), ("elements", elements)):
        if text is not None:
            asked[option] = parse_whole_list(option, text)
    if spread is not None:
        asked["spreads"] = parse_list("spread", spread)
    if variance_spread is not None:
        asked["variance_spread"] = variance_spread
    settings = LipschitzSettings(**asked)
    config = make_config({"model": model, **network, "seed": seed}) if model is not None else None
    if config is not None:
        outputs = {f"--output {output}": output, f"--plot {plot}": plot}
        check_apart({shown: path for shown, path in outputs.items() if path is not None}, input_files(config))
    study = _measure(settings, config, quiet)
    text = write_document(study.document(), output)
    if plot is not None:
        from stein_bench.render.theory.plot import plot_lipschitz

        plot_lipschitz(study, plot)
    if format == "json":
        say_document(text)
        return 0
    from stein_bench.render.theory.lipschitz import print_lipschitz

    print_lipschitz(study)
    return 0


def _check_either(model: str | None, network: Mapping[str, object], batches: Mapping[str, object]) -> None:
    """Refuse random-batch options with a network, and network options without one."""
    useless = batches if model is not None else network
    for option, value in useless.items():
        if value is not None:
            name = "--" + option.replace("_", "-")
            raise UsageError(
                f"{name} applies to random batches; drop it or --model." if model else f"{name} needs --model."
            )


def _measure(settings: LipschitzSettings, config: RunConfig | None, quiet: bool) -> LipschitzStudy:
    from stein_bench.render.progress import terminal_progress

    with terminal_progress(quiet=quiet) as progress, redirect_stdout(sys.stderr):
        from stein_bench.theory.constants import LipschitzStudy
        from stein_bench.theory.lipschitz import network_layers, random_layers

        if config is None:
            return LipschitzStudy(settings, None, tuple(random_layers(settings, progress=progress)))
        network, layers = network_layers(config, settings, progress=progress)
        return LipschitzStudy(settings, network, tuple(layers))

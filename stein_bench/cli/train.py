"""`stein-bench train`."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import TRAIN, command
from stein_bench.cli.completion import data_sets, models, recipes
from stein_bench.cli.completion import weights as weights_typed
from stein_bench.cli.files import check_outputs, check_picture, writing
from stein_bench.cli.options import (
    BN,
    DATA,
    MODEL,
    OUT,
    SPEED,
    bn_option,
    config_option,
    device_option,
    format_option,
    image_size_option,
    limit_option,
    mean_option,
    offline_option,
    precision_option,
    quiet_option,
    seed_option,
    std_option,
    trust_option,
    weights_key_option,
    workers_option,
)
from stein_bench.cli.processes import in_every_process
from stein_bench.cli.said import say_document
from stein_bench.errors import InterruptedRunError
from stein_bench.evaluation.outputs import check_apart, input_files, named_files
from stein_bench.launch import speaks
from stein_bench.normalization.names import parse_estimator

if TYPE_CHECKING:
    from stein_bench.training.config import TrainConfig
    from stein_bench.training.run import TrainedNetwork

HOW = "How to train"


@command("train", TRAIN, "Train a network with a BN estimator and save its weights")
@in_every_process
def train(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="As for evaluate, e.g. resnet18 or net.py:make.",
            show_default=False,
            autocompletion=models,
            rich_help_panel=MODEL,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set with a training split. Default: digits.",
            autocompletion=data_sets,
            rich_help_panel=DATA,
        ),
    ] = None,
    bn: Annotated[str | None, bn_option("BN estimator to train with, see `list bn`. Default: sample.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="How to train, see `list recipes`. Default: fit.",
            autocompletion=recipes,
            rich_help_panel=HOW,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Overrides the recipe.", rich_help_panel=HOW)] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Overrides the recipe.", rich_help_panel=HOW)
    ] = None,
    learning_rate: Annotated[
        str | None, typer.Option(metavar="X", help="Overrides the recipe.", rich_help_panel=HOW)
    ] = None,
    weight_decay: Annotated[
        str | None, typer.Option(metavar="X", help="Overrides the recipe.", rich_help_panel=HOW)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="none|pretrained|PATH",
            help="Initial weights; those trained with another BN are converted. Default: none.",
            autocompletion=weights_typed,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights_key: Annotated[str | None, weights_key_option()] = None,
    preserve_function: Annotated[
        bool | None,
        typer.Option(
            "--preserve-function",
            help="Let γ and β absorb the change when the initial weights are converted.",
            rich_help_panel=BN,
        ),
    ] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(
            metavar="ATTACK",
            help="Train on adversarial inputs, e.g. pgd:eps=8/255,steps=7 (also fgsm, mifgsm).",
            rich_help_panel=HOW,
        ),
    ] = None,
    limit: Annotated[int | None, limit_option("Use the first N samples of the training split only.")] = None,
    seed: Annotated[int | None, seed_option()] = None,
    mean: Annotated[str | None, mean_option()] = None,
    std: Annotated[str | None, std_option()] = None,
    image_size: Annotated[int | None, image_size_option()] = None,
    config: Annotated[str | None, config_option()] = None,
    offline: Annotated[bool | None, offline_option()] = None,
    trust_code: Annotated[bool | None, trust_option("a FILE (--config, --weights)")] = None,
    device: Annotated[str | None, device_option()] = None,
    precision: Annotated[str | None, precision_option("bf16: mixed precision.")] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Run through torch.compile.", rich_help_panel=SPEED)
    ] = None,
    workers: Annotated[str | None, workers_option()] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write the weights to this .safetensors file, and a card and a plot of the curves beside it.",
            rich_help_panel=OUT,
        ),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Plot the curves here: .png, .svg or .pdf.", rich_help_panel=OUT),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option("--resume", help="Continue an interrupted training run with this --output.", rich_help_panel=OUT),
    ] = None,
    format: Annotated[str | None, format_option("What goes to stdout; json: the card. Default: table.")] = None,
    quiet: Annotated[bool | None, quiet_option()] = None,
) -> int:
    """Train a network with a BN estimator and save its weights, for `evaluate --weights`.

    - `stein-bench train resnet18 --bn stein --output stein.safetensors`
    - `stein-bench train net.py:make --config train.yaml --output net.safetensors`

    More examples are in the documentation: training.

    Exit codes: 0 done, 2 wrong usage or input, 3 training failed, 130 interrupted (add --resume to continue).
    """
    options = {key: value for key, value in locals().items() if key != "config"}
    from stein_bench.preparation.early import check_sources
    from stein_bench.training.card import card_path
    from stein_bench.training.config import make_train_config

    settings = make_train_config(options, config)
    picture = _picture(settings, config)
    settings.chosen_recipe()  # what is wrong about names is told before torch is loaded
    parse_estimator(settings.bn)
    check_sources(settings.data, settings.model)
    with writing(settings.output), writing(str(card_path(settings.output))):
        trained = _train(settings)
        if speaks():
            _show(trained, settings, picture)
    return 0


def _picture(settings: TrainConfig, config: str | None) -> str:
    """Return the path of the plot of the curves, by default beside the weights; all outputs are checked."""
    picture = settings.plot or str(Path(settings.output).with_suffix(".png"))
    card = str(Path(settings.output).with_suffix(".json"))
    check_picture("--plot", picture)
    outputs = {"--output": settings.output, "the card of --output": card, "--plot": picture}
    check_outputs(outputs, [])
    inputs = [*input_files(settings.as_run_config(settings.weights), config), *named_files("recipe", settings.recipe)]
    check_apart({f"{option} {path}": path for option, path in outputs.items()}, inputs)
    return picture


def _train(settings: TrainConfig) -> TrainedNetwork:
    from stein_bench.render.progress import terminal_progress

    command = shlex.join(["stein-bench", *sys.argv[1:]])
    with terminal_progress(quiet=settings.quiet or not speaks()) as progress:
        from stein_bench.training.run import run_training

        try:
            with redirect_stdout(sys.stderr):  # a user's network may print; stdout is for the results
                return run_training(settings, command=command, progress=progress)
        except KeyboardInterrupt:
            raise InterruptedRunError(_after_interrupt(settings)) from None


def _after_interrupt(settings: TrainConfig) -> str:
    from stein_bench.training.checkpoint import checkpoint_path

    path = checkpoint_path(settings.output)
    if path.exists():
        return f"interrupted; the last finished epoch is in {path}: add --resume to continue."
    return "interrupted before the first epoch finished; nothing was kept."


def _show(trained: TrainedNetwork, settings: TrainConfig, picture: str) -> None:
    from stein_bench.render.training.curves import plot_curves

    plot_curves(trained.card, picture)
    if settings.format == "json":
        say_document(trained.card.to_json())
        return
    from stein_bench.render.training.table import print_training

    print_training(trained.card, trained.path, picture)

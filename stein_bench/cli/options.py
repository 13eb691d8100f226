"""Options shared by several commands."""

from __future__ import annotations

from typing import Any

import typer

from stein_bench.cli.completion import attack_names, bn_names, completing

RUN, OUT = "Evaluation", "Output"


def bn_option(help: str, panel: str | None = RUN) -> Any:
    """Return the option for BN estimators."""
    return typer.Option(metavar="NAME", help=help, autocompletion=completing(bn_names), rich_help_panel=panel)


def attack_option(help: str, panel: str | None = RUN) -> Any:
    """Return the option for attacks with their parameters."""
    return typer.Option(
        metavar="NAME[:KEY=VALUE,...]", help=help, autocompletion=completing(attack_names), rich_help_panel=panel
    )


def limit_option(help: str = "Evaluate the first N samples only.", panel: str | None = RUN) -> Any:
    """Return the option for the number of samples."""
    return typer.Option(metavar="N", help=help, rich_help_panel=panel)


def workers_option(panel: str | None = RUN) -> Any:
    """Return the option for processes that read data."""
    text = "Processes that read data ahead. Default: auto, which is 0 on a CPU or for data in memory."
    return typer.Option(metavar="N|auto", help=text, rich_help_panel=panel)


def seed_option(help: str = "Seed. Default: 0.", panel: str | None = RUN) -> Any:
    """Return the option for the seed."""
    return typer.Option(metavar="N", help=help, rich_help_panel=panel)


def device_option(panel: str | None = RUN) -> Any:
    """Return the option for the device."""
    return typer.Option(metavar="auto|cpu|cuda|mps", help="Where to run. Default: auto.", rich_help_panel=panel)


def precision_option(help: str, panel: str | None = RUN) -> Any:
    """Return the option for the precision."""
    return typer.Option(metavar="fp32|bf16", help=f"{help} Default: fp32.", rich_help_panel=panel)


def mean_option(panel: str | None = RUN) -> Any:
    """Return the option for the mean of the input scaling."""
    text = "Mean of the input scaling, for inputs in [0, 1]."
    return typer.Option(metavar="A,B,C", help=text, rich_help_panel=panel)


def std_option(panel: str | None = RUN) -> Any:
    """Return the option for the standard deviation of the input scaling."""
    return typer.Option(metavar="A,B,C", help="Standard deviation of the input scaling.", rich_help_panel=panel)


def image_size_option(panel: str | None = RUN) -> Any:
    """Return the option for the size of the images."""
    text = "Resize and crop images to N×N first (Cityscapes: to N×2N, uncropped)."
    return typer.Option(metavar="N", help=text, rich_help_panel=panel)


def config_option(panel: str | None = RUN) -> Any:
    """Return the option for a configuration file."""
    text = "YAML file with these options by name; the command line wins."
    return typer.Option(metavar="FILE", help=text, rich_help_panel=panel)


def weights_key_option(
    help: str = "Where in the weights file the weights are, if it holds several: e.g. model or ema.state_dict.",
    panel: str | None = RUN,
) -> Any:
    """Return the option that chooses among several weights in a file."""
    return typer.Option(metavar="KEY", help=help, rich_help_panel=panel)


def trust_option(files: str, panel: str | None = RUN) -> Any:
    """Return the option that lets `files`, in words, name code."""
    text = f"Run the code (FILE.py:NAME, package.module:NAME, hub:…) that {files} names. Read it first."
    return typer.Option("--trust-code", help=text, rich_help_panel=panel)


def offline_option(panel: str | None = RUN) -> Any:
    """Return the option to fetch nothing."""
    text = "Fetch nothing: weights and data from the caches alone. HF_HUB_OFFLINE=1 in the environment does the same."
    return typer.Option("--offline", help=text, rich_help_panel=panel)


def format_option(help: str = "What goes to stdout. Default: table.", panel: str | None = OUT) -> Any:
    """Return the option for what goes to stdout."""
    return typer.Option(metavar="table|json", help=help, rich_help_panel=panel)


def log_option(panel: str | None = OUT) -> Any:
    """Return the option for experiment trackers."""
    return typer.Option(
        metavar="NAME[:KEY=VALUE,...]",
        help="Log the results to wandb, mlflow or tensorboard, a run per variant; repeat for several. Nothing leaves "
        "the machine unless asked for, as with wandb:mode=online or mlflow:uri=….",
        autocompletion=completing(lambda: ("wandb", "mlflow", "tensorboard")),
        rich_help_panel=panel,
    )


def quiet_option(panel: str | None = OUT) -> Any:
    """Return the option that silences progress."""
    return typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=panel)

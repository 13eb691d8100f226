"""Options shared by several commands, and the panels in which `--help` shows options."""

from __future__ import annotations

from typing import Any

import typer

from stein_bench.cli.completion import attacks, completing, devices, estimators, trackers

MODEL, DATA, BN = "Model", "Data", "BN variants"
ATTACKS = "Attacks and corruptions"
SPEED = "Speed and devices"
LONG = "Long runs: interruption, several models, several machines"
OUT = "Output"
ADVANCED = "Advanced"


def bn_option(help: str, panel: str = BN) -> Any:
    """Return the option for BN estimators."""
    return typer.Option(metavar="NAME", help=help, autocompletion=estimators, rich_help_panel=panel)


def attack_option(help: str, panel: str = ATTACKS) -> Any:
    """Return the option for attacks with their parameters."""
    return typer.Option(metavar="NAME[:KEY=VALUE,...]", help=help, autocompletion=attacks, rich_help_panel=panel)


def limit_option(
    help: str = "Evaluate N samples only: the first, but of folders by class the first of a fixed shuffle.",
) -> Any:
    """Return the option for the number of samples."""
    return typer.Option(metavar="N", help=help, rich_help_panel=DATA)


def workers_option() -> Any:
    """Return the option for processes that read data."""
    text = "Processes that read data ahead. Default: auto, which is 0 on a CPU or for data in memory."
    return typer.Option(metavar="N|auto", help=text, rich_help_panel=SPEED)


def seed_option(help: str = "Seed. Default: 0.", panel: str = ADVANCED) -> Any:
    """Return the option for the seed."""
    return typer.Option(metavar="N", help=help, rich_help_panel=panel)


def device_option(panel: str = SPEED) -> Any:
    """Return the option for the device."""
    return typer.Option(
        metavar="auto|cpu|cuda|mps", help="Where to run. Default: auto.", autocompletion=completing(devices),
        rich_help_panel=panel,
    )  # fmt: skip


def precision_option(help: str) -> Any:
    """Return the option for the precision."""
    return typer.Option(
        metavar="fp32|bf16", help=f"{help} Default: fp32.", autocompletion=completing(lambda: ("fp32", "bf16")),
        rich_help_panel=SPEED,
    )  # fmt: skip


def mean_option() -> Any:
    """Return the option for the mean of the input scaling."""
    text = "Mean of the input scaling, for inputs in [0, 1]."
    return typer.Option(metavar="A,B,C", help=text, rich_help_panel=MODEL)


def std_option() -> Any:
    """Return the option for the standard deviation of the input scaling."""
    return typer.Option(metavar="A,B,C", help="Standard deviation of the input scaling.", rich_help_panel=MODEL)


def image_size_option() -> Any:
    """Return the option for the size of the images."""
    text = "Resize and crop images to N×N first (Cityscapes: to N×2N, uncropped)."
    return typer.Option(metavar="N", help=text, rich_help_panel=DATA)


def config_option() -> Any:
    """Return the option for a configuration file."""
    text = "YAML file with these options by name; the command line wins."
    return typer.Option(metavar="FILE", help=text, rich_help_panel=ADVANCED)


def weights_key_option(
    help: str = "Where in the weights file the weights are, if it holds several: e.g. model or ema.state_dict.",
    panel: str = MODEL,
) -> Any:
    """Return the option that chooses among several weights in a file."""
    return typer.Option(metavar="KEY", help=help, rich_help_panel=panel)


def trust_option(files: str) -> Any:
    """Return the option that lets `files`, in words, name code."""
    text = f"Run the code (FILE.py:NAME, package.module:NAME, hub:…) that {files} names. Read it first."
    return typer.Option("--trust-code", help=text, rich_help_panel=ADVANCED)


def offline_option() -> Any:
    """Return the option to fetch nothing."""
    text = "Fetch nothing: weights and data from the caches alone. HF_HUB_OFFLINE=1 in the environment does the same."
    return typer.Option("--offline", help=text, rich_help_panel=ADVANCED)


def format_option(help: str = "What goes to stdout. Default: table.") -> Any:
    """Return the option for what goes to stdout."""
    return typer.Option(
        metavar="table|json", help=help, show_default=False, autocompletion=completing(lambda: ("table", "json")),
        rich_help_panel=OUT,
    )  # fmt: skip


def file_option(help: str, metavar: str = "PATH", panel: str = OUT) -> Any:
    """Return an option for a file that is written."""
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel)


def log_option() -> Any:
    """Return the option for experiment trackers."""
    return typer.Option(
        metavar="NAME[:KEY=VALUE,...]",
        help="Log the results to wandb, mlflow or tensorboard, a run per variant; repeat for several. Nothing leaves "
        "the machine unless asked for, as with wandb:mode=online or mlflow:uri=….",
        autocompletion=completing(trackers),
        rich_help_panel=OUT,
    )


def quiet_option(help: str = "No progress on stderr.") -> Any:
    """Return the option that silences progress."""
    return typer.Option("--quiet", "-q", help=help, rich_help_panel=OUT)

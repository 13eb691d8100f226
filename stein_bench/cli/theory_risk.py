"""`stein-bench theory risk`."""

from __future__ import annotations

from typing import Annotated

import typer

from stein_bench.cli.completion import completing
from stein_bench.cli.help import Command
from stein_bench.cli.said import say_document
from stein_bench.cli.theory import Format, Output, Plot, Quiet, Seed, check_files, theory, write_document
from stein_bench.theory.names import CONTAMINATIONS, risk_estimators

GRID = "Simulation"


@theory.command("risk", cls=Command, short_help="Squared-error risk of each estimator")
def risk(
    channels: Annotated[
        str, typer.Option(metavar="LIST", help="Numbers of channels C.", rich_help_panel=GRID)
    ] = "3,16,64,512",
    elements: Annotated[
        str, typer.Option(metavar="LIST", help="Elements per channel N, n·h·w of a batch.", rich_help_panel=GRID)
    ] = "2,16,256,4096",
    spread: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Spreads (standard deviations) of the true means over channels, in σ.",
            rich_help_panel=GRID,
        ),
    ] = "0,0.1,1,10",
    contamination: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Contamination of the elements: {', '.join(CONTAMINATIONS)}; repeat for several. Default: all.",
            autocompletion=completing(lambda: list(CONTAMINATIONS)),
            rich_help_panel=GRID,
        ),
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            "--estimator",
            "--bn",
            metavar="NAME",
            help="Estimators: those of `list bn`, stein-theorem (the one the theorem is about) and unbiased; "
            "repeat for several. Default: all but unbiased.",
            autocompletion=completing(risk_estimators),
            rich_help_panel=GRID,
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(metavar="X", help="Strength of the contamination, in σ.", rich_help_panel=GRID)
    ] = 0.5,
    offset: Annotated[
        float, typer.Option(metavar="X", help="Common offset of the true means, in σ.", rich_help_panel=GRID)
    ] = 0.0,
    variance_spread: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Standard deviation of log σ² over the channels; 0: equal variances.",
            rich_help_panel=GRID,
        ),
    ] = 0.0,
    draws: Annotated[
        int,
        typer.Option(metavar="N", help="Batches per setting; fewer where C or N is large.", rich_help_panel=GRID),
    ] = 10_000,
    seed: Seed = 0,
    format: Format = "table",
    output: Output = None,
    plot: Plot = None,
    quiet: Quiet = False,
) -> int:
    """Simulate the squared-error risk of each estimator of mean and variance, relative to the sample ones.

    The targets are the clean mean and variance of every channel, even if the elements are contaminated.

    - `stein-bench theory risk --plot risk.png`
    - `stein-bench theory risk --channels 64 --elements 25600 --contamination none`
    """
    check_files(format, output, plot)
    from stein_bench.theory.settings import (
        RiskSettings,
        canonical_estimators,
        known_contaminations,
        parse_list,
        parse_whole_list,
    )

    settings = RiskSettings(
        parse_whole_list("channels", channels),
        parse_whole_list("elements", elements),
        parse_list("spread", spread),
        known_contaminations(contamination),
        canonical_estimators(estimator),
        strength, offset, variance_spread, draws, seed,
    )  # fmt: skip
    from stein_bench.render.progress import terminal_progress
    from stein_bench.theory.risk import simulate_risk
    from stein_bench.theory.study import RiskStudy

    with terminal_progress(quiet=quiet) as progress:
        study = RiskStudy(settings, tuple(simulate_risk(settings, progress=progress)))
    text = write_document(study.document(), output)
    if plot is not None:
        from stein_bench.render.theory.plot import plot_risk

        plot_risk(study, plot)
    if format == "json":
        say_document(text)
        return 0
    from stein_bench.render.theory.risk import print_risk

    print_risk(study)
    return 0

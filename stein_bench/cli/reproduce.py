"""`stein-bench reproduce`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import TRAIN, command
from stein_bench.cli.completion import completing, data_sets, experiments, models, recipes
from stein_bench.cli.files import check_outputs, writing
from stein_bench.cli.options import (
    DATA,
    MODEL,
    OUT,
    SPEED,
    attack_option,
    bn_option,
    device_option,
    format_option,
    image_size_option,
    limit_option,
    mean_option,
    offline_option,
    quiet_option,
    seed_option,
    std_option,
    trust_option,
)
from stein_bench.cli.processes import in_every_process
from stein_bench.cli.reproduction_files import check_plot_name, write_reproduction
from stein_bench.cli.said import say, say_document
from stein_bench.cli.trust import told_honest
from stein_bench.errors import InterruptedRunError, UsageError
from stein_bench.evaluation.outputs import check_apart, named_files
from stein_bench.exit_codes import DONE, FAILED
from stein_bench.launch import launched, speaks

if TYPE_CHECKING:
    from stein_bench.reproduction.document import Reproduction
    from stein_bench.reproduction.experiment import Read
    from stein_bench.reproduction.planning import Until

EXPERIMENT, SEEDS = "Experiment", "Seeds"
UNREGISTERED = ("bn", "part", "device")
"""Options that leave registered contrasts as they are, or leave them out."""


@command("reproduce", TRAIN, "A whole experiment of the paper: every BN and seed")
@in_every_process
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="cifar10|ppmi|cityscapes|FILE",
            help="One of the paper's experiments, or a YAML file as in configs/paper.",
            show_default=False,
            autocompletion=experiments,
            rich_help_panel=EXPERIMENT,
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="controlled|published",
            help="controlled: a sound comparison. published: the setup of the paper's code, confounded. Default: "
            "controlled; a FILE has its own.",
            autocompletion=completing(lambda: ("controlled", "published")),
            rich_help_panel=EXPERIMENT,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Training runs per BN. Default: 5.", rich_help_panel=SEEDS)
    ] = None,
    seed: Annotated[int | None, seed_option("The first seed. Default: 0.", SEEDS)] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTH",
            help="Add seeds until the 95 % interval of the main contrast is narrower than WIDTH points, upper minus "
            "lower limit, e.g. 3.",
            rich_help_panel=SEEDS,
        ),
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(metavar="N", help="With --until: N seeds at most. Default: 30.", rich_help_panel=SEEDS)
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="DOCUMENT",
            help="Earlier document whose seeds tell how much differences vary, e.g. small.json. Default: finished "
            "cells.",
            rich_help_panel=SEEDS,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set with a training split, see `list data`.",
            autocompletion=data_sets,
            rich_help_panel=DATA,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Another model, as in evaluate.", autocompletion=models, rich_help_panel=MODEL
        ),
    ] = None,
    bn: Annotated[list[str] | None, bn_option("Only these BN estimators; repeat for several.")] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only these parts of the experiment, e.g. standard.", rich_help_panel=EXPERIMENT
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Another training recipe.", autocompletion=recipes, rich_help_panel=EXPERIMENT
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Train for N epochs at most.", rich_help_panel=EXPERIMENT)
    ] = None,
    attack: Annotated[list[str] | None, attack_option("These attacks instead; repeat for several.")] = None,
    limit: Annotated[int | None, limit_option()] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Samples per batch in evaluation.", rich_help_panel=SPEED)
    ] = None,
    mean: Annotated[str | None, mean_option()] = None,
    std: Annotated[str | None, std_option()] = None,
    image_size: Annotated[int | None, image_size_option()] = None,
    device: Annotated[str | None, device_option()] = None,
    trust_code: Annotated[bool, trust_option("FILE")] = False,
    offline: Annotated[bool, offline_option()] = False,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The JSON document. Default: NAME-PRESET.json.",
            rich_help_panel=OUT,
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for finished cells; experiments may share it. Default: the output's name with .cells.",
            rich_help_panel=OUT,
        ),
    ] = None,
    markdown: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write Markdown here.", rich_help_panel=OUT)
    ] = None,
    latex: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write LaTeX tables (booktabs) here.", rich_help_panel=OUT)
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write every value of every seed as CSV here.", rich_help_panel=OUT),
    ] = None,
    html: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write one self-contained page here.", rich_help_panel=OUT)
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Plot the contrasts (or the means) of the first part: .png or .svg.",
            rich_help_panel=OUT,
        ),
    ] = None,
    format: Annotated[str, format_option()] = "table",
    quiet: Annotated[bool, quiet_option()] = False,
) -> int:
    """Run a whole experiment of arXiv 2507.08261: every BN, statistics source and seed, trained and attacked.

    Cells (a training run, or an evaluation of a trained network) are stored beside the document; the same command
    continues with the missing ones. The table has mean ± sd over seeds and, unless confounded, paired t intervals
    against plain BN. Before the first cell you read what difference the seeds can show.

    - `stein-bench reproduce cifar10`
    - `stein-bench reproduce cifar10 --preset published --seeds 3 --markdown table.md`

    More examples are in the documentation: reproduction.

    Exit codes: 0 done, 2 wrong usage or input, 3 failed or untrustworthy cells, 130 interrupted.
    """
    if format not in ("table", "json"):
        raise UsageError(f"--format: {format!r} is neither table nor json.")
    if max_seeds is not None and until is None:
        raise UsageError("--max-seeds is the cap of --until: give both, or --seeds alone.")
    if until is not None and launched():
        raise UsageError("--until adds one seed after the other: run it in one process, without torchrun.")
    from stein_bench.offline import offline_if
    from stein_bench.reproduction.experiment import experiment_file, read_changed
    from stein_bench.reproduction.planning import until_rule
    from stein_bench.specs import parse_numbers

    overrides = {
        "seeds": seeds, "seed": seed, "data": data, "model": model, "bn": bn and tuple(bn),
        "part": part and tuple(part), "recipe": recipe, "attack": attack and tuple(attack), "limit": limit,
        "batch_size": batch_size, "image_size": image_size, "device": device,
        "mean": None if mean is None else parse_numbers(mean, "--mean"),
        "std": None if std is None else parse_numbers(std, "--std"),
        "train": None if epochs is None else {"epochs": epochs},
    }  # fmt: skip
    path = experiment_file(name, preset)
    with offline_if(offline):
        read = read_changed(path, overrides, trust_code=trust_code)
    experiment = read.experiment
    width = None if until is None else _width(until)
    rule = None if width is None else until_rule(width, max_seeds, experiment.seeds)
    for option, value, use in (("--until", until, "interval it watches"), ("--pilot", pilot, "spread it tells")):
        if value is not None and read.main_is_left_out:
            raise UsageError(f"{option}: the options leave out the main contrast, {read.left_out[0]}, whose {use}.")
    target = f"{experiment.name}-{experiment.preset}.json" if output is None else output
    outputs = {
        "--output": target,
        "--markdown": markdown,
        "--latex": latex,
        "--csv": csv,
        "--html": html,
        "--plot": plot,
    }
    check_outputs(outputs, [str(path), *([pilot] if pilot is not None else [])])
    inputs = [*named_files("model", experiment.model), *named_files("data", experiment.data)]
    inputs += named_files("recipe", *(part.recipe for part in experiment.parts))
    check_apart({f"{option} {name}": name for option, name in outputs.items() if name is not None}, inputs)
    if cells == "":
        raise UsageError("--cells '': name the folder for finished cells.")
    check_plot_name(plot)
    with writing(target), offline_if(offline):
        document = _run(read, Path(cells or f"{target}.cells"), rule, pilot, quiet=quiet)
        if speaks():
            write_reproduction(document, outputs)
            _print(document, format, target, quiet=quiet)
    return DONE if told_honest("the document", document.dishonest()) else FAILED


def _run(read: Read, folder: Path, until: Until | None, pilot: str | None, *, quiet: bool) -> Reproduction:
    from stein_bench.render.progress import terminal_progress

    command = shlex.join(["stein-bench", *sys.argv[1:]])
    with terminal_progress(quiet=quiet or not speaks()) as progress:
        from stein_bench.reproduction.run import run_experiment

        notes = list(_registration(read))
        for line in notes:
            progress.note(line)
        try:
            with redirect_stdout(sys.stderr):  # a user's network may print; stdout is for the results
                return run_experiment(
                    read.experiment, folder, command=command, progress=progress, until=until, pilot=pilot, notes=notes,
                    left_out=len(read.left_out), main_is_left_out=read.main_is_left_out,
                )  # fmt: skip
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted; finished cells are in {folder}: the same command continues from there."
            ) from None


def _width(until: str) -> float:
    from stein_bench.specs import parse_number

    try:
        return parse_number(until, "--until")
    except UsageError:
        raise UsageError(
            f"--until: {until!r} is no width. Write it in percentage points, with a decimal point, e.g. 3 or 2.5."
        ) from None


def _registration(read: Read) -> Iterator[str]:
    """Yield what the command line changed about registered contrasts."""
    for contrast in read.left_out:
        yield (
            f"registered contrast {contrast}: left out, the options take away or change its variants or attacks; it "
            "counts in the adjustment with p = 1"
        )
    changed = [f"--{option}" for option in read.changed if option not in UNREGISTERED]
    if changed and (read.experiment.contrasts or read.left_out):
        yield (
            f"{', '.join(changed)} changed the experiment: contrasts were registered for the one in its file, not for "
            "this run"
        )


def _print(document: Reproduction, format: str, target: str, *, quiet: bool) -> None:
    if format == "json":
        say_document(document.to_json())
        return
    from stein_bench.render.reproduction.table import print_reproduction

    print_reproduction(document)
    if not quiet:
        say(f"document: {target}", err=True)

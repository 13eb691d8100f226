"""`stein-bench evaluate`."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import EVALUATE, command
from stein_bench.cli.completion import batteries, completing, corruptions, data_sets, sources
from stein_bench.cli.completion import models as models_typed
from stein_bench.cli.completion import weights as weights_typed
from stein_bench.cli.files import writing
from stein_bench.cli.options import (
    ADVANCED,
    ATTACKS,
    BN,
    DATA,
    LONG,
    MODEL,
    OUT,
    SPEED,
    attack_option,
    bn_option,
    config_option,
    device_option,
    format_option,
    image_size_option,
    limit_option,
    log_option,
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
from stein_bench.cli.said import note, say, say_document
from stein_bench.cli.trackers import log_from_main
from stein_bench.cli.trust import told_honest
from stein_bench.errors import InterruptedRunError
from stein_bench.evaluation.outputs import check_output
from stein_bench.exit_codes import DONE, FAILED, USAGE
from stein_bench.launch import speaks

if TYPE_CHECKING:
    from stein_bench.config import RunConfig
    from stein_bench.report.document import Report


WAYS = (
    ("A first run, on embedded images of digits (it trains the network first):", "resnet18 --attack pgd --limit 200"),
    (
        "Your own model and data (more kinds: stein-bench list data):",
        "net.py:make --weights net.safetensors --data npz:test.npz",
    ),
    ("From a configuration file, with these options by name:", "--config run.yaml"),
)
"""What to evaluate, and the words for it."""


@command("evaluate", EVALUATE, "Clean and robust accuracy of a model, BN variants side by side")
@in_every_process
def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="resnet18 (timm, then torchvision), timm:NAME, torchvision:NAME, hf-hub:ORG/NAME or FOLDER, "
            "transformers:FOLDER, hub:OWNER/REPO:ENTRY, jit:FILE, FILE.pt2, FILE.py:CALLABLE[,key=value] or "
            "package.module:CALLABLE. Several models, or patterns such as 'timm:resnet1*' and 'timm:*:bn' (those with "
            "BN layers), are a sweep.",
            show_default=False,
            autocompletion=models_typed,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KIND|PATH",
            help="auto, pretrained, none, fit or a file: safetensors, or what torch.save wrote, under any name. "
            "Default: auto, which means pretrained if model and data share their labels, else fit (train on the "
            "training split; cached).",
            autocompletion=weights_typed,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights_key: Annotated[str | None, weights_key_option()] = None,
    mean: Annotated[str | None, mean_option()] = None,
    std: Annotated[str | None, std_option()] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set, see `list data`. Default: digits.",
            autocompletion=data_sets,
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Annotated[int | None, limit_option()] = None,
    image_size: Annotated[int | None, image_size_option()] = None,
    bn: Annotated[
        list[str] | None, bn_option("BN estimator, see `list bn`; repeat for several. Default: sample.")
    ] = None,
    stats: Annotated[
        list[str] | None,
        typer.Option(
            metavar="running|batch",
            help="Statistics source in evaluation; repeat for both. Default: running.",
            autocompletion=completing(sources),
            rich_help_panel=BN,
        ),
    ] = None,
    controls: Annotated[
        bool | None,
        typer.Option(
            "--controls",
            help="Evaluate plain BN and each --bn under both statistics sources, and separate the effects of "
            "estimator and source.",
            rich_help_panel=BN,
        ),
    ] = None,
    preserve_function: Annotated[
        bool | None,
        typer.Option(
            "--preserve-function",
            help="When trained weights are converted, let γ and β absorb the change, so that the network computes the "
            "same function: a starting point for fine-tuning.",
            rich_help_panel=BN,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="published",
            help="The setup of the code of arXiv 2507.08261: its attacks and noise, and each BN under the statistics "
            "source used there. For comparison with the paper; confounded.",
            autocompletion=completing(lambda: ("published",)),
            rich_help_panel=BN,
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        attack_option(
            "Attack with parameters, see `list attacks`, or a usual name such as PGD20, l2-pgd, AA; repeat for "
            "several; none for no attack. Default: pgd."
        ),
    ] = None,
    battery: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="List of attacks, see `list batteries`; --attack adds to it.",
            autocompletion=batteries,
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Budgets for attacks given without one, e.g. 2/255,4/255,8/255 or 0.5/255, for inputs in [0, 1].",
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            metavar="Linf|L2|L1|L0",
            help="Norm of the attacks given without one; refused if one of them does not support it. Default: each "
            "attack's first in `list attacks`.",
            autocompletion=completing(lambda: ("Linf", "L2", "L1", "L0")),
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    adaptive: Annotated[
        bool | None,
        typer.Option(
            "--adaptive",
            help="Look for gradients that the model hides, and attack around that, within every budget of the battery.",
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    corruption: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:SEVERITY]",
            help="Common corruption at one severity or several, e.g. fog:3 or fog:1+3+5; without one at all five. "
            "standard: the 15 of CIFAR-10-C and ImageNet-C, extra: 4 more. Or a noise, see `list attacks`; repeat for "
            "several. Not part of the worst case.",
            autocompletion=corruptions,
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    mce_baseline: Annotated[
        str | None,
        typer.Option(
            metavar="REPORT|alexnet",
            help="Mean corruption error (mCE) relative to this report on the same samples; alexnet: to AlexNet's "
            "published errors, for imagenet-c.",
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The model that transfer attacks are crafted on, named like MODEL.",
            autocompletion=models_typed,
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    surrogate_weights: Annotated[
        str | None,
        typer.Option(
            metavar="KIND|PATH",
            help="Weights of --surrogate: auto, pretrained, fit or a file.",
            autocompletion=weights_typed,
            rich_help_panel=ATTACKS,
        ),
    ] = None,
    surrogate_weights_key: Annotated[
        str | None, weights_key_option("As --weights-key, for the file of --surrogate-weights.", ATTACKS)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything, try each attack on a few samples, and tell what the run will take: passes, time, "
            "memory, also with several processes. Nothing is trained or written.",
            rich_help_panel=SPEED,
        ),
    ] = False,
    device: Annotated[str | None, device_option()] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Samples per batch; auto: as many as fit in memory. Default: 100.",
            autocompletion=completing(lambda: ("auto",)),
            rich_help_panel=SPEED,
        ),
    ] = None,
    precision: Annotated[str | None, precision_option("Precision of the evaluation.")] = None,
    attack_precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32|tf32|bf16",
            help="Precision of an attack's own passes (tf32: CUDA only); adversarial inputs are verified at "
            "--precision. Default: that of --precision.",
            autocompletion=completing(lambda: ("fp32", "tf32", "bf16")),
            rich_help_panel=SPEED,
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile",
            help="Compile the network for attacks (torch.compile), which takes seconds to minutes per batch size; "
            "verification stays uncompiled.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    workers: Annotated[str | None, workers_option()] = None,
    refill: Annotated[
        bool | None,
        typer.Option(
            "--refill/--no-refill",
            help="Under running statistics, replace samples whose attack has finished by samples of the next batches, "
            "so that batches stay full; verdicts are the same. Default: on for GPUs, off for CPUs.",
            show_default=False,
            rich_help_panel=SPEED,
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option("--resume", help="Continue an interrupted run or sweep with this --output.", rich_help_panel=LONG),
    ] = None,
    timeout_per_batch: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Stop an attack that takes longer for one batch, e.g. 600: it has failed, and the others go on.",
            rich_help_panel=LONG,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A sweep of the models in FILE: one a line, with options of its own as key=value or --key value.",
            rich_help_panel=LONG,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Every N-th model of the sweep from the I-th on, e.g. 1/4, for independent jobs with the same "
            "--output DIR/.",
            rich_help_panel=LONG,
        ),
    ] = None,
    retry_oom: Annotated[
        bool | None,
        typer.Option(
            "--retry-oom",
            help="In a sweep, try a model that runs out of memory again with half the batch size, down to 1.",
            rich_help_panel=LONG,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|DIR/",
            help="Write the JSON report here; for a sweep a folder, which gets a report of each model.",
            rich_help_panel=OUT,
        ),
    ] = None,
    format: Annotated[str | None, format_option()] = None,
    save_adversarials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Store N adversarial examples per attack and variant beside the --output, for `report`.",
            rich_help_panel=OUT,
        ),
    ] = None,
    log: Annotated[list[str] | None, log_option()] = None,
    quiet: Annotated[bool | None, quiet_option()] = None,
    config: Annotated[str | None, config_option()] = None,
    seed: Annotated[int | None, seed_option()] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="Your own metric, a function of logits and labels to a value per sample; repeat for several.",
            show_default=False,
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Predictions behind every verdict on a model that is random in evaluation, whose figures are "
            "expected accuracies. Default: 10.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    trust_code: Annotated[bool | None, trust_option("a FILE (--config, --battery, --models, --weights)")] = None,
    offline: Annotated[bool | None, offline_option()] = None,
) -> int:
    """Evaluate a model: clean accuracy and robust accuracy under attack, each BN variant side by side.

    - `stein-bench evaluate resnet18 --attack pgd`
    - `stein-bench evaluate net.py:make --weights net.safetensors --data npz:test.npz`

    Several models are a sweep: a report of each in a folder, and a leaderboard. More examples are in the
    documentation: models, data, attacks, corruptions, scaling.

    Exit codes: 0 done, 2 wrong usage or input, 3 failed or untrustworthy results, 130 interrupted.
    """
    options = {key: value for key, value in locals().items() if key not in ("config", "dry_run")}
    if not (model or models or config):
        return _ways_to_start()
    from stein_bench.preparation.early import check_early, check_sources
    from stein_bench.sweep.settings import read_asked
    from stein_bench.trackers.choice import parse_trackers

    asked = read_asked(options, config)
    if dry_run:
        from stein_bench.cli.dry_run import show_costs

        return show_costs(asked)
    if asked.is_sweep:
        from stein_bench.cli.sweep import evaluate_sweep

        return evaluate_sweep(asked)
    settings = asked.single()
    check_output(settings, config)
    check_early(settings)
    check_sources(settings.data, settings.model, settings.surrogate)
    trackers = parse_trackers(settings.log)
    with writing(settings.output):
        report = _evaluate(settings)
        _write(report, settings)
    logged = log_from_main(report, trackers, quiet=settings.quiet)
    honest = told_honest("the report", report.dishonest())
    return DONE if logged and honest else FAILED


def _ways_to_start() -> int:
    """Say how to name what to evaluate, and return the exit code: nothing is."""
    if speaks():
        note("stein-bench: evaluate needs a model. Three ways to start:")
        for what, how in WAYS:
            note(f"  {what}")
            note(f"    stein-bench evaluate {how}")
        note("stein-bench evaluate --help lists every option.")
    return USAGE


def _evaluate(settings: RunConfig) -> Report:
    from stein_bench.render.progress import terminal_progress

    command = shlex.join(["stein-bench", *sys.argv[1:]])
    with terminal_progress(quiet=settings.quiet or not speaks()) as progress:
        from stein_bench.evaluation.run import run_evaluation

        try:
            with redirect_stdout(sys.stderr):  # a user's network may print; stdout is for the results
                return run_evaluation(settings, command=command, progress=progress, hanging_ends_process=True)
        except KeyboardInterrupt:
            raise InterruptedRunError(_after_interrupt(settings)) from None


def _after_interrupt(settings: RunConfig) -> str:
    from stein_bench.evaluation.journal import journal_paths

    if settings.output is not None and (kept := journal_paths(settings.output)):
        return f"interrupted; finished batches are in {kept[0]}: add --resume to continue."
    if settings.output is not None:
        return "interrupted before the first batch was finished; fitted networks stay in the cache."
    return "interrupted; fitted networks stay in the cache. With --output, finished batches are kept too."


def _write(report: Report, settings: RunConfig) -> None:
    """Write and print the report; of several processes, the first one does."""
    from stein_bench.distributed import wait_for_all
    from stein_bench.evaluation.journal import remove_journals
    from stein_bench.files import write_text

    if settings.output is not None:
        if speaks():
            write_text(settings.output, report.to_json())
        wait_for_all()  # until then no process removes its journal, which may be on another machine's disk
        remove_journals(settings.output)
    if not speaks():
        return
    if settings.format == "json":
        say_document(report.to_json())
        return
    from stein_bench.render.report.table import print_report

    print_report(report)
    if settings.output is not None and not settings.quiet:
        say(f"report: {settings.output}", err=True)

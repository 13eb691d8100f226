"""`stein_bench.evaluate`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stein_bench.api.objects import Objects
from stein_bench.api.report import Report
from stein_bench.api.untouched import untouched
from stein_bench.api.values import numbers, whole_number
from stein_bench.attacks.finding import spec_of_library
from stein_bench.config import OPTION_NAMES, RunConfig, make_config
from stein_bench.distributed import alone
from stein_bench.errors import RunError, UsageError, unknown_name
from stein_bench.evaluation.journal import remove_journals
from stein_bench.evaluation.outputs import check_output
from stein_bench.evaluation.run import run_evaluation
from stein_bench.files.locks import sole_writer
from stein_bench.parts.brought import forgotten
from stein_bench.progress import Progress
from stein_bench.render.progress import terminal_progress
from stein_bench.trackers.choice import Tracker, parse_trackers
from stein_bench.trackers.log import log_report

_OTHERWISE = ("format", "quiet", "attack", "metric")
"""Options of what the command prints, and those that have another name here."""
_ARGUMENTS = ("attacks", "metrics", "progress", "strict")


class UntrustworthyReportError(RunError):
    """An evaluation has results that cannot be trusted: a failed or invalid attack, or outputs that are not finite.

    Args:
        report: the report, with everything else that was found; ``report.dishonest()`` says what is wrong.
    """

    def __init__(self, report: Report) -> None:
        problems = report.dishonest()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0].rstrip('.')}{more}. The report is the error's attribute `report`.")
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.report,)


def evaluate(
    model: nn.Module | str,
    data: Any = "digits",
    attacks: str | Callable[..., Any] | Iterable[Any] | None = None,
    *,
    bn: str | Callable[..., Any] | Iterable[Any] | None = None,
    stats: str | Sequence[str] | None = None,
    eps: float | str | Sequence[float | str] | None = None,
    norm: str | None = None,
    metrics: Callable[..., Any] | str | Iterable[Any] | None = None,
    weights: str | Path | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    limit: int | None = None,
    batch_size: int | str | None = None,
    seed: int | None = None,
    device: str | torch.device | None = None,
    output: str | Path | None = None,
    progress: bool | Progress = True,
    strict: bool = True,
    **options: Any,
) -> Report:
    """Evaluate a model, clean and under attack, each BN variant side by side: ``stein-bench evaluate`` from Python.

    The model, its flags and buffers, all random number generators and torch's switches are left as they were.

    Args:
        model: a network that maps inputs in [0, 1] (after `mean` and `std`, if given) to logits, with its weights; or
            the name of a model as on the command line.
        data: a map-style `Dataset` of (input, label), a `DataLoader` that neither shuffles nor changes samples,
            ``(inputs, labels)`` as arrays or tensors, ``{"train": …, "test": …}`` of these, or a name.
        attacks: specs such as ``"pgd:steps=20"``, your own callables ``(model, inputs, labels, *, eps, norm, seed)``,
            and attack objects of torchattacks, foolbox or adversarial-library. Default: PGD.
        bn: BN estimators to compare: names, and your own functions of (mean, variance, count). Default: that of the
            model.
        stats: sources of BN statistics, ``"running"`` (the default) and ``"batch"``.
        eps: budgets of attacks given without one, for inputs in [0, 1].
        norm: norm of attacks given without one: ``"Linf"``, ``"L2"``, ``"L1"`` or ``"L0"``.
        metrics: your own functions of (logits, labels) to a value for each sample.
        weights: as ``--weights``; a network has its own.
        mean: of the input scaling, one value or one per channel, for inputs in [0, 1].
        std: standard deviation of the input scaling, likewise.
        limit: only the first so many samples.
        batch_size: samples per batch, or ``"auto"``. Default: 100.
        seed: of everything random. Default: 0.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``. Default: the device of the network; for a name, the best one.
        output: write the report here as well; finished batches are kept beside it for ``resume=True``.
        progress: whether to show progress on stderr, or an observer of your own.
        strict: whether results that cannot be trusted raise an error; otherwise ``report.dishonest()`` has them.
        **options: all other options of ``stein-bench evaluate``, with underscores: ``battery``, ``corruption``,
            ``controls``, ``adaptive``, ``preserve_function``, ``surrogate`` (a network or a name), ``precision``,
            ``log``, ``workers`` (default 0: processes that read ahead need ``if __name__ == "__main__":`` in scripts)…

    Returns:
        The report, the same that the command writes.

    Raises:
        UsageError: an argument is wrong, or parts do not fit together; mostly before anything is attacked.
        UntrustworthyReportError: a result cannot be trusted; it has the report.
        RunError: the run failed.

    Examples:
        >>> import torch, stein_bench
        >>> images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
        >>> labels = torch.arange(60) % 3
        >>> images[torch.arange(60), labels] += 0.03  # the class is the brightest channel
        >>> model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> report = stein_bench.evaluate(model, (images, labels), ["fgsm", "pgd"], eps=4/255, progress=False)
        >>> report.variants[0].clean.accuracy > report.variants[0].worst_case_accuracy
        True
        >>> print(report.conclusion)  # doctest: +ELLIPSIS
        Sequential: ... % clean, at most ... worst-case accuracy over 2 attacks, with running statistics.
        >>> int(report.outcomes(attack="pgd").sum()) <= int(report.outcomes().sum())
        True
    """
    known = [option.replace("-", "_") for option in OPTION_NAMES if option not in _OTHERWISE]
    for name in options:
        if name not in known:
            raise unknown_name("argument", name, [*known, *_ARGUMENTS])
    kind, seed = _device(device, model), None if seed is None else whole_number(seed, "seed")
    if not isinstance(progress, bool) and not hasattr(progress, "advance"):
        raise UsageError(f"progress must be True, False or an observer with the methods of Progress, not {progress!r}.")
    with ExitStack() as stack:
        stack.enter_context(alone())  # each process of a distributed program that calls this evaluates for itself
        stack.enter_context(forgotten())
        stack.enter_context(untouched(seed or 0, kind or "auto"))
        objects, surrogate = Objects(), options.pop("surrogate", None)
        options["mce_baseline"] = _text(options.get("mce_baseline"))
        config = make_config(
            {
                "model": objects.model(model, "model"),
                "data": objects.data(data),
                "attack": objects.each("attack", attacks, spec_of_library),
                "bn": objects.each("estimator", bn),
                "metric": objects.each("metric", metrics),
                "surrogate": None if surrogate is None else objects.model(surrogate, "surrogate"),
                "device": kind,
                "stats": stats or objects.stats(model),
                "eps": numbers(eps), "norm": norm, "mean": numbers(mean), "std": numbers(std),
                "weights": _text(weights), "limit": limit, "batch_size": batch_size, "seed": seed,
                "output": _text(output), "workers": _workers(kind), **options,
            }
        )  # fmt: skip
        check_output(config, None)
        trackers = parse_trackers(config.log)
        stack.enter_context(redirect_stdout(sys.stderr))  # what a network prints, as the command does
        shown = progress
        if isinstance(shown, bool):
            shown = stack.enter_context(terminal_progress(quiet=not shown))
        if config.output is not None:
            stack.enter_context(sole_writer("output", config.output, shown.note))
        report = Report.of(run_evaluation(config, command="stein_bench.evaluate", progress=shown))
        _keep(report, config, trackers)
    if strict and report.dishonest():
        raise UntrustworthyReportError(report)
    return report


def _keep(report: Report, config: RunConfig, trackers: Sequence[Tracker]) -> None:
    """Write and log the report; a tracker that fails costs a warning, not the report."""
    if config.output is not None:
        report.save(config.output)
        remove_journals(config.output)
    for tracker in trackers:
        try:
            log_report(report, tracker)
        except RunError as error:
            warnings.warn(str(error), stacklevel=3)


def _text(path: Any) -> str | None:
    if path is None or isinstance(path, str | os.PathLike):
        return None if path is None else str(path)
    raise UsageError(f"a {type(path).__name__} is no path: weights, baseline and output are names of files, or words.")


def _workers(device: str | None) -> int | None:
    """Return no processes that read ahead: in a script without ``if __name__ == "__main__":`` they would run it again.

    None on a CPU, where there are none anyway.
    """
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return 0 if accelerated and device != "cpu" else None


def _device(device: str | torch.device | None, model: Any) -> str | None:
    """Return the device's type, by default that of the network.

    Raises:
        UsageError: it is another device of that type than the current one.
    """
    if device is None:
        if not isinstance(model, nn.Module):
            return None
        first = next(chain(model.parameters(), model.buffers()), None)
        return None if first is None else first.device.type
    if isinstance(device, str) and ":" not in device:
        return device
    try:
        found = torch.device(device)
        current = torch.cuda.current_device() if found.type == "cuda" and torch.cuda.is_available() else None
    except (RuntimeError, TypeError):
        raise UsageError(f"device {device!r} is none: give 'cpu', 'cuda' or 'mps'.") from None
    if found.index is not None and current is not None and found.index != current:
        raise UsageError(f"device {found}: choose the GPU with torch.cuda.set_device({found.index}), and give 'cuda'.")
    return found.type

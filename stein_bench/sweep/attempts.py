"""One model of a sweep: evaluated, and tried again in smaller batches if memory runs out."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Protocol

import torch

from stein_bench.config import RunConfig
from stein_bench.errors import OutOfMemoryRunError, SteinBenchError, reason
from stein_bench.evaluation.journal import remove_journals
from stein_bench.exit_codes import INTERRUPTED
from stein_bench.memory import ran_out
from stein_bench.progress import Progress
from stein_bench.report.document import Report
from stein_bench.sweep.folder import SweepFolder
from stein_bench.sweep.items import Item

OPTION = "--retry-oom"


class Evaluate(Protocol):
    """What evaluates a model, see `run_evaluation`."""

    def __call__(self, config: RunConfig, *, memory_ends_run: bool) -> Report:
        """Return the report; if `memory_ends_run`, an attack that runs out of memory raises OutOfMemoryRunError."""


@dataclass(frozen=True)
class _Retry:
    """Memory ran out in batches of `tried`; those of `size` are next."""

    reason: str
    tried: int
    size: int


def evaluate_item(
    item: Item, folder: SweepFolder, evaluate: Evaluate, progress: Progress, *, retry_oom: bool
) -> Report:
    """Return the report of a model.

    Args:
        item: the model.
        folder: where an interrupted retry is remembered.
        evaluate: evaluates it.
        progress: is told of retries.
        retry_oom: if memory runs out, try again with half the batch size, down to 1.

    Raises:
        whatever `evaluate` raises, if it is not answered by smaller batches.
    """
    config, first = item.config, None
    earlier = folder.failure(item) if config.resume else None  # its journal is of that size, whatever is asked now
    if earlier is not None and earlier.next_batch_size is not None:
        config, first = _in_batches(config, earlier.next_batch_size), earlier.retried_from
    while True:
        result = _attempt(config, evaluate, retry_oom=retry_oom)
        if isinstance(result, Report):
            return result if first is None else _with_note(result, first, config)
        free_memory()
        first = first or result.tried
        remove_journals(item.output)  # its batches are of another size
        folder.keep_failure(item, f"{result.reason} ({OPTION}: next in batches of {result.size})", first, result.size)
        progress.note(f"{item.title}: {result.reason}; {OPTION}: trying batches of {result.size}")
        config = _in_batches(config, result.size)


def free_memory() -> None:
    """Return to the system what models and batches that are no longer used occupied."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def one_line(error: BaseException) -> str:
    """Return why a model failed, in one line."""
    text = str(error) if isinstance(error, SteinBenchError) else reason(error)
    return " ".join(text.split())


def interrupted(error: BaseException) -> bool:
    """Return whether the user's Ctrl-C is behind an error, which a library may have replaced by one of its own."""
    if isinstance(error, SteinBenchError) and error.exit_code == INTERRUPTED:
        return True
    return isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)


def _attempt(config: RunConfig, evaluate: Evaluate, *, retry_oom: bool) -> Report | _Retry:
    last = config.batch_size == 1
    try:
        return evaluate(config, memory_ends_run=retry_oom and not last)
    except Exception as error:
        tried = _tried(error, config) if retry_oom and not last else None
        if tried is None:
            raise
        return _Retry(one_line(error), tried, max(tried // 2, 1))


def _tried(error: Exception, config: RunConfig) -> int | None:
    """Return the batch size that ran out of memory where a smaller one may fit, else None."""
    if isinstance(error, OutOfMemoryRunError):
        return error.batch_size
    return config.batch_size if ran_out(error) and isinstance(config.batch_size, int) else None


def _in_batches(config: RunConfig, size: int) -> RunConfig:
    return config.model_copy(update={"batch_size": size})


def _with_note(report: Report, first: int, config: RunConfig) -> Report:
    """Return the report of a later attempt, which says so."""
    note = f"batches of {first} ran out of memory ({OPTION}): these are results in batches of {config.batch_size}"
    if any(variant.stats == "batch" for variant in report.variants):
        note += ", and those under batch statistics hold for that size only"
    model = report.model.model_copy(update={"notes": [*(report.model.notes or ()), note]})
    run = report.run.model_copy(update={"retried_from": first})
    return report.model_copy(update={"run": run, "model": model})

"""Event files for TensorBoard, in a folder per variant, with the report beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stein_bench.files import write_text
from stein_bench.trackers.runs import TrackedRun, slug


def log(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    """Log the runs and return where.

    Args:
        runs: of one report.
        options: ``dir``, by default ``runs``.
    """
    folder = Path(options.get("dir", "runs")).expanduser()
    for run in runs:
        _log(run, folder / slug(run.group) / slug(run.name))
    return f"in {folder}: see with tensorboard --logdir {folder}"


def _log(run: TrackedRun, folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.json", run.report)
    made: Any = SummaryWriter
    with made(str(folder)) as writer:
        # With these three the run is a row of the page HPARAMS, beside those of other variants and models.
        for summary in hparams(dict(run.params), dict(run.metrics)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for key, value in run.metrics.items():
            writer.add_scalar(key, value, 0)
        for key, text in run.texts.items():
            writer.add_text(key, text, 0)

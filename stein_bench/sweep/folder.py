"""The files of a running sweep: reports, journals and failures; none of another sweep is ever overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.journal import journal_paths, remove_journals
from stein_bench.files import check_output_file, write_text
from stein_bench.report.document import Report, read_report
from stein_bench.sweep.failure import Failure, failure_path
from stein_bench.sweep.identity import Identity, check_identity, write_identity
from stein_bench.sweep.items import Item


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep.

    Attributes:
        path: the folder.
        identity: that of the sweep.
    """

    path: Path
    identity: Identity

    def claim(self, items: Sequence[Item], *, resume: bool) -> dict[str, bool]:
        """Make it the folder of this sweep, before the `items` of this job are evaluated.

        Other jobs may be at work on other models in it.

        Returns:
            the names of the finished ones, and whether their reports are dishonest (`Report.dishonest`).

        Raises:
            UsageError: it is the folder of another sweep, holds results and `resume` is false, or cannot be written.
        """
        known, finished = self._known(), self.finished(items, resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot create the folder {self.path}: {error.strerror}.") from None
        check_output_file("--output", str(self.path / "report.json"))
        if not known:
            write_identity(self.path, self.identity)
        return finished

    def finished(self, items: Sequence[Item], *, resume: bool) -> dict[str, bool]:
        """Return what `claim` does, and raise what it does if the folder is not for this sweep; nothing is written."""
        known = self._known()
        found = {item.name: self._report(item) for item in items if item.output.exists()}
        if not resume:
            self._check_unused(items, known=known)
        return {name: bool(report.dishonest()) for name, report in found.items()}

    def _known(self) -> bool:
        return self.path.is_dir() and check_identity(self.path, self.identity)

    def failure(self, item: Item) -> Failure | None:
        """Return what is kept of an earlier failure of `item`; None also if it cannot be read."""
        try:
            return Failure.model_validate_json(failure_path(self.path, item.name).read_bytes())
        except (OSError, ValueError):
            return None

    def keep_failure(self, item: Item, reason: str, retried_from: int | None = None, size: int | None = None) -> None:
        """Store why `item` failed; if it is tried again in batches of `size`, that too."""
        failure = Failure(
            name=item.name, model=item.entry.spec, reason=reason, retried_from=retried_from, next_batch_size=size
        )  # fmt: skip
        write_text(failure_path(self.path, item.name), failure.to_json())

    def keep_report(self, item: Item, report: Report) -> None:
        """Store the report of `item`; its journal and an earlier failure are removed."""
        write_text(item.output, report.to_json())
        remove_journals(item.output)
        failure_path(self.path, item.name).unlink(missing_ok=True)

    def _report(self, item: Item) -> Report:
        report = read_report(item.output)
        if not is_of(report, item.config):
            raise UsageError(
                f"{item.output} is a report with other settings, which this sweep would overwrite: move it, or name "
                "another --output."
            )
        return report

    def _check_unused(self, items: Sequence[Item], *, known: bool) -> None:
        for item in items:
            kept = [item.output, *journal_paths(item.output)]
            if known:
                kept.append(failure_path(self.path, item.name))
            if found := next((path for path in kept if path.exists()), None):
                raise UsageError(
                    f"{self.path} holds results of this sweep ({found.name}): add --resume to continue, or name "
                    "another --output to start again."
                )


def is_of(report: Report, config: RunConfig) -> bool:
    """Return whether a report is one of an evaluation with these settings, apart from a batch size that did not fit."""
    if report.run.retried_from is not None:
        config = config.model_copy(update={"batch_size": report.run.config.get("batch-size")})
    return report.run.config_sha256 == config.sha256()

"""What a folder of reports holds, for a comparison: reports, and models of a sweep without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stein_bench.errors import UsageError
from stein_bench.reading import MOST_REPORT, read_json
from stein_bench.report.document import read_document
from stein_bench.sweep.failure import SUFFIX, Failure
from stein_bench.sweep.identity import FILE, read_identity


@dataclass(frozen=True)
class Contents:
    """What is in a folder of reports.

    Attributes:
        reports: the files of the reports, by name; those of a sweep in its order first.
        failures: models of a sweep that failed, in the same order.
        unfinished: names of the models of a sweep that have neither.
    """

    reports: tuple[Path, ...]
    failures: tuple[Failure, ...]
    unfinished: tuple[str, ...]


def read_contents(folder: Path) -> Contents:
    """Return what is in a folder of reports. Hidden files, journals and documents of other kinds are passed over.

    Raises:
        UsageError: a file of a sweep is damaged, or the folder cannot be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}.") from None
    identity = read_identity(folder)
    order = {} if identity is None else {model.name: place for place, model in enumerate(identity.models)}
    reports = {path.stem: path for path in files if _may_be_report(path)}
    failures = {
        path.name.removesuffix(SUFFIX): path for path in files if path.name.endswith(SUFFIX) and path.name != FILE
    }
    failed = [
        read_document(path, Failure, "failure of a model")
        for name, path in failures.items()
        if name not in reports  # else it was killed after its report was written
    ]

    def place(name: str) -> tuple[int, str]:
        return order.get(name, len(order)), name

    return Contents(
        reports=tuple(reports[name] for name in sorted(reports, key=place)),
        failures=tuple(sorted(failed, key=lambda failure: place(failure.name))),
        unfinished=tuple(name for name in order if name not in reports and name not in failures),
    )


def _may_be_report(path: Path) -> bool:
    """Return whether a file is a report, or a damaged one, of which its reader will tell."""
    if path.name == FILE or path.name.endswith(SUFFIX):
        return False
    try:
        document = read_json(path, MOST_REPORT, "a report")
    except (OSError, ValueError, UsageError):
        return True
    return isinstance(document, dict) and "schema_version" in document and "kind" not in document

"""Reading reports, and checking output files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.cli.said import note
from stein_bench.errors import RunError, UsageError
from stein_bench.files import check_writable
from stein_bench.files.locks import sole_writer
from stein_bench.launch import speaks
from stein_bench.reading import MOST_REPORT, read_json

if TYPE_CHECKING:
    from stein_bench.report.document import Report


def read_comparable(path: str) -> Report:
    """Read a report for a comparison.

    Raises:
        UsageError: it is missing or not a report.
        RunError: it is a report of another schema version: valid, but not comparable.
    """
    from stein_bench.report.document import read_report

    try:
        return read_report(path)
    except UsageError as error:
        if _other_schema(path):
            raise RunError(str(error)) from None
        raise


def _other_schema(path: str) -> bool:
    from stein_bench.report.document import SCHEMA_VERSION

    try:
        document = read_json(path, MOST_REPORT, "a report")
    except (OSError, ValueError):
        return False
    version = document.get("schema_version") if isinstance(document, dict) else None
    return isinstance(version, int) and version != SCHEMA_VERSION


PICTURES = (".png", ".svg", ".pdf")


def check_picture(option: str, name: str) -> None:
    """Raise a `UsageError`, naming the `option`, unless the file name has an image suffix."""
    if Path(name).suffix.lower() not in PICTURES:
        raise UsageError(f"{option} {name}: the name must end in {', '.join(PICTURES)}.")


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str]) -> None:
    """Refuse files that cannot be written or would overwrite another file of this call.

    Args:
        outputs: option names to paths; None where not given.
        inputs: paths of the input files.

    Raises:
        UsageError: the message names the option.
    """
    taken = {Path(path).resolve(): "would overwrite an input file" for path in inputs}
    for option, name in outputs.items():
        if name is None:
            continue
        path = Path(name).resolve()
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"{option} {name or repr(name)}: it must be a file in an existing folder.")
        check_writable(option, name)
        if path in taken:
            raise UsageError(f"{option} {name} {taken[path]}.")
        taken[path] = f"is also the file of {option}"


def writing(output: str | None) -> AbstractContextManager[None]:
    """Return a context in which no other run can write `output`; of several processes, the first one sees to it.

    On entry it raises a `UsageError` if another run is writing it.
    """
    if output is None or not speaks():
        return nullcontext()
    return sole_writer("--output", output, note)

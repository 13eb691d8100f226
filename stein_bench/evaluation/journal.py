"""The journal of an unfinished run: finished units kept beside the report, for `--resume`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from stein_bench.errors import UsageError
from stein_bench.evaluation.units import Unit
from stein_bench.files import write_text

SUFFIX = ".partial"


def journal_path(output: str | Path) -> Path:
    """Return the path of the journal of the report `output`."""
    return Path(f"{output}{SUFFIX}")


def interrupted_batch_size(path: Path) -> int | None:
    """Return the batch size of the run whose journal is at `path`; None if there is none that can be read."""
    try:
        found = next(_documents(path), {})["batch_size"]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, int) else None


class Journal:
    """Appends finished units to a file, one JSON line each; the first line identifies the run.

    The file is created with the first unit, so that a run that fails earlier leaves nothing behind.

    Args:
        path: path of the journal.
        identity: what must be equal to reuse units: configuration, data, versions, device.
        resume: reuse the units of an existing journal.

    Raises:
        UsageError: a journal exists and `resume` is false, it belongs to another run, or it cannot be read.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.units: list[Unit] = []
        self._networks: dict[str, str] = {}
        self._identity = identity
        self._stream: IO[str] | None = None
        if path.exists():
            if not resume:
                raise UsageError(
                    f"{path} holds the results of an interrupted run: add --resume to continue, "
                    "or delete it to start again."
                )
            self._read()

    def check_network(self, variant: str, sha256: str) -> None:
        """Record the network of the units of `variant`.

        Raises:
            UsageError: the reused units came from another network.
        """
        if self._networks.setdefault(variant, sha256) != sha256:
            raise UsageError(
                f"{self.path} holds results of another network for {variant}: its weights or training data have "
                "changed. Delete the file to start again."
            )

    def add(self, unit: Unit) -> None:
        """Append a finished unit; it is in the file when this method returns."""
        if self._stream is None:
            # Written atomically, without the incomplete last line that a killed run may have left.
            write_text(self.path, "".join(map(_line, [self._identity, *map(self._document, self.units)])))
            self._stream = self.path.open("a", encoding="utf-8")
        self._stream.write(_line(self._document(unit)))
        self._stream.flush()

    def close(self) -> None:
        """Stop writing; the file stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Remove the file, once the report is written."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _document(self, unit: Unit) -> dict[str, Any]:
        return {**_to_document(unit), "network": self._networks.get(unit.variant, "")}

    def _read(self) -> None:
        try:
            lines = _documents(self.path)
            found = next(lines, {})
            self._check_identity(found)
            for document in lines:
                self._networks[document["variant"]] = document.pop("network")
                self.units.append(_to_unit(document))
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}.") from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UsageError(f"{self.path} is not the journal of an interrupted run: move it elsewhere.") from None

    def _check_identity(self, found: dict[str, Any]) -> None:
        identity = json.loads(json.dumps(self._identity))
        if found != identity:
            changed = sorted(key for key in identity.keys() | found.keys() if found.get(key) != identity.get(key))
            raise UsageError(
                f"{self.path} belongs to another run (differs in {', '.join(changed)}): "
                "repeat the first command, or delete the file to start again."
            )


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                return  # the run was killed while writing this line; all lines before it are complete
            yield json.loads(line)


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True) + "\n"


def _to_document(unit: Unit) -> dict[str, Any]:
    columns = {name: [column.dtype.str, _encode(column), *column.shape[1:]] for name, column in unit.columns.items()}
    rest = {key: value for key, value in vars(unit).items() if key not in ("columns", "indices")}
    return {**rest, "indices": _encode(unit.indices), "columns": columns}


def _to_unit(document: dict[str, Any]) -> Unit:
    indices = _decode(document.pop("indices"), "<i8")
    columns = {
        name: _decode(text, dtype).reshape(len(indices), *width)
        for name, (dtype, text, *width) in document.pop("columns").items()
    }
    return Unit(indices=indices, columns=columns, **document)


def _encode(column: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(column.tobytes()).decode()


def _decode(text: str, dtype: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype)).copy()

"""Results of a section on disk: written after every comparison, and taken up again by the next run."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One line of a table, as JSON values."""

MEASURED, NOT_RUN, CUT, FAILED = "measured", "not run", "cut short", "failed"


class NotRunError(Exception):
    """A comparison cannot be made here; the message says why."""


class Deadline:
    """The time at which a section has to end.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, 0 if there are none."""
        return max(0.0, self._end - time.monotonic())

    def rounds(self, wanted: int, seconds: float) -> int:
        """Return how many rounds of that length there is time for, from 1 to the number `wanted`."""
        return max(1, min(wanted, int(self.left() / max(seconds, 1e-9))))

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left() == 0


@dataclass(frozen=True)
class Job:
    """One comparison: rows of a table that are measured together.

    Attributes:
        key: its name within the section.
        run: measures within the deadline and returns the rows.
        least_seconds: it is not begun with less time left.
    """

    key: str
    run: Callable[[Deadline], list[Row]]
    least_seconds: float = 0.0


class Record:
    """The JSON file of one section.

    Args:
        section: its name.
        folder: holds the file.
        identity: machine, versions, commit and settings; finished jobs of another identity do not count.
        command: the command line of this run.
        note: stored with the results.
        earlier: a folder with results of an earlier run that may be taken over, or None.
    """

    def __init__(
        self, section: str, folder: Path, identity: dict[str, Any], command: str, note: str = "",
        earlier: Path | None = None,
    ) -> None:  # fmt: skip
        self._file = folder / f"{section}.json"
        self._document: dict[str, Any] = {
            "section": section, "note": note, "command": command, "identity": identity, "jobs": {},
        }  # fmt: skip
        for place in (folder, earlier):
            found = None if place is None else read(place, section)
            if found is not None and found["identity"] == json.loads(json.dumps(identity)):
                kept = {key: job for key, job in found["jobs"].items() if job["state"] == MEASURED}
                self._document["jobs"] = {**kept, **self._document["jobs"]}

    def done(self, key: str) -> bool:
        """Return whether that job is measured."""
        return bool(self._document["jobs"].get(key, {}).get("state") == MEASURED)

    def add(self, key: str, state: str, rows: Sequence[Row] = (), message: str = "", seconds: float = 0.0) -> None:
        """Store the outcome of a job and write the file."""
        self._document["jobs"][key] = {
            "state": state, "message": message, "seconds": round(seconds, 2), "rows": list(rows),
        }  # fmt: skip
        self.write()

    def write(self) -> None:
        """Write the file, so that an interruption leaves the former one or this one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(self._document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, self._file)


def read(folder: Path, section: str) -> dict[str, Any] | None:
    """Return the stored results of a section; None if there are none, or none that can be read."""
    try:
        found = json.loads((folder / f"{section}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"identity", "jobs"} <= found.keys() else None


def run_jobs(jobs: Sequence[Job], record: Record, deadline: Deadline, say: Callable[[str], None]) -> bool:
    """Run the jobs that are not measured yet, in order; return whether none of them failed."""
    whole = True
    for job in jobs:
        if not record.done(job.key):  # stands if this process is killed
            record.add(job.key, CUT, message="the section was stopped before this was measured")
    for job in jobs:
        if record.done(job.key):
            say(f"{job.key}: measured before")
            continue
        started = time.monotonic()
        state, rows, message = _outcome(job, deadline)
        record.add(job.key, state, rows, message, time.monotonic() - started)
        say(f"{job.key}: {state}{': ' if message else ''}{message} ({time.monotonic() - started:.1f} s)")
        whole = whole and state != FAILED
    record.write()
    return whole


def _outcome(job: Job, deadline: Deadline) -> tuple[str, list[Row], str]:
    if deadline.passed or deadline.left() < job.least_seconds:
        return CUT, [], "the section's time was used up; run the script again to measure this"
    try:
        return MEASURED, job.run(deadline), ""
    except NotRunError as reason:
        return NOT_RUN, [], str(reason)
    except Exception as error:  # noqa: BLE001 - one comparison must not cost the others
        traceback.print_exc()
        return FAILED, [], f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

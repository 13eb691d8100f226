"""Reports that are compared: named one by one, or all those of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.cli.files import read_comparable
from stein_bench.errors import UsageError

if TYPE_CHECKING:
    from stein_bench.comparison.document import FailedModel, Leaderboard
    from stein_bench.comparison.leaderboard import Named


@dataclass(frozen=True)
class Found:
    """What paths on the command line stand for.

    Attributes:
        files: the reports.
        failed: models of sweeps that have none, and why.
        unfinished: names of models of sweeps that are still to be evaluated.
        folders: whether any path is a folder.
    """

    files: tuple[str, ...]
    failed: tuple[FailedModel, ...] = ()
    unfinished: tuple[str, ...] = ()
    folders: bool = False


def find_reports(paths: Sequence[str]) -> Found:
    """Return the reports that `paths` name, a folder standing for all of its own.

    Raises:
        UsageError: a folder holds neither reports nor failed models of a sweep, or cannot be read.
    """
    from stein_bench.comparison.document import FailedModel
    from stein_bench.sweep.contents import read_contents

    files: list[str] = []
    failed: list[FailedModel] = []
    unfinished: list[str] = []
    for path in paths:
        if not path:
            raise UsageError("the name of a report is empty: name files or folders.")
        folder = Path(path).expanduser()
        if not folder.is_dir():
            files.append(path)
            continue
        contents = read_contents(folder)
        if not (contents.reports or contents.failures or contents.unfinished):
            raise UsageError(f"the folder {path} holds no report.")
        files += map(str, contents.reports)
        failed += [FailedModel(name=one.name, model=one.model, reason=one.reason) for one in contents.failures]
        unfinished += contents.unfinished
    return Found(
        tuple(files), tuple(failed), tuple(unfinished), any(Path(path).expanduser().is_dir() for path in paths)
    )


def read_named(found: Found) -> list[Named]:
    """Read the reports, with the names by which a comparison tells them apart.

    Raises:
        UsageError: one of them is missing or not a report.
        RunError: one is of another schema version.
    """
    from stein_bench.comparison.leaderboard import Named

    return [Named(name, read_comparable(path)) for name, path in zip(names_of(found.files), found.files, strict=True)]


def board_of(found: Found, named: Sequence[Named]) -> Leaderboard:
    """Return the leaderboard of these reports, however few, with what else their folders hold.

    Raises:
        UsageError: one of them is damaged.
    """
    from stein_bench.comparison.leaderboard import leaderboard

    return leaderboard(named, failed=found.failed, unfinished=found.unfinished)


def names_of(paths: Sequence[str]) -> list[str]:
    """Return names for the reports: file names without suffix, or paths if those clash."""
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else list(paths)


def places(paths: Sequence[str]) -> list[str]:
    """Return where reports are for readers elsewhere: as named, or if absolute from their last common folder on."""
    if not all(Path(path).is_absolute() for path in paths):
        return list(paths)
    above = Path(os.path.commonpath([Path(path).parent for path in paths])).parent
    return [str(Path(path).relative_to(above)) for path in paths]

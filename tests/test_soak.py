"""A few runs of the soak, of which `python -m tests.soak` makes hundreds."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.soak import SIGNALS, soak


def _soaked(folder: Path) -> list[tuple[str, list[str], list[str]]]:
    counts = {"evaluate": 6, "train": 3, "reproduce": 1, "sweep": 2}
    return [(run.kind, run.signals, run.failures) for run in soak(counts, folder)]


@pytest.mark.slow
def test_killed_and_resumed_commands_write_what_undisturbed_ones_do(tmp_path: Path) -> None:
    # In a fresh process: the soak forks, which the threads of this one would not survive.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        runs = pool.apply(_soaked, (tmp_path,))
    assert [failures for _, _, failures in runs] == [[]] * 12
    assert {name for _, signals, _ in runs for name in signals} == {number.name for number in SIGNALS}

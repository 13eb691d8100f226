"""What every test gets: an empty cache of its own, so that nothing of the user's is read or written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# As the command line does, before torch is loaded: tests then take about the same time on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")


# The same examples every time: a build fails for what was changed. `--hypothesis-profile=default` explores.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the cache into the test's folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(folder))
    return folder

"""What the tests of users' code share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a Python file into the current directory, a new one."""
    monkeypatch.chdir(tmp_path)

    def writing(code: str, name: str = "net.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        return file

    return writing


@pytest.fixture(autouse=True)
def _same_modules():
    """Forget the users' modules that a test imports, so that the next may use their names."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("stein_bench_user_") or name.split(".")[0] in ("helper", "netfile", "pkg", "nets", "blocks"):
            del sys.modules[name]

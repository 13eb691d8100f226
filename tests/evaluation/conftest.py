"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny import write_data, write_model


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Spec of a tiny user-file network."""
    return write_model(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Spec of a tiny learnable data set with both splits."""
    return write_data(tmp_path)

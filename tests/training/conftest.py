"""Fixtures of the training's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small import write_net


@pytest.fixture
def net(tmp_path: Path) -> str:
    """Spec of a small network for the embedded digits."""
    return write_net(tmp_path)

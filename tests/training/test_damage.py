"""Damaged files of a training run: noticed wherever the damage is, and never taken for results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stein_bench.errors import UsageError
from stein_bench.training.checkpoint import load_checkpoint, save_checkpoint

IDENTITY = {"data": "d", "seed": 0}
STATE = {"model": {"weight": torch.arange(64.0).reshape(8, 8)}, "history": [{"loss": 0.125}], "best_epoch": None}


def loaded(path: Path) -> str | None:
    """Return what a checkpoint holds as text; None if it is refused in one line that names the file."""
    try:
        return repr(load_checkpoint(path, IDENTITY, torch.device("cpu")))
    except UsageError as error:
        message = str(error)
    assert "\n" not in message
    assert str(path) in message
    return None


@pytest.mark.integration
def test_a_changed_byte_of_a_checkpoint_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors.partial"
    save_checkpoint(path, IDENTITY, STATE)
    whole, right, noticed = path.read_bytes(), loaded(path), 0
    assert right is not None
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        found = loaded(path)
        assert found in (None, right), position
        noticed += found is None
    assert noticed > 0.5 * len(whole) / 3
    path.write_bytes(whole.replace(b"weight", b"Weight"))
    with pytest.raises(UsageError, match=r"is damaged: delete it to start again"):
        load_checkpoint(path, IDENTITY, torch.device("cpu"))


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors.partial"
    save_checkpoint(path, IDENTITY, STATE)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        assert loaded(path) is None

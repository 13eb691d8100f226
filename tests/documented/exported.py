"""Programs of TorchScript and torch.export, and a folder as timm writes it."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import timm
import torch
from timm.models._hub import save_for_hf  # in timm.models itself only in newer ones

from tests.models.programs import exported, scripted

SECTION = "models.md", "Exported programs and other libraries"


def make(folder: Path) -> None:
    """Export the network of net.py, and save a tiny one of timm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = runpy.run_path(str(folder / "net.py"))["make"]().eval()
        scripted(network, folder / "net.pt")
        shutil.copy(exported(network, folder / "net.pt2"), folder / "net.bin")
        save_for_hf(timm.create_model("test_resnet", num_classes=3), folder / "timm-net", safe_serialization=True)

"""The good files beside which the wrong ones lie: a model, its data, weights, reports, an experiment, lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from stein_bench.files import write_text
from stein_bench.reproduction.document import KIND
from tests import reports
from tests.tiny import MODEL_FILE, write_data

NET_3D = """\
from torch import nn


def make(num_classes=2):
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, num_classes))
"""
EXPERIMENT = """\
name: small
preset: controlled
summary: a tiny network on a tiny problem
model: net.py:make
data: npz:test.npz,train=train.npz
bn: [sample, stein]
seeds: 2
parts:
  - name: standard
    recipe: fit
    train: {epochs: 1}
    attack: [fgsm]
"""


def write_good(folder: Path) -> None:
    """Write all files that rows may name without making them."""
    (folder / "net.py").write_text(MODEL_FILE)
    (folder / "net3d.py").write_text(NET_3D)
    write_data(folder, n=12)
    save_file(weights(), folder / "net.safetensors")
    write_text(folder / "report.json", reports.report().to_json())
    write_text(folder / "base.json", reports.report(number=1).to_json())
    (folder / "reproduction.json").write_text(json.dumps({"kind": KIND}))
    (folder / "small.yaml").write_text(EXPERIMENT)
    (folder / "models.txt").write_text("net.py:make\nnet.py:no_bn\n")
    (folder / "folder").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "folder.safetensors").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "photo.png")


def weights() -> dict[str, object]:
    """Return the weights of `net.py:make`."""
    namespace: dict[str, object] = {}
    exec(MODEL_FILE, namespace)
    return dict(namespace["make"]().state_dict())  # type: ignore[operator]

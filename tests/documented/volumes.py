"""Volumes of NIfTI and FreeSurfer files."""

from pathlib import Path

import nibabel
import numpy as np
import torch

from stein_bench.parts.user_code import import_file

SECTION = "data.md", "Volumes"

NET = '''
from torch import nn


def make(num_classes=2):
    """A convolution, BN, and a linear layer, for volumes."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, num_classes),
    )
'''


def make(folder: Path) -> None:
    """Write net3d.py, net3d.pth, and two tables: of fractions and of scans."""
    (folder / "net3d.py").write_text(NET)
    torch.save(import_file(folder / "net3d.py", "net3d.py").make(2).state_dict(), folder / "net3d.pth")
    rng = np.random.default_rng(0)
    for table, values, suffix, kind in (
        ("fractions", rng.random((8, 8, 9, 7), dtype=np.float32), "nii.gz", nibabel.Nifti1Image),
        ("scans", rng.integers(0, 4096, (8, 8, 9, 7)).astype(np.int16), "mgz", nibabel.MGHImage),
    ):
        for index, volume in enumerate(values):
            nibabel.save(kind(volume, np.diag([2.0, 2, 3, 1])), folder / f"{table}{index}.{suffix}")
        rows = "".join(f"{table}{index}.{suffix},{index % 2},test\n" for index in range(8))
        (folder / f"{table}.csv").write_text("path,label,split\n" + rows)

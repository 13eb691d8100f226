"""The folder in which documented commands run: small files under the names that pages use."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import datasets

from stein_bench.config import make_config
from stein_bench.files import write_text
from stein_bench.measures import RightOrWrong
from stein_bench.measures.budgets import budget_results
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.report.adversarials import Example, write_adversarials
from stein_bench.report.results import VariantResult
from tests import reports
from tests.corrupted import WNIDS
from tests.documented.finding import ROOT
from tests.street import write_tree
from tests.tiny import write_data

NETWORK = '''
import torch
from torch import nn


class Net(nn.Module):
    """Takes inputs of any shape: sixteen local means, BN, and a linear layer."""

    def __init__(self, num_classes=10, depth=1, **_):
        super().__init__()
        layers = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())]
        self.layers = nn.Sequential(nn.AdaptiveAvgPool1d(16), *layers, nn.Linear(16, num_classes))

    def forward(self, x):
        return self.layers(x.flatten(1))


class Defended(Net):
    def forward(self, x):
        return super().forward(x + (torch.round(x * 8) / 8 - x).detach())


class Noisy(Net):
    def forward(self, x):
        return super().forward(x + 0.05 * torch.randn_like(x))


make, WideResNet, noisy = Net, Net, Noisy
model = Net(3)
'''
PARTS = '''
import torch


def search(model, inputs, labels, *, eps):
    """Random corners."""
    return (inputs + eps * torch.randn_like(inputs).sign()).clamp(0, 1)
'''
MODELS = "resnet18\nresnet34\n"
DATA = """
import numpy as np
import torch
from torch.utils.data import TensorDataset


def make(split, size=8):
    data = np.load("train.npz" if split == "train" else "test.npz")
    images = torch.from_numpy(data["images"][:, :size, :size]).permute(0, 3, 1, 2) / 255
    return TensorDataset(images, torch.from_numpy(data["labels"]))
"""
FILES = {
    "net.py": NETWORK,
    "networks.py": NETWORK,
    "r20.py": NETWORK,
    "mine.py": PARTS,
    "mydata.py": DATA,
    "models.txt": MODELS,
    "train.yaml": "data: npz:test.npz,train=train.npz\n",
}
"""Texts of files that pages name without showing them."""
BLOCK = re.compile(r"^```\w+\n(# (?P<name>[\w/.-]+\.\w+)\n.*?)^```$", re.MULTILINE | re.DOTALL)


def write_world(folder: Path) -> None:
    """Write everything that does not depend on a command."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("configs", "examples", "docs"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "configs/paper/cifar10-small.yaml", folder / "mine.yaml")
    write_data(folder)
    shutil.copy(ROOT / "configs/gate.yaml", folder)
    for name, source in (("cifar10_test_2000", "test"), ("cifar10_train_12000", "train")):
        shutil.copy(folder / f"{source}.npz", folder / f"{name}.npz")
    for path in ("imagenet/val", "imagenet/train"):
        _images(folder / path, WNIDS)
    write_tree(folder / "ROOT", train=20, size=(32, 64))
    (folder / "cityscapes").symlink_to(folder / "ROOT")
    _volumes(folder)
    _reports(folder)


def write_blocks(folder: Path, text: str) -> None:
    """Write the files that a page shows in blocks whose first line is a comment with a name."""
    for block in BLOCK.finditer(text):
        path = folder / block["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block[1], encoding="utf-8")


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write CIFAR-10 with eight images a split where `cifar10` looks for it, with the sums that torchvision checks."""
    folder, rng = root / datasets.CIFAR10.base_folder, np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: object) -> list[str]:
        pickled = pickle.dumps(content)
        (folder / name).write_bytes(pickled)
        return [name, hashlib.md5(pickled).hexdigest()]

    def batch(name: str, count: int) -> list[str]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        return write(name, {"data": pixels, "labels": [index % 10 for index in range(count)]})

    names = [f"class{index}" for index in range(10)]
    meta = write(datasets.CIFAR10.meta["filename"], {datasets.CIFAR10.meta["key"]: names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [batch("data_batch_1", 80)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch", 20)])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": meta[1]})


def _images(folder: Path, names: Iterable[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            image.save(folder / name / f"ILSVRC2012_val_{number:08d}.JPEG")


def _volumes(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["path,label,split\n"]
    for number in range(12):
        nibabel.save(
            nibabel.Nifti1Image(rng.random((8, 8, 8), dtype=np.float32), np.eye(4)), folder / f"{number}.nii.gz"
        )
        rows.append(f"{number}.nii.gz,{number % 2},{'test' if number < 4 else 'train'}\n")
    for name in ("scans.csv", "volumes.csv"):
        (folder / name).write_text("".join(rows))


def _reports(folder: Path) -> None:
    """Reports of plain BN and of stein on the same samples, under every name that pages use for one."""

    def variant(bn: str, wrong: int) -> VariantResult:
        attacks = {(name, eps / 255): reports.bits(20 + 4 * eps) for name in ("fgsm", "pgd") for eps in (1, 4, 8)}
        one = reports.variant(bn, clean=reports.bits(wrong), attacks=attacks)
        robust = {one.attacks[n].label: RightOrWrong(right) for n, right in enumerate(attacks.values())}
        one = reports.replaced(one, budgets=budget_results(one.attacks, robust))
        return reports.corrupted(one, {f"{name}:severity=3": reports.bits(30) for name in ("fog", "snow")})

    first = reports.report(*(variant(bn, 9) for bn in ("sample", "stein", "jsnorm")))
    second = reports.report(*(variant(bn, 8) for bn in ("sample", "stein")))
    saved = write_adversarials(folder / "report.adversarials.npz", [_example()], ("zero", "one"), 1)
    write_text(folder / "report.json", reports.replaced(first, adversarials=saved).to_json())
    cells = "OUT.json.cells/standard-{}-running-seed0-0123456789.json"
    names = {
        "runs/one.json": first, "runs/two.json": second, cells.format("sample"): first, cells.format("stein"): second,
    }  # fmt: skip
    for name, report in names.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_text(folder / name, report.to_json())


def _example() -> Example:
    """One adversarial example of plain BN under PGD."""
    zero, one = np.array(0), np.array(1)
    pixels = np.full((3, 8, 8), 0.5, np.float32)
    label = reports.label("pgd", 8 / 255)
    return Example("sample/running", label, 0, "digits/0", zero, zero, one, True, pixels, pixels + np.float32(0.03))


def provide(folder: Path, words: Iterable[str]) -> None:
    """Copy files under further names: inputs that a command names and that differ only in their name."""
    for word in words:
        name = word.partition(":")[2] or word
        for part in name.split(","):
            path = Path(part.partition("=")[2] or part)
            source = {".json": "report.json", ".npz": "test.npz", ".csv": "scans.csv"}.get(path.suffix)
            if source and not path.is_absolute() and "*" not in part and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / source, path)


def write_weights(path: Path, options: Mapping[str, str]) -> None:
    """Write untrained weights of the network that a command names, for its data, into the file that it names."""
    wanted = {key: options[key] for key in ("model", "data", "image_size") if key in options}
    plan = prepare(make_config({**wanted, "weights": "none", "attack": "fgsm"}))
    state = build_untrained(plan).state_dict()
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)

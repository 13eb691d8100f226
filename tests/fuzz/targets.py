"""The readers that are fuzzed, each with valid files to begin with."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stein_bench.config import make_config
from stein_bench.data.npz import open_npz
from stein_bench.evaluation.journal import Journal, journal_path
from stein_bench.evaluation.units import CLEAN, Unit
from stein_bench.report.document import read_report
from tests.fuzz.engine import Target
from tests.fuzz.mutations import of_journal, of_json, of_npz, of_yaml
from tests.hostile.names import clean_runs, report_of

IDENTITY: dict[str, Any] = {"journal": 1, "config_sha256": "c", "batch_size": 2, "weights_sha256": None}


def _reports() -> list[bytes]:
    return [one.to_json().encode() for one in (*clean_runs(""), report_of(""), report_of("\x1b"))]


def _configurations() -> list[bytes]:
    settings: list[dict[str, Any]] = [
        {"model": "resnet18"},
        {"model": "net.py:make", "bn": ["sample", "stein"], "stats": "batch", "attack": ["pgd:eps=8/255", "fgsm"],
         "eps": "2/255,4/255", "limit": 100, "batch-size": "auto", "mean": [0.5, 0.4, 0.3], "std": "0.2,0.2,0.2"},
        {"model": "resnet18", "norm": 2, "eps": [0.25, 0.5], "battery": "quick", "seed": 3, "precision": "bf16",
         "device": "cpu", "preserve-function": True, "controls": False, "metric": ["m.py:x"],
         "log": ["wandb:mode=online"]},
        {"model": "resnet18", "corruption": ["fog", "noise-gaussian:std=0.1"], "data": "npz:a.npz,train=b.npz",
         "image-size": 32, "weights": "none", "output": "r.json", "resume": True, "format": "json", "quiet": False},
    ]  # fmt: skip
    texts = [yaml.safe_dump(one, sort_keys=False).encode() for one in settings]
    examples = Path(__file__).parents[2] / "configs"
    return [*texts, *(path.read_bytes() for path in sorted(examples.glob("*.yaml")))]


def _archives() -> list[bytes]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 4, 4, 3), np.uint8), np.arange(6) % 2
    split = {"x_train": images[:4], "y_train": labels[:4], "x_test": images[4:], "y_test": labels[4:]}
    wide = {"images": images.astype(np.float32) / 255, "labels": labels[:, None], "classes": np.array(["a", "b"])}
    volumes = {"images": rng.random((4, 3, 4, 5, 1)), "labels": np.array(["x", "y", "x", "y"])}
    found = []
    for arrays, save in (
        ({"images": images, "labels": labels}, np.savez), (split, np.savez_compressed), (wide, np.savez),
        (volumes, np.savez),
        ({"images": np.asfortranarray(images.astype(np.uint16)), "labels": labels.astype(np.float64)}, np.savez),
    ):  # fmt: skip
        stream = io.BytesIO()
        save(stream, **arrays)
        found.append(stream.getvalue())
    return found


def _read_archive(path: Path) -> None:
    source = open_npz(path)
    for split in source.splits:
        samples = source.samples(split)
        if len(samples):
            samples.batch(range(min(2, len(samples))))


def _journals() -> list[bytes]:
    found = []
    columns = {"correct": np.array([True, False]), "linf": np.array([0.1, np.nan]), "counts": np.ones((2, 3), np.int32)}
    units = [Unit("sample/running", CLEAN, 0, np.array([0, 1]), columns, 0.5, 2, 0),
             Unit("sample/running", "pgd:eps=0.1", 1, np.array([5, 2]), columns, 0.5, 20, 10),
             Unit("sample/running", "pgd:eps=0.1", 2, np.array([4]), {}, 0.1, 0, 0, "RuntimeError: no")]  # fmt: skip
    for some in (units, units[:1], units[2:]):
        with tempfile.TemporaryDirectory() as folder, Journal(f"{folder}/r", IDENTITY, resume=False) as journal:
            journal.check_network("sample/running", "f" * 64)
            for unit in some:
                journal.add(unit)
            found.append(journal.path.read_bytes())
    return found


def _read_journal(path: Path) -> None:
    output = path.with_suffix("")
    assert journal_path(output) == path
    with Journal(output, IDENTITY, resume=True) as journal:
        json.dumps([unit.key for unit in journal.units])


_OURS = "/stein_bench/"
TARGETS = {
    one.name: one
    for one in (
        Target("report", read_report, _reports, of_json, (_OURS, "/json/"), ".json"),
        Target("npz", _read_archive, _archives, of_npz, (_OURS, "numpy/lib/", "/zipfile"), ".npz"),
        Target("config", lambda path: make_config({}, path), _configurations, of_yaml, (_OURS, "/yaml/"), ".yaml"),
        Target("journal", _read_journal, _journals, of_journal, (_OURS,), ".partial"),
    )
}

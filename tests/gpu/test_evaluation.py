"""Evaluations on a CUDA device: repeatable, as on the CPU, in any way of running them, and within its memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stein_bench.attacks.attack import resolve_attack
from stein_bench.config import make_config
from stein_bench.evaluation.run import run_evaluation
from stein_bench.measures import MEASURES
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.report.document import Report
from stein_bench.tasks import TASKS
from tests.gpu.twins import CUDA

pytestmark = pytest.mark.gpu

ATTACKS = ["fgsm", "pgd", "mifgsm", "apgd-ce:steps=10", "fab-t:steps=5", "square:queries=50", "noise-gaussian"]
APART = 2
"""Samples of 60 whose verdict may change with the rounding of other kernels."""


def report_of(model: str, data: str, **options: Any) -> Report:
    return run_evaluation(make_config({"model": model, "data": data, "device": "cuda", "eps": "12/255", **options}))


def canonical(report: Report) -> str:
    """Return the report as JSON without what tells one run from another: its identity and its times."""

    def without_times(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: without_times(value) for key, value in part.items() if key not in ("seconds", "run")}
        return [without_times(item) for item in part] if isinstance(part, list) else part

    return json.dumps(without_times(json.loads(report.to_json())), sort_keys=True)


def flips(first: Report, second: Report) -> dict[str, int]:
    """Return per attack how many verdicts differ between the only variants of two reports."""
    measure = MEASURES["classification"]
    (_, mine), (_, other) = (measure.unpacked(report.variants[0].outcomes) for report in (first, second))
    return {label: int(outcome.differs(other[label]).sum()) for label, outcome in mine.items()}


def test_the_same_run_twice_gives_the_same_report(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run trains its networks anew, with a cache of its own; only the memory format is timed once for both."""
    options = {"attack": ATTACKS, "bn": ["sample", "stein"], "stats": ["running", "batch"]}
    reports = []
    for number in range(2):
        monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / f"cache{number}"))
        formats = tmp_path / "cache0" / "memory-formats"
        if number and formats.exists():
            shutil.copytree(formats, tmp_path / f"cache{number}" / "memory-formats")
        reports.append(canonical(report_of(model, data, **options)))
    assert reports[0] == reports[1]


def weights_of(model: str, data: str, folder: Path) -> str:
    """Train the network on the CPU and return the file of its weights."""
    from stein_bench.training.config import make_train_config
    from stein_bench.training.run import run_training

    path = folder / "net.safetensors"
    settings = {"model": model, "data": data, "output": str(path), "recipe": "cifar10", "epochs": 2, "device": "cpu"}
    run_training(make_train_config({**settings, "limit": 400, "batch_size": 50}))
    return str(path)


def test_verdicts_are_those_of_the_cpu(model: str, data: str, tmp_path: Path) -> None:
    weights = weights_of(model, data, tmp_path)
    here, there = (report_of(model, data, attack=ATTACKS, weights=weights, device=d) for d in ("cpu", "cuda"))
    assert there.run.environment.device.startswith("cuda")
    assert all(attack.status == "ok" for attack in there.variants[0].attacks)
    assert all(count <= APART for count in flips(here, there).values())


WAYS: list[dict[str, Any]] = [
    {"refill": True, "batch_size": 7},
    {"refill": False, "batch_size": 7},
    {"compile": True},
    {"attack_precision": "tf32"},
    {"attack_precision": "bf16"},
    {"batch_size": "auto"},
    {"workers": 2},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: ",".join(f"{key}={value}" for key, value in way.items()))
def test_no_way_of_running_changes_verdicts(way: dict[str, Any], model: str, data: str, tmp_path: Path) -> None:
    """An attack in lower precision takes other steps and may be weaker: that costs it a few samples at most."""
    weights = weights_of(model, data, tmp_path)
    plain, changed = (report_of(model, data, attack=ATTACKS, weights=weights, **options) for options in ({}, way))
    most = 6 if "attack_precision" in way else APART
    assert all(attack.status == "ok" for attack in changed.variants[0].attacks)
    assert all(count <= most for count in flips(plain, changed).values())


WIDE_FILE = '''
from torch import nn


def make(num_classes=3):
    """Convolutions that keep much memory for every sample: about 50 MB at 224×224."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, num_classes),
    )
'''


def wide(folder: Path, count: int, size: int) -> dict[str, str]:
    """Write a network that needs much memory, and `count` images, and return the settings to evaluate it."""
    (folder / "wide.py").write_text(WIDE_FILE)
    rng = np.random.default_rng(0)
    np.savez(
        folder / "wide.npz", images=rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8),
        labels=np.arange(count) % 3,
    )  # fmt: skip
    torch.manual_seed(0)
    scope: dict[str, Any] = {}
    exec(WIDE_FILE, scope)
    torch.save(scope["make"]().state_dict(), folder / "wide.pth")
    return {
        "model": f"{folder / 'wide.py'}:make", "data": f"npz:{folder / 'wide.npz'}",
        "weights": str(folder / "wide.pth"),
    }  # fmt: skip


@pytest.fixture
def four_gigabytes() -> Iterator[None]:
    """Leave only so much of the device's memory free."""
    torch.cuda.empty_cache()
    ballast = torch.empty(max(torch.cuda.mem_get_info()[0] - 4 * 2**30, 0), dtype=torch.uint8, device=CUDA)
    yield
    del ballast
    torch.cuda.empty_cache()


@pytest.mark.parametrize("attack", ["pgd:steps=2", "apgd-ce:steps=2", "square:queries=5", "fab-t:steps=2"])
def test_attacks_fit_at_the_batch_size_that_auto_chooses(attack: str, tmp_path: Path, four_gigabytes: None) -> None:
    plan = prepare(make_config({**wide(tmp_path, 256, 224), "batch_size": "auto", "device": "cuda"}))
    network = build_untrained(plan)
    size = plan.batch_size(network)
    assert 1 < size < 256
    model = plan.wrap(network).requires_grad_(False)
    inputs = torch.rand(size, 3, 224, 224, device=CUDA, generator=torch.Generator(CUDA).manual_seed(0))
    labels = torch.zeros(size, dtype=torch.long, device=CUDA)
    resolve_attack(attack).run(
        model, inputs, labels, TASKS["classification"], classes=3, seeds=list(range(size)), batch_dependent=True
    )
    torch.cuda.synchronize()


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path) -> None:
    """512 samples of 32×32 keep some 700 MB; the process may take 256 MB more than it has."""
    settings = {**wide(tmp_path, 512, 32), "attack": ["pgd:eps=1/255,steps=3", "square:queries=5"], "device": "cuda"}
    small = run_evaluation(make_config({**settings, "batch_size": 32}))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 256 * 2**20) / total)
    try:
        large = run_evaluation(make_config({**settings, "batch_size": 512}))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert all(attack.status == "ok" for attack in large.variants[0].attacks)
    assert all(count <= 5 for count in flips(small, large).values())

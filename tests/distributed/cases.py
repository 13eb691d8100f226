"""Evaluations that are run in one process and in several, and the processes that run them."""

from __future__ import annotations

import csv
import multiprocessing
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel
import numpy as np
import torch

from stein_bench.config import make_config
from stein_bench.evaluation import journal, loop, run
from stein_bench.evaluation.run import run_evaluation
from stein_bench.exit_codes import INTERRUPTED
from stein_bench.files import write_text
from stein_bench.interrupts import end_like_interrupt
from stein_bench.report.document import Report
from tests.street import write_tree
from tests.tiny import write_data, write_model

RANDOM_NET = '''
import torch
from torch import nn


class Score(nn.Module):
    """The brightest channel, with noise: a random model."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return 40 * self.weight * x.mean(dim=(2, 3)) + torch.randn(len(x), 3)
'''

DENSE_NET = '''
import torch
from torch import nn

COLORS = torch.tensor([[128, 64, 128], [80, 80, 70], [60, 140, 40], [90, 150, 210], [20, 20, 150]]) / 255


def make(num_classes=19):
    """The nearest color, by way of BN."""
    last = nn.Conv2d(3, num_classes, 1)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-100.0)
        last.weight[[0, 2, 8, 10, 13]] = 40 * COLORS[..., None, None]
        last.bias[[0, 2, 8, 10, 13]] = -20 * (COLORS**2).sum(dim=1)
    return nn.Sequential(nn.BatchNorm2d(3, eps=1e-12), last)
'''

VOLUME_NET = '''
from torch import nn


def make(in_channels=1):
    """40 (mean - 1/2)."""
    net = nn.Sequential(nn.BatchNorm3d(in_channels, eps=1e-12), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 1))
    nn.init.constant_(net[3].weight, 40)
    nn.init.constant_(net[3].bias, -20)
    return net
'''

EVERY_KIND = (
    "fgsm", "pgd:steps=3,restarts=2", "apgd-dlr:steps=3", "square:queries=8", "fast-ensemble:steps=3,queries=5",
    "ddn:steps=3", "deepfool:steps=2", "hopskipjump:queries=30", "nes:queries=20,samples=4", "torchattacks.FGSM",
    "noise-gaussian:std=0.1,seeds=2", "noise-salt-and-pepper",
)  # fmt: skip
SOME = ("fgsm", "pgd:steps=2", "torchattacks.FGSM", "noise-gaussian:std=0.1,seeds=2")

CASES: dict[str, dict[str, Any]] = {
    "every kind": {"attack": EVERY_KIND, "eps": "0.1", "save_adversarials": 3},
    "refilled": {"attack": EVERY_KIND[:6], "eps": "0.1", "refill": True, "batch_size": 7},
    "batch statistics": {"attack": SOME, "eps": "0.1", "bn": "stein", "stats": "batch", "save_adversarials": 2},
    "adaptive": {"attack": ("pgd:steps=2", "adaptive:steps=2,queries=3"), "eps": "0.1"},
    "random": {"model": "random", "attack": ("pgd:steps=2", "noise-gaussian"), "eps": "0.1", "draws": 4},
    "failing": {"attack": ("fgsm", "pgd:steps=2"), "eps": "0.1", "save_adversarials": 3},
    "failing once": {"attack": ("fgsm", "pgd:steps=2"), "eps": "0.1", "save_adversarials": 20},
    "segmentation": {
        "model": "dense", "data": "street", "image_size": 16, "batch_size": 2, "eps": "6/255", "weights": "none",
        "attack": ("segpgd:steps=2", "noise-gaussian:std=0.1"), "save_adversarials": 1,
    },
    "volumes": {
        "model": "volume", "data": "volumes", "batch_size": 3, "eps": "0.04", "weights": "none",
        "attack": ("fgsm", "noise-gaussian:std=0.01"),
    },
}  # fmt: skip
"""Options of evaluations by name; a model and data are named by `write_inputs`."""


@dataclass(frozen=True)
class Job:
    """One evaluation in several processes.

    Attributes:
        case: its name in `CASES`.
        output: path of the report.
        resume: whether it continues an interrupted one.
        stop_after: by rank, the number of units after which the process is interrupted; empty: none is.
    """

    case: str
    output: str
    resume: bool = False
    stop_after: tuple[int, ...] = ()


def write_inputs(folder: Path) -> None:
    """Write models and data into `folder`."""
    write_model(folder)
    write_data(folder)
    for name, text in (("random", RANDOM_NET), ("dense", DENSE_NET), ("volume", VOLUME_NET)):
        (folder / f"{name}.py").write_text(text)
    write_tree(folder / "city", train=1, val=7)
    _write_volumes(folder)


def _write_volumes(folder: Path) -> None:
    rng = np.random.default_rng(2)
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", "site"])
        for index in range(11):
            values = 0.5 + (0.06 if index % 2 else -0.06) * rng.uniform(-0.5, 2) + rng.uniform(-0.02, 0.02, (6, 5, 4))
            nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 2, 1])), folder / f"{index}.nii.gz")
            writer.writerow([f"{index}.nii.gz", index % 2, "test", "Oslo" if index % 3 else "Bergen"])


def settings(folder: Path, case: str) -> dict[str, Any]:
    """Return the options of a case, with `folder` as the place of its inputs."""
    options = {"model": "net", "data": "colors", "batch_size": 14, "seed": 3, **CASES[case]}
    models = {
        "net": "net.py:make", "random": "random.py:Score", "dense": "dense.py:make", "volume": "volume.py:make",
    }  # fmt: skip
    sources = {
        "colors": f"npz:{folder / 'test.npz'},train={folder / 'train.npz'}", "street": f"cityscapes:{folder / 'city'}",
        "volumes": f"nifti:{folder / 'table.csv'},shape=6x5x4",
    }  # fmt: skip
    own = {"weights": "none"} if options["model"] == "random" else {}
    return {**options, **own, "model": str(folder / models[options["model"]]), "data": sources[options["data"]]}


def evaluated(folder: Path, job: Job, rank: int = 0) -> Report:
    """Run a job in this process, together with others if it has any; KeyboardInterrupt if it stops there."""
    options = {**settings(folder, job.case), "output": job.output, "resume": job.resume}
    with _patched(job, rank):
        return run_evaluation(make_config(options))


@contextmanager
def _patched(job: Job, rank: int) -> Iterator[None]:
    """Let the cases `failing` fail, leave out the sanity checks but once, and interrupt."""
    attacked, add, left = loop._attacked, journal.Journal.add, [0]

    def failing(model: Any, evaluated: Any, attack: Any, batch: Any) -> Any:
        number = int(batch.indices[0]) // evaluated.setting.batch_size
        if attack.name == "fgsm" and (number >= 2 if job.case == "failing" else number == 1):
            raise RuntimeError(f"batch {number}")
        return attacked(model, evaluated, attack, batch)

    def stopping(self: journal.Journal, unit: Any) -> None:
        if left[0] == job.stop_after[rank]:
            raise KeyboardInterrupt
        add(self, unit)
        left[0] += 1

    with (
        mock.patch.object(loop, "_attacked", failing if job.case.startswith("failing") else attacked),
        mock.patch.object(journal.Journal, "add", stopping if job.stop_after else add),
        mock.patch.object(run, "model_checks", run.model_checks if job.case == "batch statistics" else _unchecked),
    ):
        yield


def _unchecked(*_: Any) -> list[Any]:
    return []


def started(folder: Path, size: int, jobs: Sequence[Job]) -> list[Any]:
    """Start `size` processes that run jobs together."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes = [
        context.Process(target=_work, args=(rank, size, port, folder, jobs, dict(os.environ))) for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def run_together(folder: Path, size: int, jobs: Sequence[Job]) -> None:
    """Run jobs in `size` processes; their reports are in their outputs. One that is interrupted is the last."""
    processes = started(folder, size, jobs)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * size


def killed(folder: Path, size: int, job: Job, rank: int, seconds: float) -> bool:
    """Run a job, kill one process after some time and end the others as torchrun does; whether it was still at work."""
    processes = started(folder, size, [job])
    processes[rank].join(seconds)
    working = processes[rank].exitcode is None
    processes[rank].kill()
    processes[rank].join()
    for process in processes:
        process.terminate()
        process.join()
    return working


def _work(rank: int, size: int, port: int, folder: Path, jobs: Sequence[Job], environment: dict[str, str]) -> None:
    """Be one of the processes."""
    from stein_bench.distributed.watch import PeerError, interrupt_main_thread, watched

    os.environ |= environment | {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    end_like_interrupt()
    with watched(interrupt_main_thread) as watch:
        for job in jobs:
            try:
                report = evaluated(folder, job, rank)
            except (KeyboardInterrupt, PeerError):
                watch.own("interrupted.", INTERRUPTED)
                break
            assert not job.stop_after
            if rank == 0:
                write_text(job.output, report.to_json())
        watch.leave()

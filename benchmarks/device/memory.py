"""Section 4: the batch size that `--batch-size auto` chooses, and the largest that fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.device.peak import Peak
from benchmarks.device.record import Deadline, Job, NotRunError, Row
from benchmarks.device.scale import Subject
from benchmarks.device.subjects import MEAN, STD, Prepared, Workshop
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.config import make_config
from stein_bench.guard import repeatable_backends
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.tasks import TASKS

WITHIN = 1.5
"""Goal: the choice fits, and what fits is at most this many times as much."""
PRECISE = 1.05
"""The search ends when the bounds are this near to each other."""


def jobs(workshop: Workshop) -> list[Job]:
    """Return a job per network: the choice; and the limit, of the first network only."""
    subjects = workshop.scale.subjects
    return [
        *(Job(f"{subject.name} auto", partial(chosen_rows, workshop, subject)) for subject in subjects),
        Job(f"{subjects[0].name} limit", partial(limit_rows, workshop, subjects[0])),
    ]


def chosen_rows(workshop: Workshop, subject: Subject, deadline: Deadline) -> list[Row]:
    """Return what `--batch-size auto` chooses, whether it fits and how much it takes."""
    del deadline
    made, device = workshop.get(subject), workshop.scale.device
    size = chosen(made, device)
    with Peak(device) as peak:
        fits = attack_fits(made, device, size)
    return [{"kind": "auto", "network": subject.name, "chosen": size, "fits": fits, "peak_bytes": peak.bytes}]


def chosen(made: Prepared, device: str) -> int:
    """Return the batch size that an evaluation of many samples would use with ``--batch-size auto``."""
    subject = made.subject
    release(device)
    with TemporaryDirectory() as folder:
        data = Path(folder) / "grey.npz"
        grey = np.full((subject.most, subject.size, subject.size, 3), 128, np.uint8)
        classes = np.array([f"class {number}" for number in range(subject.classes)])
        np.savez(data, images=grey, labels=np.zeros(subject.most, np.int64), classes=classes)
        config = make_config({
            "model": f"benchmarks.device.networks:{subject.factory}", "weights": str(made.weights),
            "data": f"npz:{data}", "mean": list(MEAN), "std": list(STD), "attack": ["pgd"],
            "batch_size": "auto", "device": device,
        })  # fmt: skip
        plan = prepare(config)
        size = plan.batch_size(build_untrained(plan))
    release(device)
    return size


def limit_rows(workshop: Workshop, subject: Subject, deadline: Deadline) -> list[Row]:
    """Search the largest batch that fits and compare the choice with it.

    Raises:
        NotRunError: there is no device with memory of its own.
    """
    device = workshop.scale.device
    if device != "cuda":
        raise NotRunError("the CPU's memory is shared with everything else")
    made = workshop.get(subject)
    size = chosen(made, device)
    limit, whole = largest_that_fits(partial(attack_fits, made, device), size, lambda: deadline.passed)
    ratio = limit / size
    row = {
        "kind": "limit", "network": subject.name, "chosen": size, "limit": limit, "searched_to_the_end": whole,
        "ratio": ratio, "goal": WITHIN, "verdict": "met" if 1 <= ratio <= WITHIN else "missed",
    }  # fmt: skip
    return [row]


def largest_that_fits(fits: Callable[[int], bool], start: int, stop: Callable[[], bool]) -> tuple[int, bool]:
    """Return the largest size that fits, up to a few per cent, and whether the search was not stopped early.

    Args:
        fits: whether a size fits; sizes below one that fits do as well.
        start: where to begin, at least 1.
        stop: whether the time is up.

    Returns:
        The largest size that was seen to fit (0 if none did), and whether the search came to its end.
    """
    low, high = 0, None
    size = start
    while high is None or (high - low > 1 and high > PRECISE * low):
        if stop():
            return low, False
        if fits(size):
            low = size
            size = 2 * size if high is None else (low + high) // 2
        else:
            high = size
            size = (low + high) // 2
        if size == 0:
            return 0, True
    return low, True


def attack_fits(made: Prepared, device: str, size: int) -> bool:
    """Return whether two steps of APGD, which keeps more than other attacks, fit into memory with such a batch."""
    try:
        _two_steps(made, device, size)
        fits = True
    except torch.OutOfMemoryError:
        fits = False
    release(device)
    return fits


def _two_steps(made: Prepared, device: str, size: int) -> None:
    attack = resolve_attack("apgd-ce:steps=2")
    # The images there are, and grey ones: what they show does not matter here.
    count = min(size, len(made.inputs))
    inputs = torch.full((size, *made.inputs.shape[1:]), 0.5, device=device)
    labels = torch.zeros(size, dtype=torch.long, device=device)
    inputs[:count], labels[:count] = made.inputs[:count].to(device), made.labels[:count].to(device)
    seeds = attack_seeds(0, attack, [str(number) for number in range(size)])
    with repeatable_backends():
        attack.run(
            made.model, inputs, labels, TASKS["classification"],
            classes=made.subject.classes, seeds=seeds, batch_dependent=True,
        )  # fmt: skip
    if device == "cuda":
        torch.cuda.synchronize()


def release(device: str) -> None:
    """Give cached memory back to the device."""
    if device == "cuda":
        torch.cuda.empty_cache()

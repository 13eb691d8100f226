"""Section 2: Stein layers against `nn.BatchNorm2d`, and a training step of a whole network."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.device import networks
from benchmarks.device.peak import Peak
from benchmarks.device.record import Deadline, Job, Row
from benchmarks.device.scale import Scale
from benchmarks.device.verdict import at_most
from benchmarks.normalization import Run, interleaved_times, median_ratio, size_name
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.normalization.layers import SteinBatchNorm2d

GOALS = {"forward+backward": 1.15, "evaluation": 1.05, "training step": 1.10}
"""Largest ratio to plain BN, by task."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def jobs(scale: Scale) -> list[Job]:
    """Return the comparisons: a job per training step, and per shape, element type and memory format of a layer."""
    steps = [Job(f"training step {kind}", partial(step_rows, scale, kind)) for kind in STEPS]
    layers = [
        Job(f"layer {size_name(shape)} {dtype} {layout}", partial(layer_rows, scale, shape, dtype, layout))
        for shape in scale.layer_shapes
        for dtype in DTYPES
        for layout in FORMATS
    ]
    return [*steps, *layers]


def layer_rows(scale: Scale, shape: tuple[int, ...], dtype: str, layout: str, deadline: Deadline) -> list[Row]:
    """Measure both tasks of a layer on one kind of input."""
    ordinary = nn.BatchNorm2d(shape[1], device=scale.device)
    stein = SteinBatchNorm2d(shape[1], estimator="stein", device=scale.device)
    x, grad = (elements(shape, scale.device, dtype, layout, seed) for seed in (0, 1))
    rows = []
    for task in ("forward+backward", "evaluation"):
        run = training if task == "forward+backward" else evaluation
        row = compared(scale, task, [run(ordinary, x, grad), run(stein, x, grad)], scale.layer_rounds, deadline)
        rows.append({"kind": "layer", "shape": list(shape), "dtype": dtype, "layout": layout, **row})
    return rows


def elements(shape: tuple[int, ...], device: str, dtype: str, layout: str, seed: int) -> Tensor:
    """Return random elements on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    values = torch.randn(*shape, device=device, generator=generator) + 0.5
    return values.to(DTYPES[dtype]).contiguous(memory_format=FORMATS[layout])


def training(layer: nn.Module, x: Tensor, grad: Tensor) -> Run:
    """Return forward and backward in training mode; the gradients are those of input, γ and β."""
    x = x.detach().requires_grad_()
    layer.train()

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(x), (x, layer.weight, layer.bias), grad)

    return run


def evaluation(layer: nn.Module, x: Tensor, grad: Tensor) -> Run:
    """Return a forward pass with running statistics and without gradients; `grad` is not used."""
    del grad
    layer.eval()

    @torch.no_grad()
    def run() -> Tensor:
        return layer(x)

    return run


def compared(scale: Scale, task: str, runs: list[Run], rounds: int, deadline: Deadline) -> Row:
    """Time plain BN, plain BN again and Stein in alternating rounds and judge the ratio.

    ``peak_bytes`` are those of plain BN and of Stein.
    """
    plain, stein = runs
    peaks = [peak_of(run, scale.device) for run in runs]
    started = time.monotonic()
    interleaved_times(runs, 1, scale.device)
    rounds = deadline.rounds(rounds, 1.5 * (time.monotonic() - started))
    times = interleaved_times([plain, plain, stein], rounds, scale.device)
    again, ratio = (median_ratio(mine, times[0]) for mine in times[1:])
    return {
        "task": task,
        "seconds": statistics.median(times[0]),
        "again": again,
        "ratio": ratio,
        "goal": GOALS[task],
        "verdict": at_most(ratio, GOALS[task], again),
        "rounds": rounds,
        "peak_bytes": peaks,
    }


def peak_of(run: Run, device: str) -> int | None:
    """Return the peak memory of one run after another one."""
    run()
    with Peak(device) as peak:
        run()
    return peak.bytes


STEPS: dict[str, tuple[torch.dtype | None, str]] = {
    "bf16 autocast": (torch.bfloat16, "channels_last"),
    "fp32": (None, "contiguous"),
}
"""Kinds of training steps: the type of autocast, and the memory format."""


def step_rows(scale: Scale, kind: str, deadline: Deadline) -> list[Row]:
    """Measure a training step with SGD of the network with plain and with Stein BN."""
    autocast, layout = STEPS[kind]
    subject = scale.step_subject
    torch.manual_seed(0)
    plain = getattr(networks, subject.factory)(subject.classes)
    stein, _ = convert_batchnorm(copy.deepcopy(plain), "stein")
    shape = (subject.batch_size, 3, subject.size, subject.size)
    inputs = elements(shape, scale.device, "fp32", layout, 0)
    labels = torch.arange(subject.batch_size, device=scale.device) % subject.classes
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True  # as one trains
    try:
        runs = [
            training_step(network.to(scale.device, memory_format=FORMATS[layout]), inputs, labels, autocast)
            for network in (plain, stein)
        ]
        row = compared(scale, "training step", runs, scale.step_rounds, deadline)
    finally:
        torch.backends.cudnn.benchmark = before
    return [{"kind": "step", "network": subject.name, "shape": list(shape), "dtype": kind, "layout": layout, **row}]


def training_step(
    network: nn.Module, inputs: Tensor, labels: Tensor, autocast: torch.dtype | None
) -> Callable[[], object]:
    """Return a step of SGD with momentum on one batch."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=autocast is not None):
            loss = F.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()

    return run

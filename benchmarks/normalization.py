"""Speed of Stein layers: median ratios to the time of plain BN on the same shape.

Every round runs each variant, in alternating order, so that other load on the machine affects all alike, and ratios are
taken within a round. The column `again` compares the ordinary layer with itself, which shows the noise. Run from the
repository root:

    python -m benchmarks.normalization --rounds 40
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from stein_bench.normalization.layers import SteinBatchNorm2d, SteinBatchNorm3d

SHAPES = (
    (128, 64, 32, 32),
    (128, 256, 8, 8),
    (32, 64, 56, 56),
    (16, 2048, 7, 7),
    (4, 16, 32, 32, 32),
)
LEAST_SECONDS = 0.005  # shorter runs are repeated in a row, to avoid measuring cold starts
TASKS = ("forward", "forward+backward", "evaluation")
Run = Callable[[], object]


def main() -> None:
    """Print the table for all shapes and tasks."""
    arguments = parse_arguments()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine(arguments.device)}\nestimator {arguments.estimator}, {arguments.rounds} rounds\n")
    print("| shape | task | `nn.BatchNorm` | again | Stein | Stein compiled |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        for task in TASKS:
            print(table_row(shape, task, arguments), flush=True)
    print("\n| shape | input | kept by `nn.BatchNorm` | kept by Stein |\n|---|---|---|---|")
    for shape in SHAPES:
        print(memory_row(shape, arguments))


def parse_arguments() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimator", default="stein")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--channels-last", action="store_true", help="for the shapes of rank 4")
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def describe_machine(device: str) -> str:
    """Return processor, threads and versions in one line."""
    processor = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    return (
        f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    )


def processor_name() -> str:
    """Return the processor's name, or the architecture if the system does not report it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def table_row(shape: Sequence[int], task: str, arguments: argparse.Namespace) -> str:
    """Measure one task on one shape."""
    torch.compiler.reset()
    ordinary, stein = layers(shape, arguments)
    runs = [task_run(layer, shape, task, arguments) for layer in (ordinary, ordinary, stein)]
    if not arguments.no_compile:
        compiled = torch.compile(stein, fullgraph=True, dynamic=False)
        runs.append(task_run(compiled, shape, task, arguments))
    ordinary_times, *others = interleaved_times(runs, arguments.rounds, arguments.device)
    ratios = [f"{median_ratio(times, ordinary_times):.2f}" for times in others]
    cells = [size_name(shape), task, f"{statistics.median(ordinary_times) * 1e3:.2f} ms", *ratios]
    return "| " + " | ".join(cells + ["—"] * arguments.no_compile) + " |"


def layers(shape: Sequence[int], arguments: argparse.Namespace) -> tuple[nn.Module, nn.Module]:
    """Return an ordinary and a Stein layer for that shape."""
    volume = len(shape) == 5
    ordinary = (nn.BatchNorm3d if volume else nn.BatchNorm2d)(shape[1])
    stein = (SteinBatchNorm3d if volume else SteinBatchNorm2d)(shape[1], estimator=arguments.estimator)
    return ordinary.to(arguments.device), stein.to(arguments.device)


def task_run(layer: Callable[[Tensor], Tensor], shape: Sequence[int], task: str, arguments: argparse.Namespace) -> Run:
    """Return a function that runs the task once."""
    x = elements(shape, arguments)
    if task == "forward+backward":
        x.requires_grad_()
        grad = elements(shape, arguments)
        return lambda: layer(x).backward(grad)
    module = getattr(layer, "_orig_mod", layer)

    @torch.no_grad()
    def forward() -> Tensor:
        module.train(task == "forward")
        return layer(x)

    return forward


def elements(shape: Sequence[int], arguments: argparse.Namespace) -> Tensor:
    """Return random elements in the requested memory format."""
    values = torch.randn(*shape, device=arguments.device) + 0.5
    last = arguments.channels_last and len(shape) == 4
    return values.contiguous(memory_format=torch.channels_last) if last else values


def median_ratio(times: Sequence[float], ordinary: Sequence[float]) -> float:
    """Return the median over rounds of the ratio of a variant's time to the ordinary layer's in the same round."""
    return statistics.median(mine / theirs for mine, theirs in zip(times, ordinary, strict=True))


def interleaved_times(runs: Sequence[Run], rounds: int, device: str) -> list[list[float]]:
    """Return the seconds of every run in every round; runs take turns, short ones several times in a row."""
    for run in runs:  # compile, allocate, fill caches
        seconds(run, 3, device)
    repeats = max(1, round(LEAST_SECONDS / seconds(runs[0], 3, device)))
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        order = list(zip(runs, times, strict=True))
        for run, past in order if number % 2 else reversed(order):
            past.append(seconds(run, repeats, device))
    return times


def seconds(run: Run, repeats: int, device: str) -> float:
    """Return the mean time of `repeats` runs in a row, on CUDA by the device's own events."""
    if device == "cuda":
        return seconds_on_cuda(run, repeats)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def seconds_on_cuda(run: Run, repeats: int) -> float:
    """Return the mean time between two events in the device's stream, around `repeats` runs."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    for _ in range(repeats):
        run()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3 / repeats


def memory_row(shape: Sequence[int], arguments: argparse.Namespace) -> str:
    """Measure what is kept for the backward pass."""
    x = elements(shape, arguments).requires_grad_()
    kept = [kept_bytes(layer, x) for layer in layers(shape, arguments)]
    cells = [size_name(shape), megabytes(x.numel() * x.element_size()), *map(megabytes, kept)]
    return "| " + " | ".join(cells) + " |"


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """Return how much memory one forward pass keeps for the backward pass, parameters included."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    del y
    return sum(kept.values())


def megabytes(size: int) -> str:
    """Return a size in MiB as text."""
    return f"{size / 2**20:.3f} MiB"


def size_name(shape: Sequence[int]) -> str:
    """Return a shape as text."""
    return "×".join(map(str, shape))


if __name__ == "__main__":
    main()

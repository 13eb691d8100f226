"""Speed of `pgd`, memory of an evaluation and number of clean passes, as Markdown tables.

Times are compared within one run: every repeat times both sides back to back, in alternating order, so that other load
on the machine affects both, and the median of the ratios is compared with the limit. Peak memory is that of separate
processes. This needs the same files as `benchmarks.strength`, with at least 2,000 images:

    python -m benchmarks.throughput test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cifar_networks import MODELS, SCALING, load
from benchmarks.rivals import torchattacks_pgd
from stein_bench.attacks.attack import attack_seeds, resolve_attack, resolve_attacks
from stein_bench.data import open_data
from stein_bench.data.samples import Samples
from stein_bench.data.samples import batches as load_batches
from stein_bench.evaluation.outcomes import CountingModel, Setting, evaluate
from stein_bench.evaluation.units import CLEAN
from stein_bench.guard import repeatable_backends
from stein_bench.tasks import Classification

TASK = Classification()
EPS, ALPHA, STEPS = 8 / 255, 2 / 255, 10
FEW, MANY = 200, 2000
"""Numbers of samples whose peak memory is compared."""
WARM_UP = 2
"""Repeats that are not counted."""

MEASURE = """
import resource, subprocess, sys
failed = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(failed)
"""
"""A small process that runs another one: on Linux a program inherits the peak memory of the process that starts it."""

Attack = Callable[[Tensor, Tensor], Tensor]
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Comparison:
    """`ours` compared with `other`: other/ours should be `at_least`, or ours/other `at_most`, a limit."""

    title: str
    ours: Attack
    other: Attack
    at_least: float | None = None
    at_most: float | None = None

    def ratio(self, mine: float, other: float) -> float:
        """Return the ratio of two times that the limit applies to."""
        return other / mine if self.at_least is not None else mine / other

    def limit(self) -> str:
        """Return the limit in words."""
        return f"other/pgd ≥ {self.at_least}" if self.at_least is not None else f"pgd/other ≤ {self.at_most}"

    def kept(self, ratio: float) -> bool:
        """Return whether the ratio keeps the limit."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)


def ours(model: nn.Module, *, early_stop: bool = True) -> Attack:
    """Return `pgd`, including seeding; without early stop, samples are treated as batch-dependent."""
    attack = resolve_attack(f"pgd:eps={EPS!r},alpha={ALPHA!r},steps={STEPS}")

    def run(inputs: Tensor, labels: Tensor) -> Tensor:
        seeds = attack_seeds(0, attack, [str(i) for i in range(len(inputs))])
        return attack.run(model, inputs, labels, TASK, classes=10, seeds=seeds, batch_dependent=not early_stop)

    return run


def theirs(model: nn.Module) -> Attack:
    """Return torchattacks' PGD with the same parameters."""

    def run(inputs: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(0)
        return torchattacks_pgd(model, inputs, labels, EPS)

    return run


def bare(model: nn.Module) -> Attack:
    """Return a minimal loop with the same forward and backward passes."""

    def run(inputs: Tensor, labels: Tensor) -> Tensor:
        current = (inputs + torch.empty_like(inputs).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(STEPS):
            current.requires_grad_(True)
            loss = nn.functional.cross_entropy(model(current), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, current)
            moved = current.detach() + ALPHA * gradient.sign()
            current = torch.minimum(torch.maximum(moved, inputs - EPS), inputs + EPS).clamp(0, 1)
        return current

    return run


def timed(attack: Attack, batches: Batches) -> tuple[float, list[Tensor]]:
    """Return seconds and adversarial inputs over all batches."""
    started = time.perf_counter()
    found = [attack(inputs, labels) for inputs, labels in batches]
    return time.perf_counter() - started, found


def robust(model: nn.Module, batches: Batches, found: list[Tensor]) -> str:
    """Return robust accuracy, as a percentage."""
    standing = 0
    with torch.no_grad():
        for (inputs, labels), adv in zip(batches, found, strict=True):
            standing += int((TASK.correct(model(inputs), labels) & TASK.correct(model(adv), labels)).sum())
    return f"{100 * standing / sum(len(labels) for _, labels in batches):.1f} %"


def speed_row(network: str, model: nn.Module, what: Comparison, batches: Batches, repeats: int) -> str:
    """Time both sides in every repeat and return the row."""
    pairs, found, reference = [], [], []
    for number in range(WARM_UP + repeats):
        if number % 2:
            (other, reference), (mine, found) = timed(what.other, batches), timed(what.ours, batches)
        else:
            (mine, found), (other, reference) = timed(what.ours, batches), timed(what.other, batches)
        if number >= WARM_UP:
            pairs.append((mine, other))
    ratios = sorted(what.ratio(*pair) for pair in pairs)
    median = statistics.median(ratios)
    quartiles = f"{ratios[len(ratios) // 4]:.2f}–{ratios[-1 - len(ratios) // 4]:.2f}"
    seconds = " | ".join(f"{statistics.median(times):.2f} s" for times in zip(*pairs, strict=True))
    return (
        f"| {what.title} | {network} | {seconds} | {median:.2f} ({quartiles}) | {what.limit()} | "
        f"{'yes' if what.kept(median) else 'NO'} | {robust(model, batches, found)} | "
        f"{robust(model, batches, reference)} |"
    )


def speed(options: argparse.Namespace, samples: Samples) -> Iterator[str]:
    """Yield the table of times, line by line."""
    batches = [(inputs, labels) for _, inputs, labels in load_batches(samples, options.batch_size)]
    yield "| pgd against | network | pgd | other | ratio (quartiles) | limit | met | robust, pgd | robust, other |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for network, path, least in (("ResNet-20", options.resnet20, 2.5), ("resnet2b", options.resnet2b, 0.98)):
        model = load(network, path)
        repeats = options.repeats * (1 if network == "ResNet-20" else 4)
        for what in (
            Comparison("torchattacks PGD", ours(model), theirs(model), at_least=least),
            Comparison("a bare loop, without early stop", ours(model, early_stop=False), bare(model), at_most=1.05),
        ):
            yield speed_row(network, model, what, batches, repeats)


def memory(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table of peak memory with few and with many samples."""
    yield f"| network | peak of {FEW} samples | peak of {MANY:,} samples | ratio | limit | met |"
    yield "|---|---|---|---|---|---|"
    for network, path in (("ResNet-20", options.resnet20), ("resnet2b", options.resnet2b)):
        few, many = (statistics.median(peak(network, path, options.data, n) for _ in range(3)) for n in (FEW, MANY))
        kept = "yes" if many / few <= 1.05 else "NO"
        yield f"| {network} | {few:,.0f} MiB | {many:,.0f} MiB | {many / few:.3f} | ≤ 1.05 | {kept} |"


def peak(network: str, weights: Path, data: Path, samples: int) -> float:
    """Return the peak resident memory, in MiB, of one `stein-bench evaluate` in a separate process."""
    mean, std = (",".join(map(str, values)) for values in SCALING[network])
    command = [
        *(sys.executable, "-m", "stein_bench", "evaluate", MODELS[network]),
        *("--weights", str(weights), "--data", f"npz:{data}", "--mean", mean, "--std", std, "--quiet"),
        *("--attack", f"pgd:eps={EPS!r},steps=2", "--limit", str(samples), "--format", "json", "--device", "cpu"),
    ]
    ran = subprocess.run([sys.executable, "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"the evaluation of {samples} samples of {network} failed: {' '.join(command)}")
    return int(ran.stdout) / (2**20 if platform.system() == "Darwin" else 2**10)


def clean_passes(options: argparse.Namespace, samples: Samples) -> Iterator[str]:
    """Yield the table of the passes of several attacks at several ε, which should share one clean pass."""
    yield "| attacks | ε each | clean passes per sample | verification passes | attack passes | clean pass shared |"
    yield "|---|---|---|---|---|---|"
    specs, budgets = ("fgsm", "pgd", "mifgsm"), (2 / 255, 4 / 255, 8 / 255)
    counting = CountingModel(load("resnet2b", options.resnet2b))
    setting = Setting(samples, TASK, 10, options.batch_size, 0, 0, torch.device("cpu"))
    attacks, of_attacks = resolve_attacks(specs, budgets), 0
    for label, units in evaluate("resnet2b", counting, attacks, setting):
        of_attacks += sum(unit.forward_passes for unit in units if label != CLEAN)
    n = len(samples)
    clean = (counting.forward_passes - of_attacks) / n - len(attacks)
    shared = "yes" if clean == 1 else "NO"
    yield (f"| {', '.join(specs)} | {len(budgets)} | {clean:g} | {len(attacks)} | {of_attacks / n:.1f} | {shared} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, required=True, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, required=True, help="weights of the small residual network")
    parser.add_argument("--samples", type=int, default=200, help="number of images, from the first on")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=8, help="on ResNet-20; four times as many on resnet2b")
    parser.add_argument("--only", choices=("speed", "memory", "passes"), help="print only this table")
    options = parser.parse_args()
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    tables = {
        "speed": lambda: speed(options, samples),
        "memory": lambda: memory(options),
        "passes": lambda: clean_passes(options, samples),
    }
    with repeatable_backends():
        for name in [options.only] if options.only else tables:
            for text in tables[name]():
                print(text, flush=True)
            print()
    print(f"{len(samples)} samples, batches of {options.batch_size}, ε = 8/255, α = 2/255, 10 steps, ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()

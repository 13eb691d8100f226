"""How fast `pgd` is, against torchattacks' PGD and against a bare loop: ratios within one run, interleaved.

It wants what `benchmarks.strength` wants:

    python -m benchmarks.throughput test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchattacks
from torch import Tensor, nn

from benchmarks.cifar_networks import load
from stein_bench.attacks.registry import attack_seeds, resolve_attack
from stein_bench.data import open_data
from stein_bench.data.samples import batches as load_batches
from stein_bench.guard import repeatable_backends
from stein_bench.tasks import Classification

TASK = Classification()
EPS, ALPHA, STEPS = 8 / 255, 2 / 255, 10

Attack = Callable[[Tensor, Tensor], Tensor]


def ours(model: nn.Module, *, early_stop: bool = True) -> Attack:
    """Return `pgd`, seeds of the samples included; without early stop it treats the batch as coupled."""
    attack = resolve_attack(f"pgd:eps={EPS!r},alpha={ALPHA!r},steps={STEPS}")

    def run(inputs: Tensor, labels: Tensor) -> Tensor:
        seeds = attack_seeds(0, attack, [str(i) for i in range(len(inputs))])
        return attack.run(model, inputs, labels, TASK, classes=10, seeds=seeds, coupled=not early_stop)

    return run


def theirs(model: nn.Module) -> Attack:
    """Return torchattacks' PGD with the same parameters."""

    def run(inputs: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(0)
        return torchattacks.PGD(model, eps=EPS, alpha=ALPHA, steps=STEPS)(inputs, labels)

    return run


def bare(model: nn.Module) -> Attack:
    """Return a loop with the same forward and backward passes and nothing to spare."""

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


def timed(attack: Attack, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, list[Tensor]]:
    """Return seconds and adversarial inputs over all batches."""
    started = time.perf_counter()
    found = [attack(inputs, labels) for inputs, labels in batches]
    return time.perf_counter() - started, found


def robust(model: nn.Module, batches: list[tuple[Tensor, Tensor]], found: list[Tensor]) -> float:
    """Return the share right on the clean and on the adversarial inputs."""
    standing = 0
    with torch.no_grad():
        for (inputs, labels), adv in zip(batches, found, strict=True):
            standing += int((TASK.correct(model(inputs), labels) & TASK.correct(model(adv), labels)).sum())
    return standing / sum(len(labels) for _, labels in batches)


def compare(
    name: str, model: nn.Module, first: Attack, second: Attack, batches: list[tuple[Tensor, Tensor]], rounds: int
) -> str:
    """Return a row: the median over rounds of second's time by first's, each round timing both in turn."""
    pairs = []
    for number in range(rounds + 1):
        (mine, found), (other, reference) = timed(first, batches), timed(second, batches)
        if number:  # the first round warms up
            pairs.append((mine, other))
    ratios = sorted(other / mine for mine, other in pairs)
    accuracies = " | ".join(f"{100 * robust(model, batches, x):.1f} %" for x in (found, reference))
    medians = " | ".join(f"{statistics.median(times):.2f} s" for times in zip(*pairs, strict=True))
    spread = f"{ratios[0]:.2f}–{ratios[-1]:.2f}"
    return f"| {name} | {medians} | {statistics.median(ratios):.2f} ({spread}) | {accuracies} |"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, required=True, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, required=True, help="weights of the small residual network")
    parser.add_argument("--samples", type=int, default=200, help="number of first images")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    batches = [(inputs, labels) for _, inputs, labels in load_batches(samples, options.batch_size)]
    print("| pgd against | pgd | other | times faster (range) | robust, pgd | robust, other |")
    print("|---|---|---|---|---|---|")
    with repeatable_backends():
        for name, path in (("ResNet-20", options.resnet20), ("resnet2b", options.resnet2b)):
            model = load(name, path)
            rounds = options.rounds * (1 if name == "ResNet-20" else 4)
            rows = (
                ("torchattacks PGD", ours(model), theirs(model)),
                ("a bare loop, without early stop", ours(model, early_stop=False), bare(model)),
            )
            for other, first, second in rows:
                print(compare(f"{other}, {name}", model, first, second, batches, rounds), flush=True)
    print(f"\n{len(samples)} samples, batches of {options.batch_size}, ε = 8/255, α = 2/255, 10 steps, ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()

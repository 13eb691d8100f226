"""How strong the attacks are, against torchattacks with the same parameters and against its AutoAttack.

It wants CIFAR-10 test images (`images` uint8 N×32×32×3, `labels`) and weights of two networks (see
`benchmarks.cifar_networks`); ResNet-20's AutoAttack takes tens of minutes on a CPU:

    python -m benchmarks.strength test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.cifar_networks import load
from stein_bench.attacks.registry import resolve_attack
from stein_bench.data import open_data
from stein_bench.data.samples import Samples
from stein_bench.evaluate import Setting, evaluate
from stein_bench.guard import repeatable_backends
from stein_bench.measures import RightOrWrong
from stein_bench.outcomes import CLEAN, gather
from stein_bench.tasks import TASKS

PROBLEMS = (("ResNet-20", 1), ("resnet2b", 2), ("resnet2b", 8))
"""Networks with their budgets in 255ths: each is neither whole nor lost under attack."""

ATTACKS = {
    "pgd": "pgd:steps=10,alpha={alpha},eps={eps}",
    "torchattacks PGD": "torchattacks.PGD:steps=10,alpha={alpha},eps={eps}",
    "apgd-ce": "apgd-ce:eps={eps}",
    "autoattack": "autoattack:eps={eps}",
    "torchattacks AutoAttack": "torchattacks.AutoAttack:eps={eps}",
}
"""PGD takes steps of a quarter of eps."""


@dataclass(frozen=True)
class Row:
    """One attack on one network: accuracies in [0, 1], passes per sample, seconds."""

    network: str
    eps: int
    attack: str
    clean: float
    robust: float
    forward: float
    backward: float
    seconds: float


def measure(problems: dict[str, Path], attacks: list[str], samples: Samples, batch_size: int) -> Iterator[Row]:
    """Run the named attacks on every network whose weights are given."""
    for network, eps in PROBLEMS:
        if network not in problems:
            continue
        model = load(network, problems[network])
        specs = [ATTACKS[name].format(eps=f"{eps}/255", alpha=f"{eps}/1020") for name in attacks]
        resolved = [resolve_attack(spec) for spec in specs]
        setting = Setting(samples, TASKS["classification"], 10, batch_size, 0, 0, torch.device("cpu"))
        names = iter(attacks)
        for label, units in evaluate(network, model, resolved, setting):
            phase = gather(units, len(samples))
            if label == CLEAN:
                clean = RightOrWrong.from_columns(phase.columns)
                continue
            if phase.message:
                raise SystemExit(f"{label} failed: {phase.message}")
            void = phase.bits("invalid") | phase.bits("over_budget")
            robust = clean.under_attack(RightOrWrong.from_columns(phase.columns), void)
            per_sample = (phase.forward_passes / len(samples), phase.backward_passes / len(samples))
            yield Row(
                network, eps, next(names), clean.accuracy().value, robust.accuracy().value, *per_sample, phase.seconds
            )


def line(row: Row) -> str:
    """Return a row of the Markdown table."""
    return (
        f"| {row.network} | {row.eps}/255 | {100 * row.clean:.1f} % | {row.attack} | {100 * row.robust:.1f} % | "
        f"{row.forward:,.0f} | {row.backward:,.0f} | {row.seconds:.0f} s |"
    )


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, help="weights of the small residual network")
    parser.add_argument("--samples", type=int, default=200, help="number of first images")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="one of these only; repeat")
    options = parser.parse_args()
    given = {"ResNet-20": options.resnet20, "resnet2b": options.resnet2b}
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    started = time.perf_counter()
    print("| network | ε | clean | attack | robust | forward passes | backward passes | time |")
    print("|---|---|---|---|---|---|---|---|")
    with repeatable_backends():
        problems = {name: path for name, path in given.items() if path}
        for row in measure(problems, options.attack or list(ATTACKS), samples, options.batch_size):
            print(line(row), flush=True)
    print(f"\n{len(samples)} samples, batches of {options.batch_size}, seed 0, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, {time.perf_counter() - started:.0f} s in all.")


if __name__ == "__main__":
    main()

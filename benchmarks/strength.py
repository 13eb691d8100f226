"""Strength of the attacks and passes they take, compared with those of torchattacks and foolbox.

PGD has the same steps and step size everywhere, and in foolbox also the same start. This needs CIFAR-10 test images
(`images` uint8 N×32×32×3, `labels`) and weights of two networks (see `benchmarks.cifar_networks`). AutoAttack on
ResNet-20 takes tens of minutes on a CPU:

    python -m benchmarks.strength test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors

Other networks are given as functions that return them with their weights, for inputs in [0, 1]; ε is in 255ths:

    python -m benchmarks.strength test.npz --network networks.py:small_cnn 4 --attack autoattack --attack fast
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cifar_networks import load
from benchmarks.rivals import RIVALS, SHARE, STEPS
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.verify import verify
from stein_bench.data import open_data
from stein_bench.data.samples import Samples, batches
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.guard import forked_rng, model_untouched, repeatable_backends
from stein_bench.tasks import TASKS

TASK = TASKS["classification"]

PROBLEMS = (("ResNet-20", 1), ("resnet2b", 2), ("resnet2b", 8))
"""Networks with ε in 255ths: under attack, robust accuracy is neither unchanged nor zero."""

Problem = tuple[str, float, nn.Module]
"""Name of a network, ε in 255ths, and the network, for inputs in [0, 1]."""

OURS = {
    "pgd": f"pgd:steps={STEPS},alpha={{alpha!r}},eps={{eps!r}}",
    "apgd-ce": "apgd-ce:eps={eps!r}",
    "autoattack": "autoattack:eps={eps!r}",
    "pma": "pma:eps={eps!r}",
    "mm": "mm:eps={eps!r}",
    "fast": "fast-ensemble:eps={eps!r}",
    "strongest": "strongest-ensemble:eps={eps!r}",
    "torchattacks AutoAttack": "torchattacks.AutoAttack:eps={eps!r}",
}
"""Specs of `stein-bench evaluate --attack`."""

ORDER = (
    *("pgd", "torchattacks PGD", "foolbox LinfPGD", "apgd-ce"),
    *("pma", "mm", "fast", "autoattack", "strongest", "reference AutoAttack", "torchattacks AutoAttack"),
)


@dataclass
class Row:
    """One attack on one network: samples correct and robust, passes summed over samples, seconds."""

    network: str
    eps: float
    attack: str
    clean: int = 0
    robust: int = 0
    invalid: int = 0
    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    def markdown(self, samples: int) -> str:
        """Return the row of the table."""
        lost = f" ({self.invalid} invalid)" if self.invalid else ""
        return (
            f"| {self.network} | {self.eps:g}/255 | {100 * self.clean / samples:.1f} % | {self.attack} | "
            f"{100 * self.robust / samples:.1f} %{lost} | {self.forward / samples:,.0f} | "
            f"{self.backward / samples:,.0f} | {self.seconds:.0f} s |"
        )


def measure(row: Row, model: nn.Module, samples: Samples, batch_size: int) -> Row:
    """Run the attack of `row` on `model`, count its passes, verify its results, and fill the row."""
    eps, counting = row.eps / 255, CountingModel(model)
    for indices, inputs, labels in batches(samples, batch_size):
        ids = [samples.ids[i] for i in indices]
        started = time.perf_counter()
        with forked_rng(0), model_untouched(counting):
            points = run(row.attack, counting, inputs, labels, eps, ids)
        row.seconds += time.perf_counter() - started
        found = verify(model, inputs, points, labels, TASK, norm="Linf", eps=eps, respects_eps=True)
        with torch.no_grad():
            right = TASK.correct(model(inputs), labels).numpy()
        row.clean += int(right.sum())
        row.robust += int((right & ~found.broken).sum())
        row.invalid += int(found.invalid.sum())
    row.forward, row.backward = counting.forward_passes, counting.backward_passes
    return row


def run(name: str, model: CountingModel, inputs: Tensor, labels: Tensor, eps: float, ids: list[str]) -> Tensor:
    """Run one attack on one batch."""
    rival, attack = RIVALS.get(name), resolve_attack(OURS.get(name, OURS["pgd"]).format(eps=eps, alpha=SHARE * eps))
    if rival is not None:
        start = random_start(inputs.shape, attack_seeds(0, attack, ids), "Linf", eps)
        return rival(model, inputs, labels, eps, start)
    with torch.no_grad():
        classes = model.model(inputs[:1]).shape[1]  # not counted
    return attack.run(model, inputs, labels, TASK, classes=classes, seeds=attack_seeds(0, attack, ids))


def rows(problems: Iterable[Problem], names: list[str], samples: Samples, batch_size: int) -> Iterator[Row]:
    """Run the named attacks on every network."""
    for network, eps, model in problems:
        yield from (measure(Row(network, eps, name), model, samples, batch_size) for name in names)


def known_problems(weights: dict[str, Path]) -> Iterator[Problem]:
    """Yield the networks of `PROBLEMS` whose weights are given."""
    for network, eps in PROBLEMS:
        if network in weights:
            yield network, eps, load(network, weights[network])


def further_problem(spec: str, eps: str) -> Problem:
    """Return the network that a function FILE.py:CALLABLE returns, in eval mode and frozen."""
    file, _, name = spec.rpartition(":")
    network = runpy.run_path(file)[name]()
    return name, float(eps), network.eval().requires_grad_(False)


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, help="weights of the small residual network")
    parser.add_argument(
        "--network", nargs=2, action="append", default=[], metavar=("FILE.py:CALLABLE", "EPS"),
        help="another network and its ε in 255ths; repeatable",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, default=200, help="number of images, from the first on")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--attack", action="append", choices=ORDER, help="run only this attack; repeatable")
    options = parser.parse_args()
    names = options.attack or list(ORDER)
    if "foolbox LinfPGD" in names and importlib.util.find_spec("foolbox") is None:
        names.remove("foolbox LinfPGD")
        print("foolbox is not installed (pip install 'stein-bench[bench]'): its row is omitted.\n")
    given = {"ResNet-20": options.resnet20, "resnet2b": options.resnet2b}
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    started = time.perf_counter()
    print("| network | ε | clean | attack | robust | forward passes | backward passes | time |")
    print("|---|---|---|---|---|---|---|---|")
    with repeatable_backends():
        known = known_problems({name: path for name, path in given.items() if path})
        problems = chain(known, (further_problem(*network) for network in options.network))
        for row in rows(problems, names, samples, options.batch_size):
            print(row.markdown(len(samples)), flush=True)
    print(f"\n{len(samples)} samples, batches of {options.batch_size}, seed 0, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, {time.perf_counter() - started:.0f} s in total.")


if __name__ == "__main__":
    main()

"""Strength of the attacks and passes they take, compared with those of torchattacks and foolbox.

PGD has the same steps and step size everywhere, and in foolbox also the same start. This needs CIFAR-10 test images
(`images` uint8 N×32×32×3, `labels`) and weights of two networks (see `benchmarks.cifar_networks`). AutoAttack on
ResNet-20 takes tens of minutes on a CPU:

    python -m benchmarks.strength test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors

Other networks are given as functions that return them with their weights, for inputs in [0, 1]; ε is in 255ths:

    python -m benchmarks.strength test.npz --network networks.py:small_cnn 4 --attack autoattack --attack fast

In L2 and L1, where only our own attacks are compared, ε is absolute:

    python -m benchmarks.strength test.npz --resnet20 resnet20.safetensors --norm L1 --eps 5
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
    "pgd": f"pgd:steps={STEPS},alpha={{alpha!r}},{{budget}}",
    "apgd-ce": "apgd-ce:{budget}",
    "autoattack": "autoattack:{budget}",
    "pma": "pma:{budget}",
    "mm": "mm:{budget}",
    "fast": "fast-ensemble:{budget}",
    "strongest": "strongest-ensemble:{budget}",
    "torchattacks AutoAttack": "torchattacks.AutoAttack:eps={eps!r}",
}
"""Specs of `stein-bench evaluate --attack`."""

ORDER = (
    *("pgd", "torchattacks PGD", "foolbox LinfPGD", "apgd-ce"),
    *("pma", "mm", "fast", "autoattack", "strongest", "reference AutoAttack", "torchattacks AutoAttack"),
)
LINF_ONLY = (*RIVALS, "torchattacks AutoAttack")
"""Rows that are measured in Linf only."""


@dataclass(frozen=True)
class Setting:
    """What all rows have in common: norm, seed of the attacks, samples per batch."""

    norm: str = "Linf"
    seed: int = 0
    batch_size: int = 100

    def radius(self, eps: float) -> float:
        """Return ε on the scale of inputs; in Linf it is given in 255ths."""
        return eps / 255 if self.norm == "Linf" else eps

    def budget(self, eps: float) -> str:
        """Return ε with its unit, as the table shows it."""
        return f"{eps:g}/255" if self.norm == "Linf" else f"{eps:g} ({self.norm})"


@dataclass
class Row:
    """One attack on one network: samples correct and robust, passes summed over samples, seconds."""

    network: str
    budget: str
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
            f"| {self.network} | {self.budget} | {100 * self.clean / samples:.1f} % | {self.attack} | "
            f"{100 * self.robust / samples:.1f} %{lost} | {self.forward / samples:,.0f} | "
            f"{self.backward / samples:,.0f} | {self.seconds:.0f} s |"
        )


def measure(name: str, problem: Problem, samples: Samples, setting: Setting) -> Row:
    """Run the attack of that name, count its passes, verify its results, and return the row."""
    network, given, model = problem
    row, eps, counting = Row(network, setting.budget(given), name), setting.radius(given), CountingModel(model)
    for indices, inputs, labels in batches(samples, setting.batch_size):
        ids = [samples.ids[i] for i in indices]
        started = time.perf_counter()
        with forked_rng(0), model_untouched(counting):
            points = run(name, counting, inputs, labels, eps, ids, setting)
        row.seconds += time.perf_counter() - started
        found = verify(model, inputs, points, labels, TASK, norm=setting.norm, eps=eps, respects_eps=True)
        with torch.no_grad():
            right = TASK.correct(model(inputs), labels).numpy()
        row.clean += int(right.sum())
        row.robust += int((right & ~found.broken).sum())
        row.invalid += int(found.invalid.sum())
    row.forward, row.backward = counting.forward_passes, counting.backward_passes
    return row


def run(
    name: str, model: CountingModel, inputs: Tensor, labels: Tensor, eps: float, ids: list[str], setting: Setting
) -> Tensor:
    """Run one attack on one batch."""
    spec, budget = OURS.get(name, OURS["pgd"]), f"norm={setting.norm},eps={eps!r}"
    attack = resolve_attack(spec.format(eps=eps, budget=budget, alpha=SHARE * eps))
    seeds = attack_seeds(setting.seed, attack, ids)
    rival = RIVALS.get(name)
    if rival is not None:
        return rival(model, inputs, labels, eps, random_start(inputs.shape, seeds, setting.norm, eps))
    with torch.no_grad():
        classes = model.model(inputs[:1]).shape[1]  # not counted
    return attack.run(model, inputs, labels, TASK, classes=classes, seeds=seeds)


def rows(problems: Iterable[Problem], names: list[str], samples: Samples, setting: Setting) -> Iterator[Row]:
    """Run the named attacks on every network."""
    for problem in problems:
        yield from (measure(name, problem, samples, setting) for name in names)


def known_problems(weights: dict[str, Path], eps: float | None) -> Iterator[Problem]:
    """Yield the networks of `PROBLEMS` whose weights are given, or each of them once with another ε."""
    for network, usual in PROBLEMS if eps is None else [(network, eps) for network in weights]:
        if network in weights:
            yield network, usual, load(network, weights[network])


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
        help="another network and its ε, in 255ths if the norm is Linf; repeatable",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, default=200, help="number of images, from the first on")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--attack", action="append", choices=ORDER, help="run only this attack; repeatable")
    parser.add_argument("--norm", choices=("Linf", "L2", "L1"), default="Linf")
    parser.add_argument("--eps", type=float, help="ε of --resnet20 and --resnet2b instead of the usual ones")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attacks (torchattacks' own seeds excepted)")
    options = parser.parse_args()
    if options.norm != "Linf" and options.eps is None and (options.resnet20 or options.resnet2b):
        parser.error(f"--norm {options.norm} needs --eps, in absolute units.")
    setting = Setting(options.norm, options.seed, options.batch_size)
    names = options.attack or [name for name in ORDER if setting.norm == "Linf" or name not in LINF_ONLY]
    if setting.norm != "Linf" and set(names) & set(LINF_ONLY):
        parser.error(f"only in Linf: {', '.join(sorted(set(names) & set(LINF_ONLY)))}.")
    if "foolbox LinfPGD" in names and importlib.util.find_spec("foolbox") is None:
        names.remove("foolbox LinfPGD")
        print("foolbox is not installed (pip install 'stein-bench[bench]'): its row is omitted.\n")
    given = {"ResNet-20": options.resnet20, "resnet2b": options.resnet2b}
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    started = time.perf_counter()
    print("| network | ε | clean | attack | robust | forward passes | backward passes | time |")
    print("|---|---|---|---|---|---|---|---|")
    with repeatable_backends():
        known = known_problems({name: path for name, path in given.items() if path}, options.eps)
        problems = chain(known, (further_problem(*network) for network in options.network))
        for row in rows(problems, names, samples, setting):
            print(row.markdown(len(samples)), flush=True)
    print(f"\n{len(samples)} samples, batches of {options.batch_size}, seed {options.seed}, ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {time.perf_counter() - started:.0f} s total.")


if __name__ == "__main__":
    main()

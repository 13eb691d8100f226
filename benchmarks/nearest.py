"""Distances that minimum-norm attacks find and the passes they take, compared with torchattacks and foolbox.

This needs CIFAR-10 test images (`images` uint8 N×32×32×3, `labels`) and weights of two networks (see
`benchmarks.cifar_networks`):

    python -m benchmarks.nearest test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cifar_networks import load
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.verify import verify
from stein_bench.data import open_data
from stein_bench.data.samples import Samples, batches
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.guard import forked_rng, model_untouched, repeatable_backends
from stein_bench.tasks import TASKS

TASK = TASKS["classification"]

Foolbox = Callable[[], object]


def _foolbox(name: str, **arguments: object) -> Foolbox:
    def build() -> object:
        import foolbox

        return getattr(foolbox.attacks, name)(**arguments)

    return build


FOOLBOX = {
    "foolbox LInfFMNAttack": ("Linf", _foolbox("LInfFMNAttack", steps=100)),
    "foolbox LinfDeepFoolAttack": ("Linf", _foolbox("LinfDeepFoolAttack")),
    "foolbox L2FMNAttack": ("L2", _foolbox("L2FMNAttack", steps=100)),
    "foolbox DDNAttack": ("L2", _foolbox("DDNAttack", steps=100)),
    "foolbox L2DeepFoolAttack": ("L2", _foolbox("L2DeepFoolAttack")),
    "foolbox L2CarliniWagnerAttack": ("L2", _foolbox("L2CarliniWagnerAttack", steps=100)),
}
"""Norm and attack by name; CW has 100 steps per weight, as ours, the others their defaults."""

SPECS = {
    "Linf": ("fab:norm=Linf", "deepfool:norm=Linf", "fmn:norm=Linf"),
    "L2": (
        *("fab:norm=L2", "deepfool", "cw", "ddn", "fmn:norm=L2"),
        *("torchattacks.DeepFool", "torchattacks.CW", "torchattacks.CW:steps=1000"),
    ),
}
"""Specs of `stein-bench evaluate --attack` by norm."""
ORDER = [(norm, name) for norm in SPECS for name in (*SPECS[norm], *(k for k, (n, _) in FOOLBOX.items() if n == norm))]


@dataclass
class Row:
    """One attack on one network: distances of samples right on the clean input (NaN: none found), passes, seconds."""

    network: str
    norm: str
    attack: str
    distances: list[float] = field(default_factory=list)
    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    def markdown(self, samples: int) -> str:
        """Return the row of the table; what was not found counts as infinitely far in the median."""
        found, unit = np.nan_to_num(np.array(self.distances), nan=np.inf), 255 if self.norm == "Linf" else 1
        success = f"{100 * float(np.isfinite(found).mean()):.0f} %"
        middle, mean = unit * float(np.median(found)), unit * float(found[np.isfinite(found)].mean())
        median = f"{middle:.3f}{'/255' if unit > 1 else ''}"
        return (
            f"| {self.network} | {self.norm} | {self.attack} | {success} | {median} | {mean:.3f} | "
            f"{self.forward / samples:,.0f} | {self.backward / samples:,.0f} | {self.seconds:.0f} s |"
        )


def measure(row: Row, model: nn.Module, samples: Samples, batch_size: int) -> Row:
    """Run the attack of `row` on `model`, count its passes, verify its results, and fill the row."""
    counting = CountingModel(model)
    for indices, inputs, labels in batches(samples, batch_size):
        ids = [samples.ids[i] for i in indices]
        started = time.perf_counter()
        with forked_rng(0), model_untouched(counting):
            points = run(row.attack, counting, inputs, labels, ids)
        row.seconds += time.perf_counter() - started
        found = verify(model, inputs, points, labels, TASK, norm=row.norm, eps=1, respects_eps=False)
        with torch.no_grad():
            right = TASK.correct(model(inputs), labels).numpy()
        row.distances += found.distance[right].tolist()
    row.forward, row.backward = counting.forward_passes, counting.backward_passes
    return row


def run(name: str, model: nn.Module, inputs: Tensor, labels: Tensor, ids: list[str]) -> Tensor:
    """Run one attack on one batch."""
    if name in FOOLBOX:
        import foolbox

        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
        points: Tensor = FOOLBOX[name][1]()(wrapped, inputs, labels, epsilons=None)[1]  # type: ignore[operator]
        return points.detach()
    attack = resolve_attack(name)
    return attack.run(model, inputs, labels, TASK, classes=10, seeds=attack_seeds(0, attack, ids))


def rows(networks: dict[str, Path], names: list[tuple[str, str]], samples: Samples, batch_size: int) -> Iterator[Row]:
    """Run the named attacks on every network whose weights are given."""
    for network, weights in networks.items():
        model = load(network, weights)
        yield from (measure(Row(network, norm, name), model, samples, batch_size) for norm, name in names)


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, help="weights of the small residual network")
    parser.add_argument("--samples", type=int, default=100, help="number of images, from the first on")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--attack", action="append", help="run only this attack; repeatable")
    options = parser.parse_args()
    names = [(norm, name) for norm, name in ORDER if options.attack is None or name in options.attack]
    if importlib.util.find_spec("foolbox") is None:
        names = [(norm, name) for norm, name in names if name not in FOOLBOX]
        print("foolbox is not installed (pip install 'stein-bench[bench]'): its rows are omitted.\n")
    for extra in set(options.attack or ()) - {name for _, name in names}:
        attack = resolve_attack(extra)
        names.append((attack.norm, extra))
    given = {"ResNet-20": options.resnet20, "resnet2b": options.resnet2b}
    samples = open_data(f"npz:{options.data}").samples("test").first(options.samples)
    started = time.perf_counter()
    print("| network | norm | attack | success | median | mean | forward passes | backward passes | time |")
    print("|---|---|---|---|---|---|---|---|---|")
    with repeatable_backends():
        for row in rows({name: path for name, path in given.items() if path}, names, samples, options.batch_size):
            print(row.markdown(len(samples)), flush=True)
    print(f"\n{len(samples)} samples, batches of {options.batch_size}, seed 0, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, {time.perf_counter() - started:.0f} s in total.")


if __name__ == "__main__":
    main()

"""Robust accuracy under attacks that see scores or decisions only, by the number of queries they may make.

The other libraries' implementations get about as many queries; what they made is counted. This needs CIFAR-10 test
images and weights of two networks, as `benchmarks.strength`:

    python -m benchmarks.queries test.npz --resnet20 resnet20.safetensors --resnet2b resnet2b.safetensors
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cifar_networks import load
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.verify import verify
from stein_bench.data import open_data
from stein_bench.data.samples import batches
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.guard import forked_rng, model_untouched, repeatable_backends
from stein_bench.tasks import TASKS

TASK = TASKS["classification"]
SPECS = {
    "`square`": "square:queries={queries},eps={eps!r}",
    "torchattacks Square": "torchattacks.Square:n_queries={queries},eps={eps!r}",
    "`nes`": "nes:queries={queries},eps={eps!r}",
    "`spsa`": "spsa:queries={queries},eps={eps!r}",
    "torchattacks SPSA": "torchattacks.SPSA:nb_iter={half},nb_sample=25,max_batch_size=25,eps={eps!r}",
    "`rays`": "rays:queries={queries},eps={eps!r}",
    "`hopskipjump`": "hopskipjump:queries={queries},eps={eps!r}",
}
FOOLBOX = "foolbox HopSkipJump"
QUERIES_OF_FOOLBOX = 230
"""About what a step takes in its first twenty, with the default of 100 queries in the first."""


def run(
    name: str, model: nn.Module, inputs: Tensor, labels: Tensor, ids: list[str], eps: float, queries: int
) -> Tensor:
    """Run one attack on one batch."""
    if name == FOOLBOX:
        return _foolbox(model, inputs, labels, queries)
    attack = resolve_attack(SPECS[name].format(queries=queries, half=queries // 50, eps=eps))
    return attack.run(model, inputs, labels, TASK, classes=10, seeds=attack_seeds(0, attack, ids))


def _foolbox(model: nn.Module, inputs: Tensor, labels: Tensor, queries: int) -> Tensor:
    """Return foolbox's nearest points; samples that are misclassified already stay as they are."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(steps=max(queries // QUERIES_OF_FOOLBOX, 1), constraint="linf")
    right = TASK.correct(model(inputs), labels)
    points = inputs.clone()
    points[right] = attack.run(wrapped, inputs[right], foolbox.criteria.Misclassification(labels[right]))
    return points


def row(network: str, name: str, model: nn.Module, data: Path, samples: int, eps: float, queries: int) -> str:
    """Return a row of the table."""
    counting, chosen = CountingModel(model).eval(), open_data(f"npz:{data}").samples("test").first(samples)
    clean = robust = invalid = 0
    started = time.perf_counter()
    for indices, inputs, labels in batches(chosen, 100):
        with forked_rng(0), model_untouched(counting), torch.no_grad():
            points = run(name, counting, inputs, labels, [chosen.ids[i] for i in indices], eps, queries)
            right = TASK.correct(model(inputs), labels).numpy()
        found = verify(model, inputs, points, labels, TASK, norm="Linf", eps=eps, respects_eps=name != FOOLBOX)
        clean += int(right.sum())
        robust += int((right & ~found.broken).sum())
        invalid += int(found.invalid.sum())
    seconds = time.perf_counter() - started
    shares = f"{100 * clean / samples:.1f} % | {name} | {queries:,} | {100 * robust / samples:.1f} %"
    passes = f"{counting.forward_passes / samples:,.0f} | {seconds:.0f} s"
    return f"| {network} | {255 * eps:.0f}/255 | {shares}{f' ({invalid} invalid)' if invalid else ''} | {passes} |"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10 test images as npz")
    parser.add_argument("--resnet20", type=Path, help="weights of the CIFAR ResNet-20")
    parser.add_argument("--resnet2b", type=Path, help="weights of the small residual network")
    parser.add_argument("--samples", type=int, default=100, help="number of images, from the first on")
    parser.add_argument("--eps", type=float, default=2, help="in 255ths")
    parser.add_argument("--queries", type=int, action="append", help="repeatable; by default 500 and 2000")
    parser.add_argument("--attack", action="append", choices=[*(name.strip("`") for name in SPECS), FOOLBOX])
    options = parser.parse_args()
    names = [name for name in (*SPECS, FOOLBOX) if not options.attack or name.strip("`") in options.attack]
    if importlib.util.find_spec("foolbox") is None and FOOLBOX in names:
        names.remove(FOOLBOX)
        print("foolbox is not installed (pip install 'stein-bench[bench]'): its rows are omitted.\n")
    print(
        "| network | ε | clean | attack | queries | robust | forward passes | time |\n|---|---|---|---|---|---|---|---|"
    )
    with repeatable_backends():
        for network, weights in (("ResNet-20", options.resnet20), ("resnet2b", options.resnet2b)):
            if weights is None:
                continue
            model = load(network, weights)
            for name in names:
                for queries in options.queries or [500, 2000]:
                    print(
                        row(network, name, model, options.data, options.samples, options.eps / 255, queries), flush=True
                    )
    print(f"\n{options.samples} samples, seed 0, torch {torch.__version__}, {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()

"""Reports and examples that the pages' tests share; built from the gate's hand-made outcomes."""

from __future__ import annotations

import numpy as np

from stein_bench.measures import RightOrWrong
from stein_bench.measures.budgets import budget_results
from stein_bench.report.adversarials import Example
from stein_bench.report.results import LayerShrinkage
from tests.reports import FGSM, PGD, attack, bits, diagnostic, doubtful, label, replaced, report, variant

__all__ = ["attack", "bits", "cell", "diagnostic", "doubtful", "example", "replaced", "report", "variant"]

SMALL = 2 / 255


def cell(bn, stats, wrong):
    """A variant with two attacks at two budgets; `wrong` samples of 200 break under the strongest."""
    attacks = {(FGSM, SMALL): bits(20, 200), (PGD, SMALL): bits(30, 200), PGD: bits(wrong, 200)}
    one = variant(bn, stats, bits(10, 200), attacks)
    robust = {label(*key) if isinstance(key, tuple) else label(key): RightOrWrong(b) for key, b in attacks.items()}
    layers = [
        LayerShrinkage(layer=f"bn{i}", count=1000, mean_kept=0.1 * i, variance_ratio=(1.0, 1.01, 1.1))
        for i in (1, 2, 3)
    ]
    shrinkage = layers if bn != "sample" else []
    return replaced(one, budgets=budget_results(one.attacks, robust), shrinkage=shrinkage, control=stats == "batch")


def example(variant="stein/running", attack=PGD, index=0, shape=(3, 4, 4), broken=True, maps=None):
    rng = np.random.default_rng(index)
    inputs = rng.random(shape, np.float32)
    adv = np.clip(inputs + 0.03 * np.sign(rng.standard_normal(shape)), 0, 1).astype(np.float32)
    values = [np.array(v, np.int64) for v in ((1, 1, 0) if maps is None else maps)]
    return Example(variant, label(attack), index, f"s{index}", *values, broken, inputs, adv)

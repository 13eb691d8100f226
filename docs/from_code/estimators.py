"""The page of the BN estimators: formulas, papers, options."""

from __future__ import annotations

from from_code.markdown import fenced, prose
from stein_bench.normalization.formulas import FORMULAS
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES, USING_COUNT, published_source

INTRODUCTION = """# Estimators

What `--bn` takes: which mean and variance a BN layer normalizes with, computed from the sample mean m and the
biased sample variance s of every channel. C is the number of channels and N the number of elements per channel in
the batch; Σ and mean_c run over the channels, and all other operations are made channel by channel. Under `--stats
running` m and s are the running averages and N is that of the last training batch, which is infinite if the weights
do not say it.

With fewer than three channels only `ridge` and `lasso` shrink the mean; a mean of zero in all channels stays zero.
All estimates and their gradients are finite, for dead channels (s = 0) and N = 1 too. The functions themselves are
in [Python](python.md), and [extending.md](../extending.md) says how to bring an estimator of your own.

"""


def page() -> str:
    """The page."""
    return INTRODUCTION + "".join(map(_section, ESTIMATOR_SUMMARIES))


def _section(name: str) -> str:
    formulas, summary = FORMULAS[name], prose(ESTIMATOR_SUMMARIES[name])
    lines = [("mean", formulas.mean), ("variance", formulas.variance), *formulas.where]
    width = max(len(left) for left, _ in lines)
    block = "\n".join(f"{left:{width}} = {right}" for left, right in lines)
    notes = [f"Source: {', '.join(f'[{one.cited}]({one.url})' for one in formulas.sources)}."]
    notes += [f"Option: {formulas.options}."] if formulas.options else []
    notes += [f"With N = ∞ {USING_COUNT[name]}."] if name in USING_COUNT else []
    notes.append(f"Under `--preset published` it is evaluated with {published_source(name)} statistics.")
    listed = "\n".join(f"- {note}" for note in notes)
    return f"## {name}\n\n{summary[:1].upper()}{summary[1:]}.\n\n{fenced(block, 'text')}{listed}\n\n"

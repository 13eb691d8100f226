"""Models that return probabilities: the temperature of the logits that attacks use, and the check that names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from stein_bench.data.samples import Samples, batches
from stein_bench.diagnostics.probe import probe_count
from stein_bench.errors import UsageError
from stein_bench.guard import model_untouched
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import BehindProbabilities, Probabilities, temperature
from stein_bench.models.program import Program
from stein_bench.preparation.plan import Plan
from stein_bench.report.document import Diagnostic

FEWEST = 20
"""From this number of samples on, it is no coincidence that all outputs lie between 0 and 1."""


@torch.no_grad()
def tempered(plan: Plan, model: Preprocessed, batch_size: int, *, batch_dependent: bool) -> Probabilities | None:
    """Return how the outputs of `model` are probabilities, with the temperature that its first samples call for.

    Args:
        plan: the run's plan.
        model: a variant's model, with its weights; None is returned if it returns logits.
        batch_size: samples per pass.
        batch_dependent: whether predictions depend on the batch, of which then only the first is used.

    Raises:
        UsageError: a sample cannot be read, or the single output seems to be that of a sigmoid that cannot be seen.
    """
    if plan.probabilities is None and plan.task.name != "binary":
        return None
    count = min(probe_count(plan.samples.shape, dense=plan.samples.maps is not None), len(plan.samples))
    few = plan.samples.first(min(count, batch_size) if batch_dependent else count)
    if plan.probabilities is None:
        _check_logit(plan, model, few, batch_size)
        return None
    behind, largest = BehindProbabilities(model, replace(plan.probabilities, temperature=1.0)), 1.0
    with model_untouched(model):
        for _, inputs, _ in batches(few, batch_size):
            largest = max(largest, temperature(behind(inputs.to(plan.device))))
    return replace(plan.probabilities, temperature=largest)


def _check_logit(plan: Plan, model: Preprocessed, few: Samples, batch_size: int) -> None:
    """Refuse a single output that is between 0 and 1 for all of `few` samples: as a logit it would mean class 1."""
    if plan.weights_kind in ("none", "fit") or len(few) < FEWEST:  # logits of poorly trained networks may be so small
        return
    with model_untouched(model):
        for _, inputs, _ in batches(few, batch_size):
            outputs = model(inputs.to(plan.device))
            if not bool(((outputs >= 0) & (outputs <= 1)).all()):
                return
    again = ", and export that" if isinstance(plan.source, Program) else ""
    raise UsageError(
        f"the output of {plan.source.name} is between 0 and 1 for all of {len(few)} samples, so it seems to be the "
        f"probability of class 1, but no sigmoid was seen to make it, and logits are compared with 0: return the logit "
        f"before the sigmoid{again}."
    )


def output_diagnostics(variant: str, how: Probabilities | None, outputs: Tensor) -> Iterator[Diagnostic]:
    """Yield a warning if the model returns probabilities, or perhaps does.

    Args:
        variant: its label.
        how: how the outputs are known to be probabilities.
        outputs: of the evaluated model, for the samples of the checks.
    """
    if how is not None:
        yield _warning(variant, _described(how))
    elif bool(((outputs >= 0) & (outputs <= 1)).all()) and len(outputs) >= FEWEST:
        what = "all outputs lie between 0 and 1; if they are probabilities, return the logits instead"
        single = outputs.ndim == 1 or outputs.shape[1] == 1
        why = "class 1 is predicted above 0, not above 0.5" if single else "their gradients vanish where they saturate"
        yield _warning(variant, f"{what}: {why}")


def _described(how: Probabilities) -> str:
    scaled = f", divided by {how.temperature:g}" if how.temperature != 1 else ""
    what = "probabilities (at least 0, with sum 1)" if how.function == "softmax" else "the results of a sigmoid"
    if how.found:
        return f"the model returns {what}, not logits; attacks use the logits before its {how.function}{scaled}"
    left = "from a copy of the network in float64" if how.in_float64 else "of what float32 leaves of them"
    told = f"the model returns {what}, not logits, and no softmax was seen to make them"
    return f"{told}; attacks use their logarithm{scaled}, {left}"


def _warning(variant: str, message: str) -> Diagnostic:
    return Diagnostic(
        name="outputs-are-logits", variant=variant, attack=None, status="warn", value=None, message=message
    )

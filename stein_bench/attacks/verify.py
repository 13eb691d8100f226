"""Verification: every adversarial input that an attack returns is checked independently before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stein_bench.attacks.draws import Draws, predicted
from stein_bench.attacks.geometry import per_sample
from stein_bench.host import download
from stein_bench.statistics.rates import Bits
from stein_bench.tasks import Task, finite_rows

RELATIVE_SLACK = 1e-5
ABSOLUTE_SLACK = 1e-6


@dataclass(frozen=True)
class Verdicts:
    """The result of verification, per sample.

    Attributes:
        outcomes: the task's columns on the adversarial inputs; meaningless for those that are `void`.
        invalid: not finite, outside [0, 1], over the budget of an attack that respects it, or the model's
            outputs on it are not finite; never a success.
        over_budget: an attack that does not respect eps went beyond it; never a success either.
        linf, l2: norms of the perturbation in float64 (NaN if it is not finite).
        distance: the perturbation in the attack's norm, however large, if the input is misclassified and valid; else
            NaN.
    """

    outcomes: dict[str, NDArray[np.generic]]
    invalid: Bits
    over_budget: Bits
    linf: NDArray[np.float64]
    l2: NDArray[np.float64]
    distance: NDArray[np.float64]

    @property
    def void(self) -> Bits:
        """Which adversarial inputs cannot be successes, whatever the prediction."""
        return self.invalid | self.over_budget

    @property
    def broken(self) -> Bits:
        """The successes, for tasks with one label per sample: misclassified, valid and within the budget."""
        return ~self.outcomes["correct"].astype(np.bool_) & ~self.void

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return the verdicts as the columns of a finished unit."""
        return {
            **self.outcomes,
            "invalid": self.invalid,
            "over_budget": self.over_budget,
            "linf": self.linf,
            "l2": self.l2,
        }


def perturbation_norm(delta: Tensor, norm: str) -> Tensor:
    """Return the `norm` of each perturbation (n, C, …) in float64; L0 counts pixels, not channel values."""
    delta = delta.double()
    if norm == "L0":
        return (delta != 0).any(dim=1).flatten(1).sum(dim=1).double()
    order = {"Linf": torch.inf, "L2": 2, "L1": 1}[norm]
    lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)
    return lengths


def finite_or_clean(adv_inputs: Tensor, inputs: Tensor) -> Tensor:
    """Return `adv_inputs` as they are shown to a model: rows that are not finite are replaced by those of `inputs`.

    Under batch statistics they would corrupt the predictions of the whole batch.
    """
    return torch.where(per_sample(finite_rows(adv_inputs), inputs), adv_inputs, inputs)


@torch.no_grad()
def verify(
    model: Callable[[Tensor], Tensor],
    inputs: Tensor,
    adv_inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    norm: str,
    eps: float,
    respects_eps: bool,
    draws: Draws | None = None,
) -> Verdicts:
    """Check `adv_inputs` against `inputs` and recompute their predictions in the same batch.

    Args:
        model: the evaluated model at the run's precision.
        inputs, adv_inputs: (n, C, …) float32.
        labels: true labels.
        task: determines each sample's outcome.
        norm, eps: the budget; the norm in float64 may be at most eps·(1+1e-5)+1e-6.
        respects_eps: whether the attack respects the budget (then exceeding it makes an input invalid).
        draws: for a random model, those in which every input is predicted, see `predicted`; a sample is misclassified
            if it is not right in more than half of the fresh ones.

    Raises:
        ValueError: the attack returned another shape or dtype than that of `inputs`.
    """
    if adv_inputs.shape != inputs.shape or adv_inputs.dtype != inputs.dtype:
        raise ValueError(
            f"the attack returned {adv_inputs.dtype} of shape {tuple(adv_inputs.shape)} "
            f"for {inputs.dtype} of shape {tuple(inputs.shape)}"
        )
    finite, shown = finite_rows(adv_inputs), finite_or_clean(adv_inputs, inputs)
    inside = (shown.flatten(1).amin(dim=1) >= 0) & (shown.flatten(1).amax(dim=1) <= 1)
    delta = shown.double() - inputs.double()
    size = perturbation_norm(delta, norm)
    over = size > eps * (1 + RELATIVE_SLACK) + ABSOLUTE_SLACK
    found = predicted(model, shown, labels, task, draws)
    invalid = ~finite | ~inside | ~found.finite | (over if respects_eps else torch.zeros_like(over))
    fooled = ~found.correct & ~invalid
    nan = torch.full_like(over, torch.nan, dtype=torch.float64)
    columns = download(
        {
            "invalid": invalid,
            "over_budget": over & ~invalid,
            "linf": torch.where(finite, perturbation_norm(delta, "Linf"), nan),
            "l2": torch.where(finite, perturbation_norm(delta, "L2"), nan),
            "distance": torch.where(fooled, size, nan),
            **found.outcomes,
        }
    )
    own = {field.name: columns.pop(field.name) for field in fields(Verdicts) if field.name != "outcomes"}
    return Verdicts(outcomes=columns, **own)  # type: ignore[arg-type]

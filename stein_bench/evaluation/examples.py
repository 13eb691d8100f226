"""Adversarial examples to store, with the model's predictions on them and on the clean inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.verify import Verdicts, finite_or_clean
from stein_bench.evaluation.units import CLEAN, Unit
from stein_bench.guard import model_untouched
from stein_bench.host import download
from stein_bench.measures import MEASURES, Columns, Outcome
from stein_bench.report.adversarials import Example, Keeper
from stein_bench.statistics.rates import Bits
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Attacked:
    """One batch and the adversarial inputs that one run found.

    Attributes:
        indices, ids: positions in data order, and sample ids.
        inputs, adv_inputs, labels: on the model's device.
        verdicts: the results of verification by the label of the attack: at each budget that the run serves.
        clean: the columns of the clean inputs of a random model; None if predictions are repeatable.
    """

    indices: NDArray[np.int64]
    ids: tuple[str, ...]
    inputs: Tensor
    adv_inputs: Tensor
    labels: Tensor
    verdicts: Mapping[str, Verdicts]
    clean: Columns | None = None


@torch.no_grad()
def offer(keeper: Keeper, variant: str, model: nn.Module, task: Task, batch: Attacked) -> None:
    """Offer every sample of a batch, in order, with predictions recomputed in that batch.

    As in verification, non-finite rows are replaced by the clean ones, so that they do not spoil the batch.
    """
    shown = finite_or_clean(batch.adv_inputs, batch.inputs)
    with model_untouched(model):
        clean_logits, logits = model(batch.inputs), model(shown)
    columns = download(task.outcomes(clean_logits, batch.labels)) if batch.clean is None else batch.clean
    clean, adversarial = (predicted_classes(found).cpu().numpy() for found in (clean_logits, logits))
    labels, inputs, adv_inputs = (t.cpu().numpy() for t in (batch.labels, batch.inputs, batch.adv_inputs))
    for attack, verdicts in batch.verdicts.items():
        broken = _broken(MEASURES[task.name], columns, verdicts.columns())
        for row, index in enumerate(batch.indices.tolist()):
            keeper.offer(
                Example(
                    variant, attack, index, batch.ids[row], labels[row], clean[row], adversarial[row],
                    bool(broken[row]), inputs[row].copy(), adv_inputs[row].copy(),
                )
            )  # fmt: skip


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the predicted class per sample or pixel: the largest logit's, or the sign of a single logit."""
    if logits.ndim == 1 or logits.shape[1] == 1:
        return (logits > 0).long().view(len(logits), *logits.shape[2:])
    return logits.argmax(dim=1)


def known_verdicts(units: Sequence[Unit], task: str) -> dict[tuple[str, str, int], Bits]:
    """Return which samples each finished attack unit broke, by variant, attack and batch."""
    clean = {(unit.variant, unit.batch): unit.columns for unit in units if unit.phase == CLEAN}
    return {
        unit.key: _broken(MEASURES[task], clean[unit.variant, unit.batch], unit.columns)
        for unit in units
        if "invalid" in unit.columns
    }


def _broken(measure: type[Outcome], clean_columns: Columns, columns: Columns) -> Bits:
    """Return which samples an attack broke, as verified."""
    clean, void = measure.from_columns(clean_columns), columns["invalid"] | columns["over_budget"]
    robust = clean.under_attack(measure.from_columns(columns), void.astype(np.bool_))
    return robust.worse_than(clean)

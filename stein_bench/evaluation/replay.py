"""Replay: the same adversarial inputs are shown again in other batches, to see how verdicts depend on the batch.

Under batch statistics a prediction depends on the other samples of the batch, so "broken" holds only for the
batch that was attacked. Three other kinds of batches test how far this generalizes: the adversarial inputs shuffled,
each one among the clean samples of its batch, and each one alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.verify import finite_or_clean
from stein_bench.evaluation.units import Columns, in_setting
from stein_bench.guard import model_untouched
from stein_bench.host import download, upload
from stein_bench.normalization.inspection import elements_per_sample
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task

SINGLES = 64
"""Maximum number of samples shown one by one: each costs a forward pass of a whole batch."""
Replayed = tuple[NDArray[np.int64], Columns]
"""Positions of samples and their outcomes."""
MOST_BYTES = 2**30
"""Maximum size of the adversarial inputs kept for replay; of a larger data set only the first part is replayed."""


@dataclass(frozen=True)
class Attacked:
    """One batch and its adversarial inputs, on the CPU."""

    indices: NDArray[np.int64]
    inputs: Tensor
    adv_inputs: Tensor
    labels: Tensor


class Kept:
    """The attacked batches of one attack, in data order, up to a limit; `full` is true once a batch did not fit.

    Args:
        most_bytes: limit on the size of the adversarial inputs.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = self._left = most_bytes
        self.batches: list[Attacked] = []
        self.full = False

    def add(self, indices: NDArray[np.int64], inputs: Tensor, adv_inputs: Tensor, labels: Tensor) -> None:
        """Keep a batch if it fits; non-finite rows, which would spoil it, are replaced by the clean ones."""
        size = adv_inputs.numel() * adv_inputs.element_size()
        self.full = self.full or size > self._left
        if not self.full:
            self._left -= size
            shown = finite_or_clean(adv_inputs, inputs)
            self.batches.append(Attacked(indices, inputs.cpu(), shown.cpu(), labels.cpu()))

    def from_first(self, count: int) -> bool:
        """Return whether it holds the first batches without a gap: all `count` of them, or as many as fit."""
        ends = np.cumsum([len(batch.indices) for batch in self.batches], dtype=np.int64).tolist()
        gapless = [int(batch.indices[0]) for batch in self.batches] == [0, *ends][: len(self.batches)]
        return gapless and (self.full or len(self.batches) == count)

    def close(self) -> None:
        """Drop all batches and reset the limit."""
        self.batches.clear()
        self.full = False
        self._left = self._most_bytes


@torch.no_grad()
def replay_shuffled(model: nn.Module, task: Task, kept: Kept, device: torch.device, seed: int) -> Replayed:
    """Show all kept adversarial inputs again in shuffled batches of the same sizes.

    Returns:
        The samples' positions, and their outcomes in the setting ``shuffled``. Empty for a single batch, which
        shuffling does not change.
    """
    if len(kept.batches) < 2:
        return np.empty(0, np.int64), {}
    indices = np.concatenate([batch.indices for batch in kept.batches])
    adv_inputs = torch.cat([batch.adv_inputs for batch in kept.batches])
    labels = torch.cat([batch.labels for batch in kept.batches])
    generator = torch.Generator().manual_seed(derive_seed(seed, "replay"))
    order = torch.randperm(len(indices), generator=generator)
    found = []
    with model_untouched(model):
        for part in torch.split(order, [len(batch.indices) for batch in kept.batches]):
            logits = model(upload(adv_inputs[part], device))
            found.append(task.outcomes(logits, upload(labels[part], device)))
    return indices[order.numpy()], _columns(found, "shuffled")


@torch.no_grad()
def replay_singly(model: nn.Module, task: Task, kept: Kept, device: torch.device) -> Replayed:
    """Show each of the first `SINGLES` kept adversarial inputs among the clean samples of its batch, and alone.

    Returns:
        The samples' positions, and their outcomes in the settings ``among_clean`` and, unless a layer would have a
        single element per channel, ``alone``.
    """
    indices: list[int] = []
    among_clean: list[dict[str, Tensor]] = []
    alone: list[dict[str, Tensor]] = []
    with model_untouched(model):
        by_itself = bool(kept.batches) and _works_alone(model, kept.batches[0].inputs[:1].to(device))
        for batch in kept.batches:
            count = min(len(batch.indices), SINGLES - len(indices))
            if count == 0:
                break
            inputs, labels = upload(batch.inputs, device), upload(batch.labels, device)
            adv_inputs = upload(batch.adv_inputs, device)
            for row in range(count):
                single = slice(row, row + 1)
                mixed = torch.cat([inputs[:row], adv_inputs[single], inputs[row + 1 :]])
                among_clean.append(task.outcomes(model(mixed)[single], labels[single]))
                if by_itself:
                    alone.append(task.outcomes(model(adv_inputs[single]), labels[single]))
            indices += batch.indices[:count].tolist()
    return np.array(indices, np.int64), _columns(among_clean, "among_clean") | _columns(alone, "alone")


def _columns(parts: list[dict[str, Tensor]], setting: str) -> Columns:
    """Concatenate the outcomes of several batches; empty if there are none."""
    names = parts[0] if parts else {}
    return in_setting(download({name: torch.cat([part[name] for part in parts]) for name in names}), setting)


def _works_alone(model: nn.Module, one: Tensor) -> bool:
    """Return whether every BN layer has more than one element per channel for a single sample."""
    with elements_per_sample(model) as elements:
        try:
            model(one)
        except (RuntimeError, ValueError):  # ordinary layers refuse a single element per channel
            return False
    return all(count > 1 for count in elements.values())

"""Replay: the same adversarial inputs are shown again in other batches, to see how verdicts depend on the batch.

Under batch statistics a prediction depends on the other samples of the batch, so "broken" holds only for the
batch that was attacked. Three other kinds of batches test how far this generalizes: the adversarial inputs shuffled,
each one among the clean samples of its batch, and each one alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.verify import finite_or_clean
from stein_bench.distributed import exchanged, gathered
from stein_bench.evaluation.spool import RowSpool
from stein_bench.evaluation.units import Columns, in_setting
from stein_bench.guard import model_untouched
from stein_bench.host import download, upload
from stein_bench.normalization.inspection import elements_per_sample
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task

SINGLES = 64
"""Maximum number of samples shown one by one: each costs a forward pass of a whole batch."""
Batch = tuple[NDArray[np.int64], Tensor | None, Tensor, Tensor]
"""Positions, clean inputs, labels and adversarial inputs of a batch, see `Attacked`."""
Replayed = tuple[NDArray[np.int64], Columns]
"""Positions of samples and their outcomes."""
MOST_BYTES = 2**30
"""Maximum size of the adversarial inputs kept for replay; of a larger data set only the first part is replayed."""


@dataclass(frozen=True)
class Attacked:
    """One batch and its adversarial inputs, on the CPU.

    Attributes:
        indices, labels: positions in data order, and labels.
        inputs: the clean inputs; None if none of its samples is among the first `SINGLES`, which alone need them.
        rows, spool: the numbers of the adversarial inputs, and where they are put aside.
    """

    indices: NDArray[np.int64]
    inputs: Tensor | None
    labels: Tensor
    rows: range
    spool: RowSpool

    @property
    def adv_inputs(self) -> Tensor:
        """The adversarial inputs."""
        return self.spool.rows(self.rows)


class Kept:
    """The attacked batches of one attack that are replayed: the first ones, as many as fit.

    Args:
        limit: batches from this number on are not kept, see `replayed_batches`; None: all are.

    Attributes:
        failed: whether the attack has failed in this process.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._batches: dict[int, Attacked] = {}
        self._spool = RowSpool()
        self._complete = self.failed = False

    @property
    def batches(self) -> list[Attacked]:
        """Those kept so far, in data order."""
        return [self._batches[number] for number in sorted(self._batches)]

    def add(self, number: int, indices: NDArray[np.int64], inputs: Tensor, adv_inputs: Tensor, labels: Tensor) -> None:
        """Keep a batch if it is replayed; non-finite rows, which would spoil it, are replaced by the clean ones."""
        if self._limit is None or number < self._limit:
            clean = inputs.cpu() if int(indices[0]) < SINGLES else None
            self._keep(number, (indices, clean, labels.cpu(), finite_or_clean(adv_inputs, inputs).cpu()))

    def _keep(self, number: int, batch: Batch) -> None:
        indices, inputs, labels, adv_inputs = batch
        self._batches[number] = Attacked(indices, inputs, labels, self._spool.append(adv_inputs), self._spool)

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Return which of the batches of these numbers are replayed and not kept yet."""
        return [n for n in numbers if n not in self._batches and (self._limit is None or n < self._limit)]

    def complete(self) -> None:
        """Collect what all processes have kept in the first one; every process must call this."""
        if self._complete:
            return
        self._complete = True
        own = sorted(self._batches)
        for turn in range(max(exchanged(len(own)))):  # one batch of each at a time: they may be more than memory
            sent = {number: self._sent(number) for number in own[turn : turn + 1]}
            for batches in gathered(sent) or []:
                for number, batch in batches.items():
                    if number not in self._batches:
                        self._keep(number, batch)

    def _sent(self, number: int) -> Batch:
        batch = self._batches[number]
        return batch.indices, batch.inputs, batch.labels, batch.adv_inputs

    def close(self) -> None:
        """Drop all batches."""
        self._batches.clear()
        self._spool.close()
        self._spool = RowSpool()


def replayed_batches(sizes: Iterable[int], sample_bytes: int, most_bytes: int = MOST_BYTES) -> int:
    """Return how many of the first batches, with these `sizes`, are kept for replay together."""
    total = count = 0
    for size in sizes:
        total += size * sample_bytes
        if total > most_bytes:
            break
        count += 1
    return count


@torch.no_grad()
def replay_shuffled(model: nn.Module, task: Task, kept: Kept, device: torch.device, seed: int) -> Replayed:
    """Show all kept adversarial inputs again in shuffled batches of the same sizes.

    Returns:
        The samples' positions, and their outcomes in the setting ``shuffled``. Empty for a single batch, which
        shuffling does not change.
    """
    batches = kept.batches
    if len(batches) < 2:
        return np.empty(0, np.int64), {}
    indices = np.concatenate([batch.indices for batch in batches])
    rows = np.concatenate([np.asarray(batch.rows) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    generator = torch.Generator().manual_seed(derive_seed(seed, "replay"))
    order = torch.randperm(len(indices), generator=generator)
    found = []
    with model_untouched(model):
        for part in torch.split(order, [len(batch.indices) for batch in batches]):
            logits = model(upload(batches[0].spool.rows(rows[part.numpy()].tolist()), device))
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
        by_itself = False
        for batch in kept.batches:
            count = min(len(batch.indices), SINGLES - len(indices))
            if count == 0 or batch.inputs is None:
                break
            by_itself = by_itself or (not indices and _works_alone(model, batch.inputs[:1].to(device)))
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

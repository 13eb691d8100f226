"""The batches of an evaluation: what all variants share, and the samples as the model gets them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack
from stein_bench.attacks.draws import Draws
from stein_bench.attacks.through import Strategy
from stein_bench.config import DRAWS
from stein_bench.data.samples import Samples, Workers, read_chunks, to_device
from stein_bench.errors import OutOfMemoryRunError
from stein_bench.evaluation.corrupted_images import CorruptedImages
from stein_bench.evaluation.units import Unit, UnitKey
from stein_bench.guard import draws_random_numbers, model_untouched
from stein_bench.memory import MemoryLimit, give_back
from stein_bench.models.randomness import is_random
from stein_bench.report.adversarials import Keeper
from stein_bench.tasks import Task

GIVING_BACK = 16
"""Batches after which unused memory is given back, which takes about a millisecond."""


@dataclass(frozen=True)
class Setting:
    """Settings shared by all variants of a run.

    Attributes:
        samples: the samples to evaluate, in data order.
        task: defines loss and success.
        classes: number of model outputs.
        batch_size, workers: how samples are loaded; under running statistics they do not affect the verdicts of
            native attacks.
        seed: the run's seed.
        device: the model's device.
        refill: whether attacks put samples of later batches in the places of finished ones, under running statistics.
        memory: how many samples fit into memory together.
        draws: predictions behind every verdict on a random model.
        corrupted: images under common corruptions that the variants share.
        rank, ranks: this process and the number of those that share the batches, see `own`.
        memory_ends_run: whether the run ends with `OutOfMemoryRunError` where otherwise an attack that runs out of
            memory has failed and the others go on.
        time_limit: seconds that an attack may take for a batch; None: as long as it wants.
    """

    samples: Samples
    task: Task
    classes: int
    batch_size: int
    workers: Workers
    seed: int
    device: torch.device
    refill: bool
    memory: MemoryLimit
    draws: int = DRAWS
    memory_ends_run: bool = False
    time_limit: float | None = None
    corrupted: CorruptedImages = field(default_factory=lambda: CorruptedImages(0), compare=False, repr=False)
    rank: int = 0
    ranks: int = 1

    @property
    def batch_count(self) -> int:
        """Number of batches of one phase."""
        return -(-len(self.samples) // self.batch_size)

    @property
    def own(self) -> range:
        """Numbers of the batches of this process: they are dealt whole, as cards are."""
        return range(self.rank, self.batch_count, self.ranks)

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return the positions of a batch's samples in data order."""
        return np.arange(number * self.batch_size, min((number + 1) * self.batch_size, len(self.samples)))

    @property
    def own_samples(self) -> int:
        """Number of the samples of this process."""
        return sum(len(self.rows(number)) for number in self.own)


@dataclass(frozen=True)
class LoadedBatch:
    """One batch on the model's device: positions in data order, inputs, labels and sample ids."""

    indices: NDArray[np.int64]
    inputs: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def part(self, rows: slice) -> LoadedBatch:
        """Return a range of its samples."""
        return LoadedBatch(self.indices[rows], self.inputs[rows], self.labels[rows], self.ids[rows])


class Pending(NamedTuple):
    """A batch to compute for one phase, or for several that share their computation.

    Attributes:
        number, batch: the batch and its number.
        missing: the phases whose unit is to be computed; empty if all of it is only done again for the keeper.
    """

    number: int
    batch: LoadedBatch
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Evaluated:
    """The model of one variant and how it is evaluated.

    Attributes:
        variant: its label in the units.
        model: maps [0, 1] to logits; it is left exactly as found between and after units.
        setting: what all variants share.
        attack_model: is attacked in place of `model`, which still verifies; None: `model` itself.
        batch_dependent: whether the model evaluates with batch statistics.
        strategies: of adaptive attacks, by label.
        given_up: labels of attacks that have failed in an interrupted run and are not tried again.
        give_up: is called, in another thread, with the failed units of an attack that neither ends nor can be stopped,
            and ends the process; None: it is waited for.
        done: units that need not be recomputed.
        keeper: is offered adversarial inputs; those of `done` units are recomputed if it wants them.
    """

    variant: str
    model: nn.Module
    setting: Setting
    attack_model: nn.Module | None = None
    batch_dependent: bool = False
    done: Collection[UnitKey] = frozenset()
    keeper: Keeper | None = None
    strategies: Mapping[str, Strategy] = field(default_factory=dict)
    given_up: Collection[str] = frozenset()
    give_up: Callable[[Sequence[Unit]], NoReturn] | None = None

    @cached_property
    def independent(self) -> bool:
        """Whether a prediction depends on nothing but its sample: neither on its batch nor on random numbers."""
        shape = self.setting.samples.shape

        @torch.no_grad()
        def predict() -> None:
            with model_untouched(self.model):
                self.model(torch.zeros(2, *shape, device=self.setting.device))

        return not (self.batch_dependent or draws_random_numbers(predict) or self.random)

    @cached_property
    def random(self) -> bool:
        """Whether predictions are random and are therefore drawn repeatedly (`draws`).

        False under batch statistics and for segmentation, where every verdict stays that of a single draw.
        """
        if self.batch_dependent or self.setting.task.name == "segmentation":
            return False
        return is_random(self.model, self.setting.samples.shape, self.setting.device)

    def draws(self, phase: str, ids: Sequence[str]) -> Draws | None:
        """Return the draws of that phase for a batch of these samples; None if the model is not random."""
        return Draws.seeded(self.setting.draws, self.setting.seed, phase, *ids) if self.random else None

    def attacked_by(self, attack: Attack) -> nn.Module:
        """Return the model that `attack` makes its passes on."""
        if attack.label in self.strategies:
            return self.model
        chosen = (attack.surrogate, self.attack_model)
        return next((model for model in chosen if model is not None), self.model)

    def unfinished(self, *phases: str) -> Iterator[Pending]:
        """Yield the batches of this process to compute for any of these phases, in data order; no others are read."""
        missing = {n: tuple(p for p in phases if (self.variant, p, n) not in self.done) for n in self.setting.own}
        numbers = [number for number in missing if missing[number] or self._wanted_again(phases, number)]
        for number, batch in zip(numbers, loaded_batches(self.setting, numbers), strict=True):
            if missing[number] or self._wanted_again(phases, number):  # the keeper may have had enough meanwhile
                yield Pending(number, batch, missing[number])

    def incomplete(self, phases: Sequence[str], number: int) -> tuple[str, ...]:
        """Return the phases with units to compute in this process from that batch on."""
        left = [later for later in self.setting.own if later >= number]
        return tuple(p for p in phases if any((self.variant, p, later) not in self.done for later in left))

    def first_missing(self, phase: str, number: int) -> int:
        """Return the first batch from that number on that an incomplete phase has no result for in this process."""
        return next(n for n in self.setting.own if n >= number and (self.variant, phase, n) not in self.done)

    def _wanted_again(self, phases: Sequence[str], number: int) -> bool:
        keeper = self.keeper
        return keeper is not None and any(keeper.wants_again(self.variant, phase, number) for phase in phases)


def loaded_batches(setting: Setting, numbers: Sequence[int] | None = None) -> Iterator[LoadedBatch]:
    """Yield the batches of these `numbers`, by default all, in this order."""
    chunks = [setting.rows(number) for number in (range(setting.batch_count) if numbers is None else numbers)]
    loaded = read_chunks(setting.samples, chunks, workers=setting.workers)
    try:
        for count, (indices, inputs, labels) in enumerate(to_device(loaded, setting.device), 1):
            if count % GIVING_BACK == 0:
                give_back()
            yield LoadedBatch(indices, inputs, labels, tuple(setting.samples.ids[i] for i in indices))
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryRunError(
            f"out of memory: {setting.batch_size} samples do not fit; choose a smaller --batch-size.",
            setting.batch_size,
        ) from error

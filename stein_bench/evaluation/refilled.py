"""Attack phases with samples of later batches in the places of finished ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from torch import Tensor

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.search import Batch
from stein_bench.evaluation.batches import Evaluated, LoadedBatch
from stein_bench.evaluation.outcomes import CountingModel, joined, judged, message_of, seconds_since
from stein_bench.evaluation.units import Columns, Unit
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.seeds import derive_seed


class _UnreadableDataError(Exception):
    """Carries an error in reading the data out of an attack, so that it is not taken for one of the attack."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def refilled_phase(evaluated: Evaluated, attack: Attack) -> Iterator[Unit]:
    """Yield the units of an attack that is refilled (`Attack.refills`), in data order."""
    setting, counting = evaluated.setting, CountingModel(evaluated.attacked_by(attack))
    source = _Source(evaluated, attack)
    results = attack.run_refilled(
        counting, source.batches(), setting.task,
        classes=setting.classes, shape=setting.samples.shape, memory=setting.memory,
    )  # fmt: skip
    while True:
        started, read_before = time.perf_counter(), source.seconds
        passes = counting.forward_passes, counting.backward_passes
        columns: Columns = {}
        message = ""
        try:
            with forked_rng(derive_seed(setting.seed, attack.label, source.read)), model_untouched(counting):
                adv_inputs = next(results, None)
            if adv_inputs is None:
                return
            columns = _judged_in_parts(evaluated, attack, source.in_work[0][1], adv_inputs)
        except _UnreadableDataError as unreadable:
            raise unreadable.error from None
        except Exception as error:
            if not source.in_work:
                raise
            message = message_of(error)
        number, batch, again = source.in_work.popleft()
        if message or not again:
            seconds = seconds_since(started, setting) - (source.seconds - read_before)
            forward, backward = counting.forward_passes - passes[0], counting.backward_passes - passes[1]
            yield Unit(
                evaluated.variant, attack.label, number, batch.indices, columns, seconds, forward, backward, message
            )
        if message:
            return


class _Source:
    """The batches of an attack phase, remembered until their results are there.

    Attributes:
        in_work: those read so far without results, see `Evaluated.unfinished`.
        read: number of batches read.
        seconds: time spent on reading.
    """

    def __init__(self, evaluated: Evaluated, attack: Attack) -> None:
        self._evaluated, self._attack = evaluated, attack
        self.in_work: deque[tuple[int, LoadedBatch, bool]] = deque()
        self.read = 0
        self.seconds = 0.0

    def batches(self) -> Iterator[Batch]:
        left = self._evaluated.unfinished(self._attack.label)
        while (found := self._next(left)) is not None:
            self.in_work.append(found)
            self.read += 1
            batch, seed = found[1], self._evaluated.setting.seed
            yield Batch.untargeted(batch.inputs, batch.labels, attack_seeds(seed, self._attack, batch.ids))

    def _next(self, left: Iterator[tuple[int, LoadedBatch, bool]]) -> tuple[int, LoadedBatch, bool] | None:
        started = time.perf_counter()
        try:
            return next(left, None)
        except Exception as error:
            raise _UnreadableDataError(error) from error
        finally:
            self.seconds += time.perf_counter() - started


def _judged_in_parts(evaluated: Evaluated, attack: Attack, batch: LoadedBatch, adv_inputs: Tensor) -> Columns:
    parts = evaluated.setting.memory.in_parts(
        len(batch.ids), lambda rows: judged(evaluated, attack, batch.part(rows), adv_inputs[rows])
    )
    return joined(parts)

"""Attack phases with samples of later batches in the places of finished ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.search import Batch
from stein_bench.evaluation.batches import Evaluated, LoadedBatch, Pending
from stein_bench.evaluation.outcomes import failure_of, fatal, joined, judged, seconds_since, with_searches
from stein_bench.evaluation.time_limit import limited
from stein_bench.evaluation.together import failed_units, hanging, units_of
from stein_bench.evaluation.units import Columns, Unit
from stein_bench.guard import model_untouched


class _UnreadableDataError(Exception):
    """Carries an error in reading the data out of an attack, so that it is not taken for one of the attack."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def refilled_phase(evaluated: Evaluated, together: Sequence[Attack]) -> Iterator[Unit]:
    """Yield the units of attacks with the same run that is refilled (`Attack.refills`), in data order."""
    attack, labels = together[0], [attack.label for attack in together]
    setting, maker = evaluated.setting, evaluated.attacked_by(attack)
    source = _Source(evaluated, attack, labels)
    results = attack.run_refilled(
        maker, source.batches(), setting.task,
        classes=setting.classes, shape=setting.samples.shape, memory=setting.memory,
        strategy=evaluated.strategies.get(attack.label),
    )  # fmt: skip
    while True:
        started, read_before = time.perf_counter(), source.seconds
        try:
            with model_untouched(maker):
                found = limited(setting.time_limit, partial(next, results, None), source.give_up)
            if found is None:
                return
            columns = _judged_in_parts(evaluated, together, source.in_work[0].batch, found.adv_inputs)
            columns = with_searches(columns, together[0], found)
        except _UnreadableDataError as unreadable:
            raise unreadable.error from None
        except Exception as error:  # whatever it is, the other attacks go on
            if (ends_run := fatal(evaluated, labels[0], error)) is not None:
                raise ends_run from error
            yield from _failed(evaluated, labels, source, failure_of(evaluated, error))
            return
        pending = source.in_work.popleft()
        source.finished.add(pending.number)
        seconds = seconds_since(started, setting) - (source.seconds - read_before)
        passes = found.forward_passes, found.backward_passes
        yield from units_of(evaluated, labels, pending, columns, seconds, *passes)


def _failed(evaluated: Evaluated, labels: Sequence[str], source: _Source, message: str) -> Iterator[Unit]:
    """Yield failed units at the first batch that was still to be computed, unless that was for the keeper alone."""
    for pending in (*source.in_work, *evaluated.unfinished(*labels)):
        if pending.missing and pending.number not in source.finished:
            yield from failed_units(evaluated, labels, pending, message)
            return


class _Source:
    """The batches of an attack phase, remembered until their results are there.

    Attributes:
        in_work: those read so far without results, see `Evaluated.unfinished`.
        finished: numbers of the batches that have results.
        seconds: time spent on reading.
    """

    def __init__(self, evaluated: Evaluated, attack: Attack, labels: Sequence[str]) -> None:
        self._evaluated, self._attack, self._labels = evaluated, attack, labels
        self.in_work: deque[Pending] = deque()
        self.finished: set[int] = set()
        self.seconds = 0.0

    def give_up(self) -> None:
        """End the process if that is what becomes of an attack that cannot be stopped, see `hanging`."""
        batch = next((pending.batch for pending in self.in_work if pending.missing), None)
        end = None if batch is None else hanging(self._evaluated, self._labels, batch)  # None: it is reading the data
        if end is not None:
            end()

    def batches(self) -> Iterator[Batch]:
        left = self._evaluated.unfinished(*self._labels)
        while (found := self._next(left)) is not None:
            self.in_work.append(found)
            batch, seed = found.batch, self._evaluated.setting.seed
            yield Batch.untargeted(batch.inputs, batch.labels, attack_seeds(seed, self._attack, batch.ids))

    def _next(self, left: Iterator[Pending]) -> Pending | None:
        started = time.perf_counter()
        try:
            return next(left, None)
        except Exception as error:
            raise _UnreadableDataError(error) from error
        finally:
            self.seconds += time.perf_counter() - started


def _judged_in_parts(
    evaluated: Evaluated, together: Sequence[Attack], batch: LoadedBatch, adv_inputs: Tensor
) -> dict[str, Columns]:
    parts = evaluated.setting.memory.in_parts(
        len(batch.ids), lambda rows: judged(evaluated, together, batch.part(rows), adv_inputs[rows])
    )
    return {phase: joined([found[phase] for found in parts]) for phase in parts[0]}

"""Attack phases with samples of later batches in the places of finished ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator

from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.search import Batch
from stein_bench.evaluation.batches import LoadedBatch, Setting, UnitKey, unfinished
from stein_bench.evaluation.outcomes import CountingModel, joined, judged, message_of, seconds_since
from stein_bench.evaluation.units import Columns, Unit
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.report.adversarials import Keeper
from stein_bench.seeds import derive_seed


class _UnreadableDataError(Exception):
    """Carries an error in reading the data out of an attack, so that it is not taken for one of the attack."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def refilled_phase(
    variant: str,
    model: nn.Module,
    attack: Attack,
    setting: Setting,
    done: Collection[UnitKey],
    keeper: Keeper | None,
) -> Iterator[Unit]:
    """Yield the units of an attack that is refilled (`Attack.refills`), in data order."""
    counting = CountingModel(model)
    pending: deque[tuple[int, LoadedBatch, bool]] = deque()
    reading = 0.0

    def arrivals() -> Iterator[Batch]:
        nonlocal reading
        left = unfinished(variant, attack.label, setting, done, keeper)
        while True:
            started = time.perf_counter()
            try:
                found = next(left, None)
            except Exception as error:
                raise _UnreadableDataError(error) from error
            reading += time.perf_counter() - started
            if found is None:
                return
            pending.append(found)
            batch = found[1]
            yield Batch.untargeted(batch.inputs, batch.labels, attack_seeds(setting.seed, attack, batch.ids))

    results = attack.run_refilled(
        counting, arrivals(), setting.task,
        classes=setting.classes, shape=setting.samples.shape, memory=setting.memory,
    )  # fmt: skip
    while True:
        started, read_before = time.perf_counter(), reading
        passes = counting.forward_passes, counting.backward_passes
        columns: Columns = {}
        message = ""
        try:
            with forked_rng(derive_seed(setting.seed, attack.label, len(pending))), model_untouched(counting):
                adv_inputs = next(results, None)
            if adv_inputs is None:
                return
            columns = _judged_in_parts(variant, model, attack, setting, keeper, pending[0][1], adv_inputs)
        except _UnreadableDataError as unreadable:
            raise unreadable.error from None
        except Exception as error:
            if not pending:
                raise
            message = message_of(error)
        number, batch, again = pending.popleft()
        if message or not again:
            seconds = seconds_since(started, setting) - (reading - read_before)
            forward, backward = counting.forward_passes - passes[0], counting.backward_passes - passes[1]
            yield Unit(variant, attack.label, number, batch.indices, columns, seconds, forward, backward, message)
        if message:
            return


def _judged_in_parts(
    variant: str,
    model: nn.Module,
    attack: Attack,
    setting: Setting,
    keeper: Keeper | None,
    batch: LoadedBatch,
    adv_inputs: Tensor,
) -> Columns:
    parts = setting.memory.in_parts(
        len(batch.ids),
        lambda rows: judged(variant, model, attack, setting, keeper, batch.part(rows), adv_inputs[rows]),
    )
    return joined(parts)

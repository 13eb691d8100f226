"""What processes that share an evaluation exchange: finished units, examples, and what must be equal in all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stein_bench.distributed import check_same, exchanged, gathered, host, rank, world_size
from stein_bench.errors import UsageError
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.units import Unit, UnitKey
from stein_bench.report.adversarials import Example, Keeper
from stein_bench.report.document import Processes

_NAMES = {
    "batch_size": "the batch size", "config_sha256": "the configuration", "attacks": "the attacks",
    "data_sha256": "the data", "weights_sha256": "the weights", "model": "the code of the model",
    "packages": "the versions of packages", "device": "the device", "attack_network": "the network that attacks use",
    "archive_sha256": "the published corrupted images", "image_libraries": "the versions of Pillow and SciPy",
}  # fmt: skip
"""What the parts of a run's identity are called in messages."""


def check_processes(setting: Setting) -> None:
    """Refuse more processes than there are batches to deal.

    Raises:
        UsageError: some process would have nothing to do.
    """
    batches = setting.batch_count
    if world_size() > batches:
        raise UsageError(
            f"{world_size()} processes, but {len(setting.samples)} samples are only "
            f"{batches} {'batch' if batches == 1 else 'batches'} of up to {setting.batch_size}, which are dealt whole: "
            f"start at most {batches}, or choose a smaller --batch-size."
        )


def check_identity(identity: Mapping[str, Any]) -> None:
    """Raise a `UsageError` unless the run is the same in all processes."""
    check_same({_NAMES.get(key, key): value for key, value in identity.items()}, "All must evaluate the same.")


def processes(device: str) -> Processes | None:
    """Return how many processes there are, and on what; None for one."""
    if world_size() == 1:
        return None
    found = exchanged((host(), device))
    return Processes(
        count=len(found), nodes=len({where for where, _ in found}), devices=dict(Counter(name for _, name in found))
    )


def shared_units(units: Sequence[Unit]) -> list[Unit]:
    """Return the reused units of all processes, each once; those that all can read are not sent."""
    if world_size() == 1:
        return list(units)
    known = exchanged({unit.key for unit in units})
    before = set[UnitKey]().union(*known[: rank()])
    everywhere = set.intersection(*known)
    sent = exchanged([unit for unit in units if unit.key not in before and unit.key not in everywhere])
    found = {unit.key: unit for unit in [*units, *(unit for part in sent for unit in part)]}
    return [found[key] for key in sorted(found)]


def all_units(known: Sequence[Unit], new: Sequence[Unit]) -> list[Unit] | None:
    """Return the units of a variant as a single process would have left them; None except in the first process.

    Args:
        known: units that all processes had at the start.
        new: units that this process has computed.
    """
    found = gathered(list(new))
    return None if found is None else until_failure([*known, *(unit for part in found for unit in part)])


def until_failure(units: Iterable[Unit]) -> list[Unit]:
    """Return the units without those of batches behind the first one in which their phase failed.

    A single process does not run a phase any further; several notice a failure each in their own batches.
    """
    units = list(units)
    failed: dict[str, int] = {}
    for unit in units:
        if unit.failed:
            failed[unit.phase] = min(unit.batch, failed.get(unit.phase, unit.batch))
    return [unit for unit in units if unit.batch <= failed.get(unit.phase, unit.batch)]


def all_examples(keeper: Keeper, most: int, failed: Mapping[tuple[str, str], int]) -> Keeper | None:
    """Return a keeper with what one process would have kept; None except in the first process.

    Args:
        keeper: what this process has kept.
        most: examples per variant and attack.
        failed: the position of the first sample of the batch in which an attack failed in this process, by variant and
            attack.
    """
    found = gathered((keeper.everything(), dict(failed)))
    if found is None:
        return None
    failed = {
        key: min(part[key] for _, part in found if key in part) for key in {key for _, part in found for key in part}
    }
    every: list[Example] = sorted((one for part, _ in found for one in part), key=lambda one: one.index)
    order = {(one.variant, one.attack): number for number, one in reversed([*enumerate(every)])}
    merged = Keeper(most)
    for one in sorted(every, key=lambda one: order.get((one.variant, one.attack), len(order))):
        if one.index < failed.get((one.variant, one.attack), one.index + 1):
            merged.offer(one)
    return merged

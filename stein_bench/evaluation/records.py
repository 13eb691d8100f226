"""What is kept while a run goes on: finished units in a journal, those of an interrupted run, adversarial examples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn

from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.examples import known_verdicts
from stein_bench.evaluation.journal import Journal
from stein_bench.evaluation.sharing import check_identity, shared_units
from stein_bench.evaluation.time_limit import hangs_within
from stein_bench.evaluation.units import Unit
from stein_bench.exit_codes import FAILED
from stein_bench.interrupts import end_at_once
from stein_bench.preparation.parts import brought_parts
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Progress
from stein_bench.report.adversarials import Keeper
from stein_bench.report.provenance import device_name, package_versions

IMAGE_LIBRARIES = ("pillow", "scipy")
"""Packages whose versions change the images under common corruptions, and nothing else."""


@dataclass(frozen=True)
class Records:
    """What is kept while a run goes on.

    Attributes:
        journal: receives finished units; None without an output file.
        known: units that an interrupted run had finished, in any process, and those of attacks that ended it because
            they could not be stopped.
        keeper: receives adversarial examples; None if none are stored.
        ends_process: whether an attack that cannot be stopped ends the process, see `give_up`.
    """

    journal: Journal | None
    known: Sequence[Unit]
    keeper: Keeper | None
    ends_process: bool = False

    @classmethod
    def opened(
        cls, plan: Plan, setting: Setting, stack: ExitStack, progress: Progress, *, ends_process: bool = False
    ) -> Records:
        """Open the journal, if there is an output file, until the stack is closed."""
        config, identity = plan.config, identity_of(plan, setting.batch_size)
        check_identity(identity)
        journal, known = None, list[Unit]()
        if config.output is not None:
            journal = Journal(config.output, identity, resume=config.resume, rank=setting.rank)
            stack.enter_context(journal)
            for path in journal.damaged:
                progress.note(f"{path}: its end is incomplete; what was in it is computed again")
            limit = config.timeout_per_batch
            known = shared_units([u for u in journal.units if not u.failed or hangs_within(u.message, limit)])
        most = config.save_adversarials
        keeper = None if most is None else Keeper(most, known_verdicts(known, plan.task.name))
        return cls(journal, known, keeper, ends_process)

    def give_up(self, units: Sequence[Unit]) -> NoReturn:
        """Keep the failed units of an attack that cannot be stopped, say so, and end the process."""
        kept = "Without --output, nothing is kept."
        if self.journal is not None:
            with suppress(Exception):  # a full disk, for example: the process has to end
                for unit in units:
                    self.journal.add(unit)
                self.journal.close()
                kept = f"It is kept as failed in {self.journal.path}: --resume goes on with the others."
        if not units:  # everything is finished but the examples, for which the attack was run again
            end_at_once("an attack that was run again for its examples could not be stopped: leave them out.", FAILED)
        first = units[0]
        where = f"{first.variant}, {first.phase}, batch {first.batch + 1}"
        end_at_once(f"{where}: {first.message}. {kept}", FAILED)


def identity_of(plan: Plan, batch_size: int) -> dict[str, Any]:
    """Return what must be equal for outcomes to belong to one run."""
    parts = [part.model_dump() for part in brought_parts(plan)]
    made = any(attack.info.is_common and attack.archive is None for attack in plan.attacks)
    archived = [attack.archive_sha256 for attack in plan.attacks if attack.archive_sha256]
    return {
        "batch_size": batch_size,
        "config_sha256": plan.config.sha256(),
        "attacks": [attack.label for attack in plan.attacks],  # the battery's file may have changed since
        "data_sha256": plan.samples.sha256(),
        "weights_sha256": plan.weights.sha256 if plan.weights else None,
        "model": plan.source.fingerprint(),
        "packages": package_versions(),
        "device": device_name(plan.device),
        **({"parts": parts} if parts else {}),
        **({"archive_sha256": archived} if archived else {}),
        **({"image_libraries": {name: version(name) for name in IMAGE_LIBRARIES}} if made else {}),
        **({} if plan.attack_network is None else {"attack_network": plan.attack_network.model_dump()}),
    }

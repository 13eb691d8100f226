"""`stein-bench evaluate --dry-run`: checks everything that a run checks, and estimates what the run will cost.

Nothing is trained, no attack is carried through, and nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from stein_bench.attacks.attack import by_run
from stein_bench.config import RunConfig
from stein_bench.evaluation.attack_choice import with_attacked_surrogate
from stein_bench.evaluation.costs.peak import PeakMemory
from stein_bench.evaluation.costs.results import DryRun, PhaseCost
from stein_bench.evaluation.costs.variant import VariantCosts, costs_of
from stein_bench.evaluation.networks import Built, NotFittedError, build_network
from stein_bench.evaluation.opened import opened
from stein_bench.evaluation.startup import Started, start
from stein_bench.evaluation.surrogate import with_surrogate
from stein_bench.guard import repeatable_backends
from stein_bench.offline import keeps_offline
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant
from stein_bench.progress import Progress, Silent

TRYING = 40.0
"""Seconds for trying attacks, shared by all attacks on all variants."""
LEAST, MOST = 0.5, 8.0
"""Fewest and most seconds for one attack."""
UNTRAINED = (
    "the network is not trained yet: training is not included, and the attacks were tried on the untrained network, "
    "whose samples may fall much sooner than those of the trained one: the true time may be up to that of the most "
    "passes"
)


@keeps_offline
def dry_run(config: RunConfig, progress: Progress | None = None) -> DryRun:
    """Check the configuration as `run_evaluation` does, and return what running it will cost on this machine.

    Args:
        config: the configuration to run.
        progress: receives progress and notes.

    Raises:
        UsageError: something is wrong with the input.
        RunError: a single batch cannot be computed.
    """
    began, progress = time.perf_counter(), progress or Silent()
    run, networks = start(config, progress), _Networks(progress)
    setting = run.setting
    with ExitStack() as stack:
        stack.enter_context(repeatable_backends())
        plan = with_surrogate(run.plan, run.surrogate, setting.batch_size, progress, networks.build)
        plan = with_attacked_surrogate(plan, setting.batch_size)
        peak = PeakMemory(setting.device)
        found = [_variant(plan, run, variant, built, peak, progress) for variant, built in networks.of(plan)]
    spent_on_variants = sum(one.seconds for one in found)
    starting = time.perf_counter() - began - spent_on_variants
    phases = [PhaseCost("", "start", "start: model and data", "start", starting)]
    phases += [phase for one in found for phase in one.phases]
    notes = [UNTRAINED] if networks.untrained else []
    notes += dict.fromkeys(note for one in found for note in one.notes)
    if config.resume:
        notes.append("the batches that an interrupted run has finished are not left out")
    return DryRun(
        plan.source.name, plan.data.name, len(setting.samples), setting.batch_size, str(setting.device),
        tuple(phases), max(one.variation for one in found), peak.kind, time.perf_counter() - began, tuple(notes),
    )  # fmt: skip


def _variant(
    plan: Plan, run: Started, variant: Variant, built: Built, peak: PeakMemory, progress: Progress
) -> VariantCosts:
    began = time.perf_counter()
    tries = len(plan.variants) * max(len(by_run(plan.attacks)), 1)
    seconds = min(max(TRYING / tries, LEAST), MOST)
    with opened(plan, variant, built, run.setting) as (_, evaluated, probabilities):
        found = costs_of(plan, evaluated, probabilities, seconds, peak, progress)
    return replace(found, seconds=time.perf_counter() - began)


class _Networks:
    """Networks with the weights of the run, or untrained ones where the run would train.

    Attributes:
        untrained: whether one of them is.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self.untrained = progress, False

    def build(self, plan: Plan, bn: str, progress: Progress) -> Built:
        try:
            return build_network(plan, bn, progress, fitting=False)
        except NotFittedError:
            self.untrained = True
            return build_network(replace(plan, weights_kind="none"), bn, progress)

    def of(self, plan: Plan) -> Iterator[tuple[Variant, Built]]:
        built: dict[str, Built] = {}
        for variant in plan.variants:
            if variant.bn not in built:
                built[variant.bn] = self.build(plan, variant.bn, self._progress)
            yield variant, built[variant.bn]

"""The samples and the budget that the sanity checks of a model use, and how their results are put."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from stein_bench.attacks.geometry import project, random_start
from stein_bench.diagnostics.consistency import Status
from stein_bench.report.document import Diagnostic
from stein_bench.statistics.rates import Bits
from stein_bench.tasks import Task

PROBES = 100
"""Maximum number of samples checked."""
DENSE_PROBES = 8
"""Maximum number of images checked for dense tasks: enough for an exact p below .01."""
PROBED_VALUES = 2**25
"""Maximum total number of input values (`DENSE_PROBES` inputs are always allowed), since they form one batch."""
ADVICE = "run with --adaptive"
"""What to do about gradients that are of no use to an attack."""


@dataclass(frozen=True)
class Probe:
    """A few samples and the budget of the probes.

    Attributes:
        inputs, labels: at most `PROBES` samples, as one batch.
        seeds: one per sample.
        task: defines loss and success.
        classes: number of the model's outputs.
        norm, eps: the budget, ``Linf``, ``L2`` or ``L1``.
        batch_dependent: whether the model evaluates with batch statistics.
        draws: number of predictions behind every verdict on a random model; None if each is a single prediction.
    """

    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    task: Task
    classes: int
    norm: str
    eps: float
    batch_dependent: bool
    draws: int | None = None


def random_points(probe: Probe) -> Tensor:
    """Return a random point of the ball around each sample, within [0, 1]; the same ones each time."""
    start = random_start(probe.inputs.shape, probe.seeds, probe.norm, probe.eps).to(probe.inputs.device)
    return project(probe.inputs + start, probe.inputs, probe.norm, probe.eps)


def probe_count(shape: Sequence[int], *, dense: bool) -> int:
    """Return the maximum number of inputs of that shape to check: fewer for large volumes and `dense` tasks."""
    if dense:
        return DENSE_PROBES
    return min(PROBES, max(DENSE_PROBES, PROBED_VALUES // math.prod(shape)))


def without_advice(checks: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return the checks without the advice to do what was done already."""
    return [
        check.model_copy(
            update={"message": check.message.replace(f": {ADVICE}, and ", ": ").replace(f": {ADVICE}", "")}
        )
        for check in checks
    ]


def share(flags: Bits) -> float:
    """Return the share of the samples that are flagged, 0 without samples."""
    return float(flags.mean()) if flags.size else 0.0


def percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.1f} %"


def result(name: str, variant: str, status: Status, value: float, message: str) -> Diagnostic:
    """Return the result of a check of a model."""
    return Diagnostic(name=name, variant=variant, attack=None, status=status, value=value, message=message)

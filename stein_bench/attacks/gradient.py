"""The native gradient attacks FGSM, PGD and MI-FGSM, for inputs of any rank in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import TINY, per_sample, project, step_direction
from stein_bench.attacks.losses import Loss, Model, averaged_gradient, loss_gradient, task_loss
from stein_bench.attacks.search import Batch, Rows, Search, Start, Step, still_right
from stein_bench.attacks.starts import RandomStarts
from stein_bench.tasks import Task


def input_gradient(
    model: Model, inputs: Tensor, labels: Tensor, task: Task, *, batch_dependent: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the task's summed loss with respect to `inputs`, and the logits."""
    gradient, logits, _ = loss_gradient(model, inputs, labels, labels, task_loss(task), batch_dependent=batch_dependent)
    return gradient, logits


def fgsm(
    model: Model, inputs: Tensor, labels: Tensor, task: Task, *, eps: float, eot: int = 1, batch_dependent: bool = False
) -> Tensor:
    """Return `inputs` moved by eps along the sign of the loss gradient, clipped to [0, 1].

    `eot`: draws of a random model over which the gradient is averaged.
    `batch_dependent`: whether a prediction depends on the other samples of the batch.
    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples" (2015), section 4.
    """
    seen = averaged_gradient(
        model, inputs, labels, labels, task_loss(task), task, eot=eot, batch_dependent=batch_dependent
    )
    return (inputs + eps * seen.gradient.sign()).clamp(0, 1)


@dataclass(frozen=True)
class Iterates(Rows):
    """The state of PGD: clean inputs, labels, and the points to evaluate next."""

    center: Tensor
    labels: Tensor
    current: Tensor


@dataclass(frozen=True)
class PGD(Search[Iterates]):
    """Projected gradient ascent: steps of size `alpha` within the ε-ball and [0, 1].

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018), section 2.1.
    A sample stops at its first misclassified iterate. A sample without one gets its last iterate, the only one not yet
    predicted: all others are known to be correctly classified, whatever their loss. Under batch statistics the batch
    stays whole and its last iterate is returned.

    Attributes:
        task: defines loss, which is maximized, and success.
        norm: ``Linf`` (signed steps), ``L2`` (normalized steps) or ``L1`` (sparse steps).
        eps, alpha: radius of the ball and size of a step, in that norm.
        steps: number of gradient steps of an attempt, at least 1.
        start: perturbations to start from, or None for the clean inputs.
        attempts: number of restarts.
        batch_dependent: whether a prediction depends on the other samples of the batch.
        eot: draws of a random model at each point, see `averaged_gradient`.
    """

    task: Task
    norm: str
    eps: float
    alpha: float
    steps: int
    start: Start | None = None
    attempts: int = 1
    batch_dependent: bool = False
    eot: int = 1
    open_end = True
    counts_draws = True

    def loss(self, numbers: Sequence[int]) -> Loss:
        """Return the loss to maximize in a step; `numbers` are as for `advance`."""
        return task_loss(self.task)

    def prefetch(self, batch: Batch) -> None:
        """Draw random starts in advance."""
        if isinstance(self.start, RandomStarts):
            self.start.prefetch(batch)

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Iterates:
        """Start at the clean inputs or at the perturbations of `start`."""
        current = batch.inputs
        if self.start is not None:
            current = project(current + self.start(batch, attempts), current, self.norm, self.eps)
        return Iterates(batch.inputs, batch.labels, current)

    def advance(self, model: Model, rows: Iterates, numbers: Sequence[int]) -> Step[Iterates]:
        """Evaluate the current points and move along the gradient."""
        seen = averaged_gradient(
            model, rows.current, rows.labels, rows.labels, self.loss(numbers), self.task,
            eot=self.eot, batch_dependent=self.batch_dependent, backward=min(numbers) < self.steps,
        )  # fmt: skip
        ahead = rows.current + self.alpha * step_direction(seen.gradient, rows.current, self.norm, self.eps)
        moved = replace(rows, current=project(ahead, rows.center, self.norm, self.eps))
        return Step(moved, rows.current, seen.broken, seen.wrong, seen.losses)

    def passes(self, number: int) -> tuple[int, int]:
        """Return one of each per draw, but no backward pass where no step follows."""
        return self.eot, self.eot * int(number < self.steps)

    def last(self, rows: Iterates) -> Tensor:
        """Return the last iterates."""
        return rows.current


@dataclass(frozen=True)
class Accelerated(Iterates):
    """The state of MI-FGSM: that of PGD and the accumulated gradient."""

    velocity: Tensor


@dataclass(frozen=True)
class MIFGSM(Search[Accelerated]):
    """Steps along an accumulated gradient, from the clean inputs.

    g ← decay·g + ∇/‖∇‖₁, then a step of size alpha along g. Attributes and results are as for `PGD`; `decay` is the
    paper's μ (1 there; 0 means no momentum).
    Source: Dong et al., "Boosting adversarial attacks with momentum" (2018), algorithm 1 and equation (8).
    """

    task: Task
    norm: str
    eps: float
    alpha: float
    steps: int
    decay: float
    attempts: int = 1
    batch_dependent: bool = False
    eot: int = 1
    open_end = True
    counts_draws = True

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Accelerated:
        """Start at the clean inputs."""
        return Accelerated(batch.inputs, batch.labels, batch.inputs, torch.zeros_like(batch.inputs))

    def advance(self, model: Model, rows: Accelerated, numbers: Sequence[int]) -> Step[Accelerated]:
        """Evaluate the current points and move along the accumulated gradient."""
        seen = averaged_gradient(
            model, rows.current, rows.labels, rows.labels, task_loss(self.task), self.task,
            eot=self.eot, batch_dependent=self.batch_dependent, backward=min(numbers) < self.steps,
        )  # fmt: skip
        size = seen.gradient.flatten(1).abs().sum(dim=1).clamp_min(TINY)
        velocity = self.decay * rows.velocity + seen.gradient / per_sample(size, seen.gradient)
        ahead = rows.current + self.alpha * step_direction(velocity, rows.current, self.norm, self.eps)
        moved = replace(rows, current=project(ahead, rows.center, self.norm, self.eps), velocity=velocity)
        return Step(moved, rows.current, seen.broken, seen.wrong, seen.losses)

    def passes(self, number: int) -> tuple[int, int]:
        """Return one of each per draw, but no backward pass where no step follows."""
        return self.eot, self.eot * int(number < self.steps)

    def last(self, rows: Accelerated) -> Tensor:
        """Return the last iterates."""
        return rows.current


@dataclass(frozen=True)
class Unperturbed(Search[Iterates]):
    """Evaluates the clean inputs, so that later searches leave samples alone that are misclassified already."""

    task: Task
    steps: int = 1
    attempts: int = 1

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Iterates:
        """Start at the clean inputs."""
        return Iterates(batch.inputs, batch.labels, batch.inputs)

    def advance(self, model: Model, rows: Iterates, numbers: Sequence[int]) -> Step[Iterates]:
        """Evaluate the clean inputs."""
        return Step(rows, rows.current, ~still_right(model, self.task, rows.current, rows.labels))

    def passes(self, number: int) -> tuple[int, int]:
        """Return one forward pass."""
        return 1, 0

    def passes_of_whole(self) -> tuple[int, int]:
        """Return none: the caller evaluates the clean inputs."""
        return 0, 0

    def last(self, rows: Iterates) -> Tensor:
        """Return the clean inputs."""
        return rows.current

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the clean inputs, which the caller evaluates."""
        return batch.inputs

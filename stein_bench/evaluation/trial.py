"""A trial of sources of gradients: what short attacks break with each on a few samples of one variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stein_bench.attacks.adaptive import untargeted_margin
from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.autopgd import auto_pgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.ensembles import FIRST_SHARE
from stein_bench.attacks.geometry import within
from stein_bench.attacks.losses import Loss, loss_gradient, task_loss
from stein_bench.attacks.random_search import most_often_wrong
from stein_bench.attacks.refill import refill
from stein_bench.attacks.search import Batch, Search, still_right
from stein_bench.attacks.square import Square
from stein_bench.attacks.through import GradientSource, through
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.diagnostics.gradients import STUCK, gradient_matches_loss, lost_on_limits
from stein_bench.diagnostics.probe import Probe
from stein_bench.evaluation.batches import Evaluated
from stein_bench.guard import forked_rng
from stein_bench.memory import MemoryLimit
from stein_bench.progress import Progress
from stein_bench.seeds import derive_seed
from stein_bench.statistics.paired_tests import mcnemar
from stein_bench.statistics.rates import Bits
from stein_bench.tasks import TASKS

PROBES = 64
"""Samples on which the sources of gradients are compared."""
STEPS = 20
QUERIES = 200
DRAWS = 5
"""Predictions behind a verdict on a random model."""
SAME = 0.999
"""Least cosine at which two gradients count as the same."""
FEWEST = 2
"""One sample more may be chance."""
SHARE = 0.04
"""A source counts as better if it breaks so many of the samples more, and at least `FEWEST`."""
SIGNIFICANT = 0.01
"""Where chance counts, the one-sided p of McNemar's test must be below this as well."""


@dataclass(frozen=True)
class Tried:
    """A source of gradients, as tried on the probed samples.

    Attributes:
        source: where the gradients come from.
        broken: which samples it broke.
        blind: whether most of them have no gradient.
        misled: whether the gradient does not predict how the loss changes at the samples that it did not break, or is
            missing wherever values are exactly 0 or 1.
    """

    source: GradientSource
    broken: Bits
    blind: bool = False
    misled: bool = False

    @property
    def useful(self) -> bool:
        """Whether there is a gradient, and it predicts the loss."""
        return not (self.blind or self.misled)


class Trial:
    """Tries sources of gradients on at most `count` samples of one variant, for one attack."""

    def __init__(self, evaluated: Evaluated, attack: Attack, progress: Progress, count: int = PROBES) -> None:
        self.evaluated, self.attack, self.progress = evaluated, attack, progress
        setting = evaluated.setting
        samples, most = setting.samples, setting.batch_size if evaluated.batch_dependent else count
        few = samples.unrelated(min(count, most, len(samples)))
        inputs, labels = (part.to(setting.device) for part in samples.batch(few))
        self.binary = setting.task.name == "binary"
        self.model = TwoLogits(evaluated.model) if self.binary else evaluated.model
        self.task = TASKS["classification"] if self.binary else setting.task
        seeds = attack_seeds(setting.seed, attack, [f"probe {samples.ids[index]}" for index in few])
        self.batch = Batch.untargeted(inputs, labels, seeds)
        self.call = Call(
            self.model, self.task, 2 if self.binary else setting.classes, samples.shape, attack.norm, attack.eps,
            attack.params, evaluated.batch_dependent,
        )  # fmt: skip
        self.right = self._right(inputs)
        self.failed: dict[str, str] = {}
        self.tried = 0

    def _right(self, points: Tensor) -> Bits:
        draws = DRAWS if self.evaluated.random else 1
        one_each = [still_right(self.model, self.task, points, self.batch.labels).int() for _ in range(draws)]
        right = torch.stack(one_each).sum(dim=0)
        found: Bits = (2 * right > draws).cpu().numpy()
        return found

    def broken_by(self, source: GradientSource, searches: Sequence[Search[Any]]) -> Tried | None:
        """Return which samples the searches break with that source; None if it fails on this model."""
        self.tried += 1
        self.progress.advance(1)
        try:
            model = source.build(self.model)
            broken = ~self.right
            for search in searches:
                aimed = replace(through(search, source, self.model, self.task), model=model)
                points = self._points(aimed)
                near = within(points, self.batch.inputs, self.call.norm, self.call.eps).cpu().numpy()
                broken = broken | (near & ~self._right(points))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the model's code does, the other sources are tried
            self.failed[source.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            return None
        found = Tried(source, broken & self.right, self._blind(source))
        if source.foreign:  # its gradient predicts another loss
            return replace(found, misled=True)
        return replace(found, misled=self._misled(found))

    def _points(self, search: Search[Any]) -> Tensor:
        if self.call.batch_dependent:
            return search.whole(self.model, self.batch, 0)
        if self.evaluated.random:
            return most_often_wrong(self.model, self.task, [search], self.batch, DRAWS)[0]
        memory = MemoryLimit(len(self.batch.seeds))
        return next(refill(self.model, [search], [self.batch], memory)).adv_inputs

    def gradient_searches(self) -> list[Search[Any]]:
        """Return short searches on the cross-entropy and on the margin."""
        return [auto_pgd(self.call, loss, STEPS) for loss in (task_loss(self.task), untargeted_margin)]

    def score_search(self) -> list[Search[Any]]:
        """Return a short search without gradients."""
        return [Square(self.task, self.call.norm, self.call.eps, tuple(self.call.shape), QUERIES, FIRST_SHARE)]

    def same_gradient(self, one: GradientSource, other: GradientSource) -> bool:
        """Return whether two sources have gradients of the same direction for every sample.

        Both of the margin and of the cross-entropy: that of huge logits has none where the margin has one. At random
        points of the ball, as an attack sees them: more of their values are 0 or 1, where a limit ends the gradient.
        """
        points = self._random_points()
        for loss in (untargeted_margin, task_loss(self.task)):
            found = [self._gradient(source, loss, points) for source in (one, other)]
            if found[0] is None or found[1] is None:
                return False
            alike = F.cosine_similarity(found[0].flatten(1), found[1].flatten(1), dim=1)
            if not float(alike.min()) > SAME:
                return False
        return True

    def _blind(self, source: GradientSource) -> bool:
        """Return whether the margin of most samples that are right has no gradient: zero, or not a number."""
        gradient = self._gradient(source, untargeted_margin, self.batch.inputs)
        if gradient is None:
            return True
        size = gradient.flatten(1).norm(dim=1).cpu().numpy()
        useful = np.isfinite(size) & (size > 0)
        return 2 * int(useful[self.right].sum()) < int(self.right.sum())

    def _gradient(self, source: GradientSource, loss: Loss, points: Tensor) -> Tensor | None:
        try:
            # Gradients of a random model are the same, if they are, under the same random numbers only.
            with forked_rng(derive_seed("gradient", *self.batch.seeds)):
                gradient, *_ = loss_gradient(
                    source.build(self.model), points, self.batch.labels, self.batch.labels, loss,
                    batch_dependent=self.call.batch_dependent,
                )  # fmt: skip
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 - said when it is tried
            return None
        return gradient.cpu().double()

    def _misled(self, one: Tried) -> bool:
        """Return whether the gradient of a source does not predict the loss at the samples that it did not break.

        Or is missing wherever values are exactly 0 or 1.
        """
        left = torch.from_numpy(self.right & ~one.broken).to(self.batch.inputs.device)
        if not bool(left.any()):
            return False
        probe = Probe(
            self.batch.inputs, self.batch.labels, self.batch.seeds, self.task, self.call.classes, self.call.norm,
            self.call.eps, self.call.batch_dependent,
        )  # fmt: skip
        try:
            model = one.source.build(self.model)
            if lost_on_limits(model, probe, left) > STUCK[1]:
                return True
            return gradient_matches_loss(self.evaluated.variant, model, probe, left).status != "pass"
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 - a source that fails leads nowhere
            return True

    @torch.no_grad()
    def flat(self) -> bool:
        """Return whether most outputs are exactly the same at a random point of the ball."""
        moved = self.model(self._random_points())
        same = (moved == self.model(self.batch.inputs)).flatten(1).all(dim=1)
        return float(same.float().mean()) > 0.5

    def _random_points(self) -> Tensor:
        starts = self.call.starts()(self.batch, [0] * len(self.batch.seeds))
        return (self.batch.inputs + starts).clamp(0, 1)

    def better(self, one: Tried, other: Tried) -> bool:
        """Return whether `one` breaks clearly more samples than `other`; on a random model, than chance explains."""
        gained = int(one.broken.sum()) - int(other.broken.sum())
        clear = gained >= max(FEWEST, SHARE * int(self.right.sum()))
        return clear and (not self.evaluated.random or _not_by_chance(one, other))

    def exceeds(self, one: Tried, other: Tried) -> bool:
        """Return whether `one` is better than `other` by more than chance, if `other` has a useful gradient.

        Chance, because the paths of two sound searches differ.
        """
        return self.better(one, other) and (not other.useful or _not_by_chance(one, other))


def _not_by_chance(one: Tried, other: Tried) -> bool:
    gained, lost = int(np.sum(one.broken & ~other.broken)), int(np.sum(other.broken & ~one.broken))
    return mcnemar(gained, lost) < SIGNIFICANT

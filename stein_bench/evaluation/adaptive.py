"""How the adaptive attack treats a model: where its gradients are, tried out on a few samples before the attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from stein_bench.attacks.adaptive import stages, untargeted_margin
from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.autopgd import auto_pgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.losses import task_loss
from stein_bench.attacks.refill import refill
from stein_bench.attacks.search import Batch, Search, still_right
from stein_bench.attacks.square import Square
from stein_bench.attacks.through import OWN, GradientSource, Strategy, through
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.evaluation.batches import Evaluated
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.memory import MemoryLimit
from stein_bench.models.recorded.cuts import cuts, differs_with_gradients
from stein_bench.models.recorded.relaxed import Reading, Relaxed, Surrogate, read_logits, surrogates
from stein_bench.models.smoothed import Smoothed
from stein_bench.progress import Progress, phase
from stein_bench.report.document import Diagnostic
from stein_bench.report.results import AdaptiveInfo, SearchInfo, SurrogateInfo, TriedSource
from stein_bench.seeds import derive_seed
from stein_bench.tasks import TASKS

PROBES = 64
"""Samples on which the sources of gradients are compared."""
STEPS = 20
QUERIES = 200
FEWEST = 2
"""One sample more may be chance."""
SHARE = 0.04
"""A source counts as better if it breaks so many of the samples more, and at least `FEWEST`."""


@dataclass(frozen=True)
class Tried:
    """A source of gradients, and which of the probed samples it broke."""

    source: GradientSource
    broken: np.ndarray


class _Trial:
    """Tries sources of gradients on a few samples of one variant, for one attack."""

    def __init__(self, evaluated: Evaluated, attack: Attack, progress: Progress) -> None:
        self.evaluated, self.attack, self.progress = evaluated, attack, progress
        setting = evaluated.setting
        samples, most = setting.samples, setting.batch_size if evaluated.batch_dependent else PROBES
        few = samples.unrelated(min(PROBES, most, len(samples)))
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

    def _right(self, points: torch.Tensor) -> np.ndarray:
        found: np.ndarray = still_right(self.model, self.task, points, self.batch.labels).cpu().numpy()
        return found

    def broken_by(self, source: GradientSource, searches: Sequence[Search[Any]]) -> Tried | None:
        """Return which samples the searches break with that source; None if it fails on this model."""
        try:
            model = source.build(self.model)
            broken = ~self.right
            for search in searches:
                aimed = replace(through(search, source, self.model, self.task), model=model)
                broken = broken | ~self._right(self._points(aimed))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the model's code does, the other sources are tried
            self.failed[source.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            return None
        self.progress.advance(1)
        return Tried(source, broken & self.right)

    def _points(self, search: Search[Any]) -> torch.Tensor:
        if self.call.batch_dependent:
            return search.whole(self.model, self.batch, 0)
        memory = MemoryLimit(len(self.batch.seeds))
        return next(refill(self.model, [search], [self.batch], memory)).adv_inputs

    def gradient_searches(self) -> list[Search[Any]]:
        """Return short searches on the cross-entropy and on the margin."""
        return [auto_pgd(self.call, loss, STEPS) for loss in (task_loss(self.task), untargeted_margin)]

    def score_search(self) -> list[Search[Any]]:
        """Return a short search without gradients."""
        return [Square(self.task, self.call.norm, self.call.eps, tuple(self.call.shape), QUERIES, 0.8)]

    @torch.no_grad()
    def flat(self) -> bool:
        """Return whether most outputs are exactly the same at a random point of the ball."""
        starts = self.call.starts()(self.batch, [0] * len(self.batch.seeds))
        moved = self.model((self.batch.inputs + starts).clamp(0, 1))
        same = (moved == self.model(self.batch.inputs)).flatten(1).all(dim=1)
        return float(same.float().mean()) > 0.5

    def better(self, one: Tried, other: Tried) -> bool:
        """Return whether `one` breaks clearly more samples than `other`."""
        gained = int(one.broken.sum()) - int(other.broken.sum())
        return gained >= max(FEWEST, SHARE * int(self.right.sum()))


def find_strategy(
    evaluated: Evaluated, attack: Attack, own: nn.Module | None, progress: Progress
) -> tuple[Strategy, AdaptiveInfo]:
    """Return where the adaptive attack takes its gradients from, and what was found out about the model.

    Args:
        evaluated: the variant.
        attack: the adaptive attack.
        own: the network that gradient attacks use, if that is not the evaluated model itself.
        progress: receives progress.
    """
    with (
        phase(progress, f"looking for hidden gradients {evaluated.variant}", 5),
        model_untouched(evaluated.model),
        forked_rng(derive_seed(evaluated.setting.seed, "adaptive", attack.label)),
    ):
        return _found(_Trial(evaluated, attack, progress), own)


def _found(trial: _Trial, own: nn.Module | None) -> tuple[Strategy, AdaptiveInfo]:
    reading, replaced = _read(trial)
    gradients = trial.gradient_searches()
    tried = [trial.broken_by(source, gradients) for source in _sources(trial, own, reading)]
    found = [one for one in tried if one is not None]
    first = found[0]
    best = max(found, key=lambda one: int(one.broken.sum()))  # the simplest of those that are equal
    smoothed = trial.broken_by(_smoothed(trial, best.source), gradients)
    if smoothed is not None:
        found.append(smoothed)
    scores = trial.broken_by(replace(best.source, name="scores alone"), trial.score_search())
    hidden = any(trial.better(one, first) for one in found)
    leader = first
    for one in found:
        leader = one if trial.better(one, leader) else leader
    if scores is not None and trial.better(scores, leader):
        hidden = True
    chosen = [leader] if hidden else [first]
    if hidden:
        for one in found:
            seen = np.any([other.broken for other in chosen], axis=0)
            if one is not leader and int((one.broken & ~seen).sum()) > 0:
                chosen.append(one)
    flat = trial.flat() and (reading is None or not reading.operation)
    strategy = Strategy(tuple(one.source for one in chosen), hidden or flat, flat)
    info = AdaptiveInfo(
        attack=trial.attack.label,
        hidden=hidden,
        probed=int(trial.right.sum()),
        tried=[
            TriedSource(name=one.source.name, broken=int(one.broken.sum()))
            for one in (*found, *([scores] if scores is not None else []))
        ],
        failed=trial.failed or None,
        used=[source.name for source in strategy.sources],
        differs_with_gradients=_differs(trial),
        logits_before=reading.operation if reading is not None else "",
        replaced=[
            SurrogateInfo(
                operation=one.operation,
                file=None if one.site is None else one.site.file.rsplit("/", 1)[-1],
                line=None if one.site is None else one.site.line,
            )
            for one in replaced
        ],
        searches=[
            SearchInfo(search=stage.search, source=stage.source, broken=0)
            for stage, _ in stages(replace(trial.call, strategy=strategy))
        ],
    )  # fmt: skip
    return strategy, info


def _differs(trial: _Trial) -> bool:
    with suppress(RuntimeError, ValueError, TypeError):
        return differs_with_gradients(trial.model, trial.batch.inputs)
    return False


def _read(trial: _Trial) -> tuple[Reading | None, list[Surrogate]]:
    """Return where the model's logits are read and which operations get surrogate gradients; None if neither works."""
    try:
        inputs = trial.batch.inputs
        return read_logits(trial.model, inputs), [*surrogates(trial.model, inputs), *_cuts(trial)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the model's code does, its own gradients remain
        trial.failed["recorded forward pass"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        return None, []


def _cuts(trial: _Trial) -> list[Surrogate]:
    """Return where the code cuts off its gradient; nothing if it does not run with gradients."""
    with suppress(RuntimeError, ValueError, TypeError):
        return cuts(trial.model, trial.batch.inputs)
    return []


def _sources(trial: _Trial, own: nn.Module | None, reading: Reading | None) -> Iterator[GradientSource]:
    attacked = own if own is None or not trial.binary else TwoLogits(own)
    yield GradientSource(OWN.name, lambda model: model if attacked is None else attacked)
    if reading is None:
        return
    exact = reading.operation == ""
    yield GradientSource("straight-through gradients", lambda model: Relaxed(model, reading), exact, forward_passes=2)
    yield GradientSource(
        "gradients past the input transformation", lambda model: Relaxed(model, reading, bypass=True), exact,
        forward_passes=2,
    )  # fmt: skip


def _smoothed(trial: _Trial, source: GradientSource, draws: int = 8) -> GradientSource:
    sigma = 0.5 * trial.call.eps if trial.call.norm == "Linf" else trial.call.eps / np.sqrt(np.prod(trial.call.shape))
    return replace(
        source, name=f"smoothed {source.name.removeprefix('its ')}",
        build=lambda model: Smoothed(source.build(model), trial.call.shape, float(sigma), draws),
        forward_passes=1 + draws * source.forward_passes, backward_passes=draws * source.backward_passes,
    )  # fmt: skip


def hidden_diagnostics(variant: str, infos: Sequence[AdaptiveInfo]) -> list[Diagnostic]:
    """Return whether the model hides its gradients, for each adaptive attack on the variant."""
    return [
        Diagnostic(
            name="hidden-gradients", variant=variant, attack=info.attack, status="fail" if info.hidden else "pass",
            value=None, message=_said(info),
        )
        for info in infos
    ]  # fmt: skip


def _said(info: AdaptiveInfo) -> str:
    broken = ", ".join(f"{one.name} {one.broken}" for one in info.tried)
    found = "the model hides its gradients" if info.hidden else "no hidden gradients found"
    return f"{found}: of {info.probed} samples, short attacks break with {broken}"

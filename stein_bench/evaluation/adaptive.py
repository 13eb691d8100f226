"""How the adaptive attack treats a model: where its gradients are, tried out on a few samples before the attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from stein_bench.attacks.adaptive import spread_within, stages
from stein_bench.attacks.attack import Attack
from stein_bench.attacks.through import OWN, GradientSource, Strategy
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.evaluation.batches import Evaluated
from stein_bench.evaluation.outcomes import Counted, out_of_memory
from stein_bench.evaluation.trial import PROBES, Trial, Tried
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.models.recorded.cuts import cuts, differs_with_gradients
from stein_bench.models.recorded.relaxed import Reading, Relaxed, Surrogate, bypassed, read_logits, surrogates
from stein_bench.models.smoothed import Smoothed
from stein_bench.progress import Progress, phase
from stein_bench.report.document import Diagnostic
from stein_bench.report.results import AdaptiveInfo, SearchInfo, SurrogateInfo, TriedSource
from stein_bench.seeds import derive_seed

BYPASS = "gradients past the input transformation"
BEHIND = "the network behind the input transformation"

SOURCES = 6
"""Most sources tried: the model's own gradients, straight-through ones, past the input transformation, the network
behind it, smoothed ones, scores."""
NAMES = {
    "to_copy": "cast", "index": "indexing", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==",
    "floor_divide": "//", "mul": "scaling", "div": "scaling", "add": "shift", "sub": "shift", "amax": "maximum",
}  # fmt: skip
"""Operations of torch under the names that people write; all others are called as they are."""


def find_strategy(
    evaluated: Evaluated, attack: Attack, own: nn.Module | None, progress: Progress
) -> tuple[Strategy, AdaptiveInfo]:
    """Return where the adaptive attack takes its gradients from, and what was found out about the model.

    Args:
        evaluated: the variant.
        attack: the adaptive attack.
        own: the network that gradient attacks use, if that is not the evaluated model itself.
        progress: receives progress.

    Raises:
        RunError: memory ran out on a single sample, or under batch statistics.
    """
    count = PROBES
    with phase(progress, f"looking for hidden gradients {evaluated.variant}", SOURCES):
        while True:
            try:
                with (
                    model_untouched(evaluated.model),
                    forked_rng(derive_seed(evaluated.setting.seed, "adaptive", attack.label)),
                ):
                    trial = Trial(evaluated, attack, progress, count)
                    found = _found(trial, own)
                    progress.advance(max(SOURCES - trial.tried, 0))
                    return found
            except torch.OutOfMemoryError as error:
                if evaluated.batch_dependent or count == 1:
                    raise out_of_memory(evaluated, attack.label) from error
            count //= 2


def _found(trial: Trial, own: nn.Module | None) -> tuple[Strategy, AdaptiveInfo]:
    reading, replaced = _read(trial)
    tried = _tried(trial, own, reading)
    readable = reading is not None and bool(reading.operation)
    outputs = _logits(reading) if reading is not None and readable else OWN
    scores = trial.broken_by(replace(outputs, name="scores alone"), trial.score_search())
    strategy = replace(_chosen(trial, tried, scores, readable=readable), scores=OWN if scores is None else outputs)
    if reading is not None:
        reading.resemblance.close()
    blind = {one.source.name for one in tried if one.blind}
    info = AdaptiveInfo(
        attack=trial.attack.label,
        hidden=strategy.hidden,
        probed=int(trial.right.sum()),
        tried=[
            TriedSource(name=one.source.name, broken=int(one.broken.sum()))
            for one in (*tried, *([scores] if scores is not None else []))
        ],
        failed=trial.failed or None,
        used=[source.name for source in strategy.sources if source.name not in blind],
        differs_with_gradients=_differs(trial),
        logits_before=NAMES.get(reading.operation, reading.operation) if reading is not None else "",
        replaced=[_described(one) for one in dict.fromkeys([*replaced, *_bypassed(trial, strategy)])],
        searches=[
            SearchInfo(search=stage.search, source=stage.source, broken=0)
            for stage, _ in stages(replace(trial.call, strategy=strategy))
        ],
    )  # fmt: skip
    return strategy, info


def _tried(trial: Trial, own: nn.Module | None, reading: Reading | None) -> list[Tried]:
    """Return what every source of gradients breaks, the model's own first; none twice.

    Smoothed gradients take many passes: they are tried only where the best gradient does not predict the loss.
    """
    first, *further = _sources(trial, own, reading)
    found = [trial.broken_by(first, trial.gradient_searches()) or Tried(first, np.zeros_like(trial.right), blind=True)]
    for source in further:
        if not any(trial.same_gradient(source, one.source) for one in found):
            one = trial.broken_by(source, trial.gradient_searches())
            found += [] if one is None else [one]
    best = _best(_of_the_model(found))
    if not best.useful:
        smoothed = trial.broken_by(_smoothed(trial, best.source), trial.gradient_searches())
        found += [] if smoothed is None else [smoothed]
    return found


def _best(tried: Sequence[Tried]) -> Tried:
    """Return the source that breaks most samples, of equal ones the simplest whose gradient is useful."""
    return max(tried, key=lambda one: (int(one.broken.sum()), one.useful, not one.blind))


def _chosen(trial: Trial, tried: Sequence[Tried], scores: Tried | None, *, readable: bool) -> Strategy:
    """Return the sources to use: one that no other clearly exceeds, then those that break what it does not.

    A model without a gradient hides it, as does one with a misleading one if another source has a useful one, even
    within a budget so small that short attacks break nothing. One with a useful gradient hides a better one only if
    another source exceeds it by more than chance; otherwise both are used.
    """
    own = tried[0]
    useful = [one for one in tried if one.useful] or [one for one in _of_the_model(tried) if not one.blind]
    leader = own if own.useful or not useful else _best(useful)
    if own.broken.sum() > leader.broken.sum():
        leader = own
    for one in tried:
        leader = one if trial.better(one, leader) else leader
    flat = not readable and trial.flat()
    hidden = (
        own.blind
        or flat
        or (leader is not own and (not own.useful or trial.exceeds(leader, own)))
        or (scores is not None and trial.exceeds(scores, leader))
    )
    chosen = [leader]
    if leader.source.foreign:  # so that all does not depend on what transfers
        chosen.append(_best(useful or [own]))
    if not hidden and own not in chosen:
        chosen.append(own)
    for one in tried if hidden else ():
        seen = np.any([other.broken for other in chosen], axis=0)
        if one not in chosen and bool((one.broken & ~seen).any()):
            chosen.append(one)
    useless = hidden and not any(one.useful for one in tried)
    return Strategy(tuple(one.source for one in chosen), hidden, flat, useless)


def _of_the_model(tried: Sequence[Tried]) -> list[Tried]:
    """Return the sources with logits of the model itself."""
    return [one for one in tried if not one.source.foreign]


def _logits(reading: Reading) -> GradientSource:
    """Return the logits that are read before an operation, which tell more than the outputs: before a softmax, say."""
    return GradientSource(
        f"logits before {reading.operation}", lambda model: Relaxed(model, reading), exact=False, forward_passes=2
    )


def _described(one: Surrogate) -> SurrogateInfo:
    file = None if one.site is None else one.site.file.rsplit("/", 1)[-1]
    return SurrogateInfo(
        operation=NAMES.get(one.operation, one.operation), file=file, line=None if one.site is None else one.site.line
    )


def _bypassed(trial: Trial, strategy: Strategy) -> list[Surrogate]:
    """Return the operations of the input transformation, if a source that is used passes over them."""
    if not any(BYPASS in source.name or BEHIND in source.name for source in strategy.sources):
        return []
    return bypassed(trial.model, trial.batch.inputs)


def _differs(trial: Trial) -> bool:
    with suppress(RuntimeError, ValueError, TypeError):
        return differs_with_gradients(trial.model, trial.batch.inputs)
    return False


def _read(trial: Trial) -> tuple[Reading | None, list[Surrogate]]:
    """Return where the model's logits are read and which operations get surrogate gradients; None if neither works."""
    try:
        inputs = trial.batch.inputs
        return read_logits(trial.model, inputs), [*surrogates(trial.model, inputs), *_cuts(trial)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the model's code does, its own gradients remain
        trial.failed["recorded forward pass"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        return None, []


def _cuts(trial: Trial) -> list[Surrogate]:
    """Return where the code cuts off its gradient; nothing if it does not run with gradients."""
    with suppress(RuntimeError, ValueError, TypeError):
        return cuts(trial.model, trial.batch.inputs)
    return []


def _sources(trial: Trial, own: nn.Module | None, reading: Reading | None) -> Iterator[GradientSource]:
    attacked = own if own is None or not trial.binary else TwoLogits(own)
    yield GradientSource(OWN.name, lambda model: model if attacked is None else Counted(attacked, model))
    if reading is None:
        return
    exact = reading.operation == ""
    yield GradientSource("straight-through gradients", lambda model: Relaxed(model, reading), exact, forward_passes=2)
    yield GradientSource(
        BYPASS, lambda model: Relaxed(model, reading, bypass=True), exact,
        forward_passes=2,
    )  # fmt: skip
    if reading.transformed is not None:
        yield GradientSource(
            BEHIND, lambda model: Relaxed(model, reading, remove=True), exact=False, foreign=True,
            forward_passes=2, score_passes=2,
        )  # fmt: skip


def _smoothed(trial: Trial, source: GradientSource, draws: int = 8) -> GradientSource:
    sigma = spread_within(trial.call.norm, trial.call.eps, trial.call.shape)
    return replace(
        source, name=f"smoothed {source.name.removeprefix('its ')}",
        build=lambda model: Smoothed(source.build(model), trial.call.shape, sigma, draws),
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

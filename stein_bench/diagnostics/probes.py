"""Sanity checks of an evaluated model on a few samples: can the attack results be believed?

Sources: Carlini et al., "On evaluating adversarial robustness" (2019); Athalye, Carlini, Wagner, "Obfuscated
gradients give a false sense of security" (2018), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.attacks.dense import best_seen, is_dense
from stein_bench.attacks.draws import Draws, predicted
from stein_bench.attacks.gradient import PGD, fgsm
from stein_bench.attacks.losses import Model
from stein_bench.attacks.random_search import most_often_wrong
from stein_bench.attacks.refill import run_search
from stein_bench.attacks.search import Batch
from stein_bench.diagnostics.consistency import MASKED, MOST_FLIPPED, SIGNIFICANT, Status, reversal
from stein_bench.diagnostics.gradients import gradient_matches_loss, input_gradients, same_without_gradients
from stein_bench.diagnostics.probe import ADVICE, Probe, percent, random_points, result, share
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.host import download
from stein_bench.measures import MEASURES, Outcome
from stein_bench.models.randomness import ROUNDING
from stein_bench.report.document import Diagnostic
from stein_bench.report.number_format import in_draws
from stein_bench.seeds import derive_seed
from stein_bench.statistics.paired_tests import mcnemar

STEPS = 10
UNBOUNDED_STEPS = 20
"""With steps of 1/8 they can cross the whole box."""


def diagnose(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Yield the result of every check of `model` in turn; the model and all RNGs are left unchanged."""
    checks: tuple[Callable[[str, nn.Module, Probe], Iterator[Diagnostic]], ...] = (
        _repeatable, _independent_of_its_batch, same_without_gradients, input_gradients, _attacks,
    )  # fmt: skip
    for check in checks:
        with model_untouched(model), forked_rng(derive_seed("diagnostics", *probe.seeds)):
            yield from check(variant, model, probe)


CHECKS = 9
"""Number of results that `diagnose` yields."""


@torch.no_grad()
def _repeatable(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Predict the same inputs twice without reseeding."""
    first, second = model(probe.inputs), model(probe.inputs)
    flipped = share(_outcome(probe, first, probe.labels).differs(_outcome(probe, second, probe.labels)))
    scale = float(first.abs().amax().clamp_min(1e-12)) if first.numel() else 1.0
    apart = float((first - second).abs().amax()) / scale if first.numel() else 0.0
    status: Status = "fail" if flipped or apart > ROUNDING else "warn" if apart > 0 else "pass"
    message = f"the same inputs twice: outputs differ by {apart:.2g} of their largest, {percent(flipped)} flip"
    if probe.draws is not None:
        status = "warn"
        message += (
            "; the model is random in evaluation mode (dropout left on?): figures are expected accuracies over "
            + in_draws(probe.draws)
        )
    elif status == "fail":
        message += "; the model is random in evaluation mode (dropout left on?): no result here is reliable"
    yield result("repeatable", variant, status, flipped, message)


@torch.no_grad()
def _independent_of_its_batch(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Predict the samples again in two other batches, each of every second sample."""
    whole = _shown(model, probe, probe.inputs)
    flips = np.zeros(len(whole), np.bool_)
    for first in (0, 1):
        positions = np.arange(first, len(whole), 2)
        if len(positions):
            part = _predicted(probe, model, probe.inputs[first::2], probe.labels[first::2], "another batch")
            flips[positions] = whole.select(positions).differs(part)
    flipped = share(flips)
    status: Status = "pass" if flipped == 0 else "warn" if flipped <= MOST_FLIPPED else "fail"
    message = f"clean samples in another batch: {percent(flipped)} flip"
    if probe.draws is not None:
        again = whole.differs(_predicted(probe, model, probe.inputs, probe.labels, "the same batch"))
        # Majorities flip by chance in any batch, here in another number of samples.
        more = flipped > 2 * share(again) + MOST_FLIPPED
        p = mcnemar(int(np.sum(flips & ~again)), int(np.sum(again & ~flips)))
        status = "fail" if more and p < SIGNIFICANT else "pass"
        message += f", in other draws of the same batch {percent(share(again))}"
    if status != "pass":
        message += (
            "; predictions depend on the batch, as expected under batch statistics: see the replays"
            if probe.batch_dependent
            else "; predictions depend on the batch, which they should not under running statistics"
        )
    yield result("same-in-another-batch", variant, status, flipped, message)


def _attacks(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Compare attacks of different strength."""
    clean = _shown(model, probe, probe.inputs)
    one_step = _left(clean, model, probe, _one_step(model, probe))
    found = _pgd(model, probe, probe.norm, probe.eps, STEPS)
    iterated = _left(clean, model, probe, found)
    what = f"pgd-{STEPS} against one step, eps {probe.eps:.3g}"
    yield _compared("probe-iterated-vs-one-step", variant, probe, one_step, iterated, what, MASKED)
    yield gradient_matches_loss(variant, model, probe, _shown_right(model, probe, found))
    larger = _left(clean, model, probe, _pgd(model, probe, probe.norm, _doubled(probe), STEPS))
    what = f"pgd-{STEPS}, eps {_doubled(probe):.3g} against {probe.eps:.3g}"
    advice = "the model may detect large perturbations, or the attack needs more steps"
    yield _compared("probe-larger-eps", variant, probe, iterated, larger, what, advice)
    noisy = _left(clean, model, probe, random_points(probe))
    what = f"pgd-{STEPS} against random noise, eps {probe.eps:.3g}"
    yield _compared("probe-white-box-vs-noise", variant, probe, noisy, iterated, what, MASKED)
    yield _unbounded(variant, model, probe, clean)


def _unbounded(variant: str, model: nn.Module, probe: Probe, clean: Outcome) -> Diagnostic:
    """With eps = 1 any image can become any other: accuracy must fall to chance or below."""
    robust = _left(clean, model, probe, _pgd(model, probe, "Linf", 1.0, UNBOUNDED_STEPS)).headline()
    left, low, chance = robust.value or 0.0, robust.ci95[0] if robust.ci95 else 0.0, 1 / probe.classes
    status: Status = "pass" if left <= chance else "fail" if low > chance else "warn"
    message = f"pgd-{UNBOUNDED_STEPS} with eps 1 leaves {percent(left)}; chance is {percent(chance)}"
    if status != "pass":
        message += (
            "; an unbounded attack must break everything: gradient attacks fail on this model and overestimate its "
            f"robust accuracy: {ADVICE}"
        )
    return result("unbounded-attack", variant, status, left, message)


def _compared(
    name: str, variant: str, probe: Probe, weaker: Outcome, stronger: Outcome, what: str, advice: str
) -> Diagnostic:
    batch_size = len(weaker) if probe.batch_dependent else None
    return reversal(name, variant, None, weaker.versus(stronger, batch_size), what, advice)


def _one_step(model: nn.Module, probe: Probe) -> Tensor:
    if probe.norm == "Linf":
        return _searched(
            model, probe,
            lambda seen: fgsm(
                seen, probe.inputs, probe.labels, probe.task,
                eps=probe.eps, batch_dependent=probe.batch_dependent or is_dense(probe.labels),
            ),
        )  # fmt: skip
    return _pgd(model, probe, probe.norm, probe.eps, 1, alpha=probe.eps)


def _pgd(model: nn.Module, probe: Probe, norm: str, eps: float, steps: int, alpha: float | None = None) -> Tensor:
    # From the clean inputs: the probes compare budgets and steps, and a random start would add noise.
    size = 2.5 * eps / steps if alpha is None else alpha
    whole = probe.batch_dependent or is_dense(probe.labels)
    search = PGD(probe.task, norm, eps, size, steps, batch_dependent=whole)
    batch = Batch.untargeted(probe.inputs, probe.labels, probe.seeds)
    if probe.draws is not None:
        return most_often_wrong(model, probe.task, [search], batch)[0]
    return _searched(model, probe, lambda seen: run_search(search, seen, batch, batch_dependent=whole))


def _searched(model: nn.Module, probe: Probe, attack: Callable[[Model], Tensor]) -> Tensor:
    """Return the attack's result; for dense tasks the best point evaluated."""
    if not is_dense(probe.labels):
        return attack(model)
    return best_seen(model, probe.task, probe.inputs, probe.labels, attack, batch_dependent=probe.batch_dependent)


def _doubled(probe: Probe) -> float:
    return min(2 * probe.eps, 1.0) if probe.norm == "Linf" else 2 * probe.eps


@torch.no_grad()
def _shown_right(model: nn.Module, probe: Probe, inputs: Tensor) -> Tensor:
    """Return which samples are right, clean and as `inputs`."""
    shown = (probe.task.correct(model(one), probe.labels) for one in (probe.inputs, inputs))
    return torch.stack(list(shown)).all(dim=0)


def _shown(model: nn.Module, probe: Probe, inputs: Tensor) -> Outcome:
    return _predicted(probe, model, inputs, probe.labels, "shown")


@torch.no_grad()
def _predicted(probe: Probe, model: nn.Module, inputs: Tensor, labels: Tensor, purpose: str) -> Outcome:
    """Return the outcome of the inputs; of a random model, the majority verdicts of draws seeded by the purpose."""
    draws = None if probe.draws is None else Draws.seeded(probe.draws, "diagnostics", purpose, *probe.seeds)
    return MEASURES[probe.task.name].from_columns(
        download(predicted(model, inputs, labels, probe.task, draws).outcomes)
    )


def _left(clean: Outcome, model: nn.Module, probe: Probe, adv_inputs: Tensor) -> Outcome:
    return clean.under_attack(_shown(model, probe, adv_inputs), np.zeros(len(clean), np.bool_))


def _outcome(probe: Probe, logits: Tensor, labels: Tensor) -> Outcome:
    return MEASURES[probe.task.name].from_columns(download(probe.task.outcomes(logits, labels)))

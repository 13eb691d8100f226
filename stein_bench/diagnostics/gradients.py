"""Sanity checks of a model's input gradient: is it there, is it of the evaluated function, does it predict the loss?

A gradient that hides where the loss grows stops gradient attacks and makes no model robust. Source: Athalye, Carlini,
Wagner, "Obfuscated gradients give a false sense of security" (2018), sections 2.2 and 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from stein_bench.attacks.dense import is_dense
from stein_bench.attacks.geometry import direction
from stein_bench.attacks.gradient import input_gradient
from stein_bench.attacks.losses import Loss, Model, loss_gradient, targeted_margin
from stein_bench.diagnostics.consistency import Status
from stein_bench.diagnostics.probe import ADVICE, Probe, percent, random_points, result, share
from stein_bench.guard import forked_rng
from stein_bench.models.randomness import ROUNDING
from stein_bench.report.document import Diagnostic
from stein_bench.seeds import derive_seed
from stein_bench.tasks import two_logits

VANISHED = (0.01, 0.1)
"""Shares of samples without a usable input gradient above which the check warns and fails."""
INSIDE = 1e-3
"""Distance from 0 and 1 at which values have a gradient that they may lack on these limits themselves."""
STUCK = (0.01, 0.1)
"""Shares of the values with a gradient which lose it on a limit above which the check warns and fails."""
FLAT = 1e-3
"""If no logits differ by more, all classes have the same probability, and the cross-entropy tells no rival from the
others."""
STEPS = ((1 / 16, 2.0), (1 / 2, 4.0))
"""Steps whose effect the gradient has to predict: their length in parts of eps, and the factor within which.

A fine ripple is straight at the first length and has turned several times at the second, at which sound networks are
curved.
"""
FEWEST = 5
"""Samples that have to survive PGD for the check of its gradient."""
MOST_OFF = (0.05, 0.5)
"""Shares of unpredicted changes above which the check warns and fails."""


@torch.no_grad()
def same_without_gradients(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Compare the outputs while gradients are computed with those that are evaluated, with the same random numbers."""
    plain, again = _seeded(model, probe, probe.inputs), _seeded(model, probe, probe.inputs)
    with torch.enable_grad():
        enabled = _seeded(model, probe, probe.inputs)
        tracked = _seeded(model, probe, probe.inputs.detach().clone().requires_grad_(True)).detach()
    scale = float(plain.abs().amax().clamp_min(1e-12)) if plain.numel() else 1.0
    apart, random = (
        max(float((other - plain).abs().amax()) / scale for other in others) if plain.numel() else 0.0
        for others in ((enabled.detach(), tracked), (again,))
    )
    differs = not apart <= ROUNDING  # also if it is not a number
    status: Status = "pass" if not differs else "warn" if not random <= ROUNDING else "fail"
    message = f"outputs with gradients enabled differ by {apart:.2g} of their largest from those without"
    if status == "warn":
        message += f", and by {random:.2g} without a reason: the model's randomness cannot be seeded"
    elif status == "fail":
        message += f"; attacks see another function than the one that is evaluated: {ADVICE}"
    yield result("same-without-gradients", variant, status, apart, message)


def input_gradients(variant: str, model: nn.Module, probe: Probe) -> Iterator[Diagnostic]:
    """Measure the share of samples without a usable input gradient: gradient attacks cannot move them."""
    gradient, logits = input_gradient(
        model, probe.inputs, probe.labels, probe.task, batch_dependent=probe.batch_dependent
    )
    right = probe.task.correct(logits, probe.labels)
    size = gradient.flatten(1).abs().amax(dim=1)
    dead = ~((size > 0) & size.isfinite())
    rows = two_logits(logits)
    flat = bool((rows.amax(dim=1) - rows.amin(dim=1) < FLAT).all())
    vanished = share((dead | flat)[right].cpu().numpy())
    warns, fails = VANISHED
    status: Status = "fail" if vanished > fails else "warn" if vanished > warns else "pass"
    message = f"{percent(vanished)} of the samples that are right have no input gradient"
    stuck = lost_on_limits(model, probe, right) if status != "fail" else 0.0
    if stuck > STUCK[0]:
        status, vanished = ("fail" if stuck > STUCK[1] else "warn"), stuck
        message = (
            f"{percent(stuck)} of the input gradient is zero only because values are exactly 0 or 1, as behind clamp"
        )
    elif flat and not bool(dead[right].all()):
        message = f"all logits are within {FLAT:g} of each other: the cross-entropy hardly depends on them"
    if status != "pass":
        message += f"; gradient attacks cannot move them: {ADVICE}"
    yield result("input-gradients", variant, status, vanished, message)


def lost_on_limits(model: Model, probe: Probe, right: Tensor) -> float:
    """Return the share of the values with a gradient that have none where they are exactly 0 or 1.

    At random points of the ball, as attacks see them, and next to these.
    """
    points = random_points(probe)

    def moves(at: Tensor) -> Tensor:
        with _same_numbers(probe):
            gradient, _ = input_gradient(model, at, probe.labels, probe.task, batch_dependent=probe.batch_dependent)
        return gradient[right] != 0

    inside = moves(points * (1 - 2 * INSIDE) + INSIDE)
    limits = ((points <= 0) | (points >= 1))[right]
    lost = limits & inside & ~moves(points)
    return float(lost.sum()) / max(int(inside.sum()), 1)


@torch.no_grad()
def gradient_matches_loss(variant: str, model: Model, probe: Probe, left: Tensor) -> Diagnostic:
    """Compare what the gradient predicts of `STEPS` along it, forwards and backwards, with what they do.

    The steps begin at random points of the ball. Steep networks are curved within it, but attacks break these: only
    samples that the attack of the checks has left (`left`, boolean) are judged, around which a sound network
    is nearly linear. With label maps all images are, and only unpredicted changes of most of them count, after the
    short step. A random model is compared under the same random numbers.
    """
    name, dense = "gradient-matches-loss", is_dense(probe.labels)
    if dense:
        left = torch.ones_like(left)
    if int(left.sum()) < FEWEST and not dense:
        message = f"pgd leaves {int(left.sum())} of {len(left)} samples, too few to judge its gradient by"
        return result(name, variant, "pass", 0.0, message)
    judged = _unpredicted(model, probe, left, STEPS[:1] if dense else STEPS)
    shares = {step: share(off.cpu().numpy()) for step, off in judged}
    if not shares:
        message = "the model's randomness cannot be seeded: its gradient cannot be compared with what steps do"
        return result(name, variant, "pass", 0.0, message)
    step = max(shares, key=lambda one: shares[one])
    warns, fails = MOST_OFF
    status: Status = "fail" if shares[step] > fails else "warn" if shares[step] > warns and not dense else "pass"
    message = (
        f"{percent(shares[step])} of steps of eps/{1 / step:.0f} along the gradient change the loss by other than it "
        "predicts"
    )
    if status != "pass":
        message += f"; it does not show an attack the way: {ADVICE}"
    return result(name, variant, status, shares[step], message)


def _unpredicted(
    model: Model, probe: Probe, left: Tensor, steps: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, Tensor]]:
    """Yield each step, and of which samples `left` the gradient does not predict its effect, in both directions.

    Under batch statistics there is one prediction for the whole batch. Nothing is yielded for a model that draws other
    random numbers in each pass, whatever the seed.
    """
    labels, points = probe.labels, random_points(probe)
    loss, rivals = _loss(probe, model(probe.inputs))

    def passed(at: Tensor, *, backward: bool = False) -> tuple[Tensor, Tensor]:
        with _same_numbers(probe):  # a random model's gradient belongs to the numbers that it was computed with
            gradient, _, losses = loss_gradient(
                model, at, labels, rivals, loss, batch_dependent=probe.batch_dependent, backward=backward
            )
        return gradient, losses.double()

    gradient, _ = passed(points, backward=True)
    gradient = torch.where(left.view(-1, *[1] * (gradient.ndim - 1)), gradient, 0.0)
    (_, before), (_, again) = passed(points), passed(points)
    if float((again - before).abs().amax()) > ROUNDING * float(before.abs().amax().clamp_min(1e-12)):
        return
    for step, factor in steps:
        predicted, found = [], []
        for sign in (1.0, -1.0):
            moved = (points + sign * step * probe.eps * direction(gradient, probe.norm)).clamp(0, 1)
            _, after = passed(moved)
            predicted.append(sign * ((moved - points) * gradient).double().flatten(1).sum(dim=1)[left])
            found.append(sign * (after - before)[left])
        if probe.batch_dependent:
            predicted, found = ([one.sum()[None] for one in each] for each in (predicted, found))
        said, done = torch.cat(predicted), torch.cat(found)
        yield step, ~((done >= said / factor) & (done <= said * factor) & (said > 0))


def _loss(probe: Probe, clean: Tensor) -> tuple[Loss, Tensor]:
    """Return a loss that does not saturate, and its target classes: the likeliest other ones for the clean inputs."""
    if is_dense(probe.labels):
        return lambda logits, labels, _: probe.task.loss(logits, labels), probe.labels
    rivals = two_logits(clean).scatter(1, probe.labels.long()[:, None], -torch.inf).argmax(dim=1)
    return lambda logits, labels, targets: targeted_margin(two_logits(logits), labels.long(), targets), rivals


def _seeded(model: Model, probe: Probe, inputs: Tensor) -> Tensor:
    """Return the outputs, a random model's with the same numbers each time."""
    with _same_numbers(probe):
        outputs: Tensor = model(inputs)
        return outputs


def _same_numbers(probe: Probe) -> AbstractContextManager[None]:
    return forked_rng(derive_seed("gradients", *probe.seeds))

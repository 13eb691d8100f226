"""What becomes of a network that hides the gradient of its input: gradient attacks on it find nothing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from stein_bench.attacks.attack import Attack
from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.models.program import Program
from stein_bench.preparation.gradients import gradient_arrives
from stein_bench.preparation.plan import Plan

IN_CODE = (
    "its code uses torch.no_grad(), detach(), NumPy, an integer type or a function without a derivative, or refuses "
    "inputs that need a gradient"
)
"""What cuts off the gradient of a network that Python code computes."""
IN_PROGRAM = "it was exported under torch.no_grad() or detaches its input; export it again without"
OWN_WAY = ("adaptive",)
"""White-box attacks that find a gradient where the network hides it."""


def with_gradient_note(plan: Plan, network: nn.Module) -> Plan:
    """Return `plan`, with a note if `network` hides its gradient and attacks of the plan follow it.

    Args:
        plan: the run's plan.
        network: its network, with any weights; it is run forwards and backwards on two all-zero inputs, in eval mode.

    Raises:
        UsageError: the backward pass fails, or the network is to be trained and its parameters have no gradient.
    """
    if not _hides(plan, network):
        return plan
    told = f"no gradient arrives at the input of {plan.source.spec}: {_cause(plan)}"
    if plan.weights_kind == "fit" and not _trainable(plan, network):
        raise UsageError(f"{told}. Training needs gradients: give --weights.")
    blind = dict.fromkeys(attack.info.name for attack in plan.attacks if _follows_gradient(attack))
    if not blind:
        return plan
    adaptive = any(attack.info.name in OWN_WAY for attack in plan.attacks)
    advice = "; adaptive" if adaptive else ": run with --adaptive, which"
    note = (
        f"{told}. A robust accuracy under {', '.join(blind)} is no evidence of robustness{advice} replaces what hides "
        "the gradient"
    )
    return replace(plan, notes=(*plan.notes, note))


def check_shown_gradient(plan: Plan, network: nn.Module) -> None:
    """Raise a `UsageError` if `network` hides the gradient of its input; tried as in `with_gradient_note`."""
    if _hides(plan, network):
        raise UsageError(f"no gradient arrives at the input of {plan.source.spec}: {_cause(plan)}.")


def _hides(plan: Plan, network: nn.Module) -> bool:
    model = plan.wrap(network)
    images = torch.zeros(2, *plan.samples.shape, device=next(model.buffers()).device)
    with model_untouched(model), forked_rng(0):
        try:
            return not gradient_arrives(model, images, plan.source.spec)
        except torch.OutOfMemoryError:  # of which the run itself will tell
            return False


def _trainable(plan: Plan, network: nn.Module) -> bool:
    """Return whether a parameter gets a gradient."""
    model = plan.wrap(network)
    images = torch.zeros(2, *plan.samples.shape, device=next(model.buffers()).device)
    parameters = [parameter.requires_grad_(True) for parameter in network.parameters()]
    with forked_rng(0), torch.enable_grad():
        return bool(parameters) and bool(model(images).requires_grad)


def _cause(plan: Plan) -> str:
    return IN_PROGRAM if isinstance(plan.source, Program) else IN_CODE


def _follows_gradient(attack: Attack) -> bool:
    return attack.info.access == "white-box" and attack.info.name not in OWN_WAY

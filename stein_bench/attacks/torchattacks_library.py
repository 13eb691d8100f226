"""Adapter for torchattacks: runs an attack of the library and contains its side effects.

torchattacks 3.5.1 reseeds the global RNG in several classes, prints to stdout, returns with the model's flags
changed, and assumes 10 classes (``n_classes``) when it picks targets. Callers run it inside `guard.model_untouched`;
this module seeds and restores the RNG, silences stdout and passes the actual number of classes. Images are given in
[0, 1] and `set_normalization_used` is never called: input scaling is the model's first layer.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.losses import MOST_TARGETS
from stein_bench.guard import forked_rng
from stein_bench.parts.brought import plain_defaults
from stein_bench.seeds import derive_seed
from stein_bench.specs import ParameterValue

BOX_ROUNDING = 1e-6
"""How far a pixel may lie outside [0, 1] before it counts as leaving the box."""
LEAVING_THE_BOX = ("torchattacks.EADEN", "torchattacks.EADL1")
"""They move the image that they clip to along with their iterate, farther for steeper models. Their results are clipped
to [0, 1] before they are verified like all others."""
OVER_THE_BOUNDARY = 1e-3
"""Relative extension of DeepFool's final perturbation.

DeepFool stops where the sample, evaluated alone, crosses the boundary; rounding in another batch can undo that."""


def library_class(name: str) -> type[Any]:
    """Return the torchattacks class of a catalog name such as ``torchattacks.PGD``."""
    import torchattacks  # takes seconds to import, and most runs do not need it

    found: type[Any] = getattr(torchattacks, name.removeprefix("torchattacks."))
    return found


def library_defaults(info: AttackInfo) -> dict[str, ParameterValue]:
    """Return the parameters of the class that a spec can set, with the library's defaults.

    Excluded are the budget and the norm, which specs give in the same form for all attacks, and what this adapter
    sets itself: the seed, the number of classes and verbosity.
    """
    own = {"self", "model", "norm", "seed", "n_classes", "verbose", info.eps_name}
    defaults = plain_defaults(inspect.signature(library_class(info.method).__init__).parameters)
    return {name: default for name, default in defaults.items() if name not in own}


def takes(info: AttackInfo, parameter: str) -> bool:
    """Return whether the class of `info` has a constructor parameter of that name."""
    return parameter in inspect.signature(library_class(info.method).__init__).parameters


@contextlib.contextmanager
def library_guard(seed: int) -> Iterator[None]:
    """Run the library's code with seeded RNGs that are restored afterwards, and without its prints."""
    with forked_rng(seed), contextlib.redirect_stdout(io.StringIO()):
        yield


def construct(
    info: AttackInfo, params: Mapping[str, ParameterValue], model: nn.Module, *, classes: int, seed: int
) -> Any:
    """Return the library's attack object, with the number of classes and the seed set if it takes them.

    Raises whatever the class raises if it rejects its parameters.
    """
    arguments: dict[str, Any] = dict(params)
    if takes(info, "n_classes"):
        # The library turns n_classes into n_classes - 1 targets.
        arguments["n_classes"] = min(MOST_TARGETS, classes - 1) + 1
    if takes(info, "seed"):
        arguments["seed"] = seed % 2**31
    return library_class(info.method)(model, **arguments)


def run_library(
    info: AttackInfo,
    params: Mapping[str, ParameterValue],
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    classes: int,
    seeds: list[int],
) -> Tensor:
    """Run one torchattacks class on one batch and return its candidate adversarial inputs.

    Args:
        info, params: the attack and its constructor arguments (the budget under its own name).
        model: in eval mode with frozen parameters; maps [0, 1] to logits.
        inputs: images (n, C, H, W).
        labels: true labels.
        classes: number of the model's outputs.
        seeds: one per sample; the library draws for the whole batch, so its randomness depends on which samples share
            the batch.

    Raises:
        ValueError: the inputs are not images.
    """
    if inputs.ndim != 4:
        raise ValueError(f"{info.name} takes images (n, C, H, W), not inputs of shape {tuple(inputs.shape)}")
    seed = derive_seed(*seeds)
    # FAB flattens gradients with `view`, which fails on channels-last inputs.
    images = inputs.contiguous(memory_format=torch.contiguous_format)
    with library_guard(seed), torch.enable_grad():
        attack = construct(info, params, Connected(model), classes=classes, seed=seed)
        adv_inputs: Tensor = attack(images, labels).detach()
    if info.method == "torchattacks.DeepFool":
        adv_inputs = (adv_inputs + OVER_THE_BOUNDARY * (adv_inputs - inputs)).clamp(0, 1)
    return adv_inputs.clamp(0, 1) if info.method in LEAVING_THE_BOX else _without_rounding(adv_inputs)


class Connected(nn.Module):
    """A model whose outputs have a gradient, zero where the model hides it: without one the library raises an error."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # not `train`, which would reach the evaluated network

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        if outputs.requires_grad or not (inputs.requires_grad and torch.is_grad_enabled()):
            return outputs
        connected: Tensor = _Unmoved.apply(inputs, outputs)
        return connected


class _Unmoved(torch.autograd.Function):
    """Outputs that do not depend on the inputs as far as the gradient goes."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return outputs.clone()

    @staticmethod
    def backward(ctx: Any, _gradient: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(ctx.saved_tensors[0]), None


def _without_rounding(adv_inputs: Tensor) -> Tensor:
    """Return `adv_inputs` with pixels that leave [0, 1] by rounding only clipped to it."""
    inside = adv_inputs.clamp(0, 1)
    return torch.where((adv_inputs - inside).abs() <= BOX_ROUNDING, inside, adv_inputs)

"""`stein_bench.attack`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stein_bench.api.objects import Objects
from stein_bench.api.untouched import untouched
from stein_bench.api.values import numbers, whole_number
from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.attacks.attack import Attack, attack_seeds, resolve_attacks
from stein_bench.attacks.finding import spec_of_library
from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.suitability import check_attacks, check_tasks
from stein_bench.attacks.verify import verify
from stein_bench.errors import RunError, UsageError, reason
from stein_bench.guard import model_untouched, repeatable_backends
from stein_bench.memory import MemoryLimit
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import BehindProbabilities, recognized, temperature
from stein_bench.normalization.layers import stein_layers
from stein_bench.parts.brought import forgotten
from stein_bench.progress import phase
from stein_bench.render.progress import terminal_progress
from stein_bench.specs import norm_name, parse_number, parse_numbers
from stein_bench.tasks import IGNORE, TASKS, Task, finite_rows, is_single_logit


def attack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attack: str | Callable[..., Any] = "autoattack",
    *,
    eps: float | str | None = None,
    norm: str | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    surrogate: nn.Module | None = None,
    batch_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Return verified adversarial inputs for a batch: one call, as in torchattacks and foolbox.

    Every returned input is finite, in [0, 1] and within the budget, whatever the attack claims; where it found none
    that is, it is the clean input. The model, its flags and buffers, and all random number generators are left as they
    were.

    Args:
        model: maps inputs in [0, 1] (after `mean` and `std`, if given) to logits (n, K).
        inputs: (n, C, …) float32 in [0, 1], on any device.
        labels: (n,) int64, the true classes; (n, H, W) for a class per pixel.
        attack: a spec such as ``"pgd:steps=20"`` (`stein-bench list attacks`), a callable of your own, or an attack
            object of torchattacks, foolbox or adversarial-library.
        eps: the budget, unless the spec has one; by default the attack's own.
        norm: its norm, likewise.
        mean: of the input scaling of the model, one value or one per channel.
        std: standard deviation of the input scaling, likewise.
        surrogate: for ``"transfer."`` attacks the network that they are crafted on, with the same input scaling.
        batch_size: most samples per pass; no verdict of a native attack depends on it. A model that uses batch
            statistics gets all inputs as one batch.
        seed: of everything random; each position in the batch has its own random numbers.
        progress: whether to show progress on stderr.

    Returns:
        Adversarial inputs like `inputs`, on the same device.

    Raises:
        UsageError: an argument is wrong, or the attack does not fit the model.
        RunError: the attack failed or returned inputs that are not finite, leave [0, 1] or exceed its budget.

    Examples:
        >>> import torch, stein_bench
        >>> model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> images, labels = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])
        >>> images[[0, 1], labels] += 0.02  # the class is the brightest channel
        >>> adversarial = stein_bench.attack(model, images, labels, "pgd", eps=4 / 255)
        >>> (model(adversarial).argmax(1) != labels).tolist()
        [True, True]
        >>> bool((adversarial - images).abs().max() <= 4 / 255 + 1e-6)
        True
    """
    with (
        forgotten(),
        untouched(seed, inputs.device.type if isinstance(inputs, Tensor) else "cpu"),
        ExitStack() as stack,
    ):
        if not isinstance(model, nn.Module):
            raise UsageError(f"model is a {type(model).__name__}: give a torch.nn.Module that returns logits.")
        _check_inputs(inputs, labels)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")
        chosen, seed = _resolved(attack, eps, norm), whole_number(seed, "seed")
        stack.enter_context(repeatable_backends())
        stack.enter_context(model_untouched(model))
        model = _in_float32(model)
        device = next((p.device for p in (*model.parameters(), *model.buffers())), inputs.device)
        images, targets = inputs.detach().to(device), labels.to(device)
        wrapped = Preprocessed(model, _values(mean), _values(std), dense=targets.ndim > 1).to(device).eval()
        task, classes = _task(wrapped, images, targets)
        check_tasks([chosen], task.name)
        check_attacks([chosen], model, classes, images.ndim - 1)
        if chosen.info.is_transfer:
            chosen = _crafted(chosen, surrogate, _values(mean), _values(std), device, stack)
        shown = stack.enter_context(terminal_progress(quiet=not progress))
        search = _Search(
            chosen, _attacked_model(chosen, wrapped, images), wrapped, task, classes, _depends_on_batch(model)
        )
        size = len(images) if search.whole else batch_size
        found = []
        with phase(shown, f"attack {chosen.name}", len(images)):
            for first in range(0, len(images), size):
                rows = slice(first, min(first + size, len(images)))
                ids = [str(number) for number in range(rows.start, rows.stop)]
                found.append(search.verified(images[rows], targets[rows], attack_seeds(seed, chosen, ids)))
                shown.advance(len(ids))
    return torch.cat(found).to(inputs.device)


@dataclass(frozen=True)
class _Search:
    """An attack on a model.

    Attributes:
        attack: the attack.
        target: the model that it attacks: `model` itself, the logits behind its probabilities, or a surrogate.
        model: the model that verifies.
        task, classes: the task, and the number of classes.
        whole: whether predictions depend on the batch, so that it is not split.
    """

    attack: Attack
    target: nn.Module
    model: Preprocessed
    task: Task
    classes: int
    whole: bool

    def verified(self, inputs: Tensor, labels: Tensor, seeds: list[int]) -> Tensor:
        """Return the verified adversarial inputs of one batch; clean ones where there are none within the budget.

        Raises:
            RunError: the attack failed, or one is invalid.
        """
        attack = self.attack

        def part(rows: slice) -> Tensor:
            return attack.run(
                self.target, inputs[rows], labels[rows], self.task,
                classes=self.classes, seeds=seeds[rows], batch_dependent=self.whole,
            )  # fmt: skip

        with model_untouched(self.target):
            if self.whole or attack.info.backend != "native":  # others draw their random numbers for the whole batch
                candidates = part(slice(None))
            else:
                candidates = torch.cat(MemoryLimit(len(seeds)).in_parts(len(seeds), part))
        verdicts = verify(
            self.model, inputs, candidates, labels, self.task,
            norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps,
        )  # fmt: skip
        if count := int(verdicts.invalid.sum()):
            raise RunError(
                f"attack {attack.name} is untrustworthy: {count} of {len(inputs)} adversarial inputs are outside the "
                "ε-ball or [0, 1], not finite, or give outputs that are not finite."
            )
        void = torch.from_numpy(verdicts.void).to(inputs.device)
        return torch.where(per_sample(void, inputs), inputs, candidates)


MOST_FOR_TEMPERATURE = 100
"""So many inputs tell how far the logits behind probabilities are to be scaled."""


@torch.no_grad()
def _attacked_model(attack: Attack, model: Preprocessed, inputs: Tensor) -> nn.Module:
    if attack.surrogate is not None:
        return attack.surrogate
    probabilities = recognized(model, inputs[:2])
    if probabilities is None:
        return model
    found = temperature(BehindProbabilities(model, probabilities)(inputs[:MOST_FOR_TEMPERATURE]))
    return BehindProbabilities(model, replace(probabilities, temperature=found))


def _in_float32(model: nn.Module) -> nn.Module:
    """Return the model, of one in another precision a copy: attacks need float32."""
    if all(p.dtype == torch.float32 for p in model.parameters() if p.is_floating_point()):
        return model
    return copy.deepcopy(model).float().eval()


def _resolved(attack: Any, eps: float | str | None, norm: str | None) -> Attack:
    if eps is not None:
        eps = float(parse_number(str(eps), "eps"))
    specs = Objects().each("attack", [attack], spec_of_library) or ()
    named = None if norm is None else norm_name(str(norm))
    if norm is not None and named is None:
        raise UsageError(f"norm {norm!r} is none of Linf, L2, L1, L0.")
    found = resolve_attacks(specs, None if eps is None else (float(eps),), norm=named)[0]
    if eps is not None and found.eps != float(eps):
        raise UsageError(f"attack {attack!r} names a budget of its own: leave out eps={eps:g}.")
    if found.info.is_corruption:
        raise UsageError(f"{found.name} is a corruption, not an attack: use stein_bench.evaluate.")
    if found.name == ADAPTIVE:
        raise UsageError("the adaptive attack needs a whole evaluation: stein_bench.evaluate(…, adaptive=True).")
    return found


def _check_inputs(inputs: Any, labels: Any) -> None:
    for name, value in (("inputs", inputs), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise UsageError(f"{name} must be a tensor, not a {type(value).__name__}.")
    if inputs.dtype != torch.float32:
        raise UsageError(f"inputs are {inputs.dtype}: give float32 in [0, 1], e.g. inputs.float() / 255 for 8 bits.")
    if inputs.ndim < 2 or len(inputs) == 0 or labels.ndim == 0 or len(inputs) != len(labels):
        raise UsageError(f"inputs of shape {tuple(inputs.shape)} and labels of shape {tuple(labels.shape)} do not fit.")
    if labels.dtype != torch.int64:
        raise UsageError(f"labels are {labels.dtype}: give int64 classes, e.g. labels.long().")
    if not bool(finite_rows(inputs).all()) or inputs.min() < 0 or inputs.max() > 1:
        raise UsageError(
            f"inputs are between {inputs.min():.4g} and {inputs.max():.4g}: they must be finite and in [0, 1]; leave "
            "scaling to the model, or give mean and std."
        )


def _task(model: Preprocessed, inputs: Tensor, labels: Tensor) -> tuple[Task, int]:
    """Return the task that fits labels and outputs, and the number of classes."""
    try:
        with torch.no_grad():
            outputs = model(inputs[:2])
    except (RuntimeError, ValueError, TypeError) as error:
        shape = tuple(inputs.shape[1:])
        raise UsageError(f"the model rejects inputs of shape {shape}: {reason(error)}.") from error
    dense = labels.ndim > 1
    two = not dense and is_single_logit(outputs)
    task = TASKS["segmentation" if dense else "binary" if two else "classification"]
    counted = labels[labels != IGNORE] if dense else labels
    if not counted.numel():
        raise UsageError("no pixel of labels has a class.")
    largest = int(counted.max())
    if int(labels.min()) < 0:
        raise UsageError(f"labels go down to {int(labels.min())}: classes are numbered from 0.")
    return task, task.check(outputs, len(inputs[:2]), largest + 1)


def _crafted(
    chosen: Attack, surrogate: nn.Module | None, mean: Sequence[float], std: Sequence[float], device: torch.device,
    stack: ExitStack,
) -> Attack:  # fmt: skip
    if not isinstance(surrogate, nn.Module):
        raise UsageError(
            f"attack {chosen.name} is crafted on another network: give it as surrogate, a torch.nn.Module."
        )
    stack.enter_context(model_untouched(surrogate))
    return chosen.crafted_on(Preprocessed(surrogate, mean, std).to(device).eval(), type(surrogate).__name__, "")


def _depends_on_batch(model: nn.Module) -> bool:
    """Return whether a prediction depends on the batch: BN layers that use its statistics."""
    plain = any(isinstance(layer, _BatchNorm) and layer.running_mean is None for layer in model.modules())
    return plain or any(layer.stats == "batch" for _, layer in stein_layers(model))


def _values(values: Any) -> tuple[float, ...]:
    """Return mean or std as a tuple, whatever they come in."""
    found = parse_numbers(values, "mean or std") if isinstance(values, str) else numbers(values)
    return found if isinstance(found, tuple) else (float(found),)

"""A model with gradients where it hides them: its forward pass recorded, then replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stein_bench.models.recorded.replay import Replay
from stein_bench.models.recorded.rules import NAMED
from stein_bench.models.recorded.tape import Entry, Forward, Resemblance, Site, Tape, correlation, record, refs

AGREEING = 0.9
"""Least share of samples whose largest score must be the predicted class for scores to be the logits of a model."""
SCALING = (
    "view", "reshape", "add", "sub", "mul", "div", "clone", "detach", "alias", "to_copy", "slice", "select",
    "empty_like", "zeros_like", "ones_like", "full_like",
)  # fmt: skip
"""Operations that are no transformation of the input by themselves."""
TRANSFORMED = 0.7
"""Least correlation with the input at which a tensor of its shape counts as a transformed input."""


@dataclass(frozen=True)
class Reading:
    """Where the logits are read, and how.

    Attributes:
        back: number of tensors of the outputs' shape that come after them; None for the outputs themselves.
        temperature: they are divided by it.
        operation: what the model does with them first, such as ``softmax``; ``""`` if they are the outputs.
        transformed: number of tensors of the inputs' shape that come after the last that is a transformed input; None
            if there is none. As for the logits it is fixed once, so that no gradient depends on the batch.
        resemblance: which tensors were judged to be copies of others.
    """

    back: int | None = None
    temperature: float = 1.0
    operation: str = ""
    transformed: int | None = None
    resemblance: Resemblance = field(default_factory=Resemblance, compare=False)


@dataclass(frozen=True)
class Surrogate:
    """An operation that got a surrogate gradient: its name, and where the model's code calls it."""

    operation: str
    site: Site | None


class Relaxed(nn.Module):
    """The logits of a model with surrogate gradients, of the same shape as its outputs.

    They are float64, where the device has it, so that a loss on them tells confident predictions apart: a cross-entropy
    in float32 is 0 from a margin of 17 on. The values are those that the model computes without gradients; only the
    gradients differ from its own.

    Args:
        model: maps (n, C, …) in [0, 1] to outputs (n, K).
        reading: where the logits are read.
        bypass: whether the gradient skips all that the model does with its input while it keeps its shape and
            resembles it (a defense that transforms the input): from the last such tensor straight to the input.
        remove: whether those steps are left out, so that the values too are those of the network behind them.
    """

    def __init__(self, model: Forward, reading: Reading, *, bypass: bool = False, remove: bool = False) -> None:
        super().__init__()
        self.model, self.reading, self.bypass, self.remove = model, reading, bypass or remove, remove
        self.training = bool(getattr(model, "training", False))  # not `train`, which would reach the evaluated network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of `inputs`."""
        tape, outputs = record(self.model, inputs, resemblance=self.reading.resemblance)
        index = self._index(tape, outputs)
        wanted = torch.is_grad_enabled() and inputs.requires_grad
        if index is None:
            found = outputs
        elif wanted or self.remove:
            replay = Replay(tape, self._skipped(tape) if self.bypass else None, removed=self.remove)
            replay.run(inputs)
            _count_replay(self.model, len(inputs), backward=wanted)
            found = replay.value(index)
        else:
            found = tape.tensors[index]
        return _precise(found.reshape(outputs.shape)) / self.reading.temperature

    def _skipped(self, tape: Tape) -> dict[int, int]:
        found = image_tensors(tape)
        if self.reading.transformed is None or self.reading.transformed >= len(found):
            return {}
        return {found[-1 - self.reading.transformed]: 0}

    def _index(self, tape: Tape, outputs: Tensor) -> int | None:
        found = score_tensors(tape, outputs)
        if self.reading.back is not None and self.reading.back < len(found):
            return found[-1 - self.reading.back]
        return tape.place(outputs)


def _precise(logits: Tensor) -> Tensor:
    return logits.float() if logits.device.type == "mps" else logits.double()  # which has no float64


def _count_replay(model: Forward, samples: int, *, backward: bool) -> None:
    """Tell a model that counts its passes of a replay."""
    for counting in (model, getattr(model, "model", None)):  # the second: behind a view of two logits
        add = getattr(counting, "add_passes", None)
        if callable(add):
            add(samples, samples * backward)
            return


def transformation(tape: Tape) -> int | None:
    """Return the last of the `image_tensors` that is a transformed input, as the number of those after it, or None."""
    for number, index in enumerate(reversed(image_tensors(tape))):
        if correlation(tape.tensors[0], tape.tensors[index]) >= TRANSFORMED:
            return number
    return None


def image_tensors(tape: Tape) -> list[int]:
    """Return the floating-point tensors on the tape that have the shape of the inputs, in order, but for those.

    Slices that leave nothing out do not count: up to torch 2.6, ``x[:, 0]`` makes one of the whole of ``x`` first.
    """
    shape = tape.tensors[0].shape
    whole = {
        ref.index
        for entry in tape.entries
        if entry.name == "slice" and tape.tensors[entry.inputs()[0]].shape == shape
        for ref in refs(entry.results)
    }
    return [
        index
        for index, tensor in enumerate(tape.tensors)
        if index > 0 and index not in whole and tensor.shape == shape and tensor.is_floating_point()
    ]


def score_tensors(tape: Tape, outputs: Tensor) -> list[int]:
    """Return the floating-point tensors on the tape that have the shape of the `outputs`, in order."""
    return [
        index
        for index, tensor in enumerate(tape.tensors)
        if tensor.is_floating_point() and tensor.shape[:2] == outputs.shape[:2] and tensor.numel() == outputs.numel()
    ]


@torch.no_grad()
def read_logits(model: Forward, inputs: Tensor) -> Reading:
    """Return where the logits of `model` are read: at the first tensor with the same predictions as its outputs.

    That is before a softmax, saturated or not, a rounding, or one-hot outputs. Its temperature brings the largest
    difference between the two largest logits to between 1 and 40.
    """
    resemblance = Resemblance()
    tape, outputs = record(model, inputs, resemblance=resemblance)
    found = score_tensors(tape, outputs)
    predicted, transformed = outputs.argmax(dim=1), transformation(tape)
    for number, index in enumerate(found):
        scores = tape.tensors[index].reshape(outputs.shape)
        if float((scores.argmax(dim=1) == predicted).float().mean()) >= AGREEING:
            own = index == tape.place(outputs)
            follower = next((entry.name for entry in tape.entries if index in entry.inputs()), "")
            operation = "" if own else follower.strip("_")
            return Reading(len(found) - 1 - number, _temperature(scores), operation, transformed, resemblance)
    return Reading(None, _temperature(outputs), transformed=transformed, resemblance=resemblance)


def _temperature(scores: Tensor) -> float:
    """Return the power of two that brings the largest gap between the two largest scores to between 10 and 20."""
    first, second = scores.double().nan_to_num(0.0, 0.0, 0.0).topk(2, dim=1).values.unbind(dim=1)
    gap, power = float((first - second).max()), 1.0
    if gap <= 0:
        return 1.0
    while gap / power > 40:
        power *= 2
    while gap / power < 1:
        power /= 2
    return power


def surrogates(model: Forward, inputs: Tensor) -> list[Surrogate]:
    """Return the operations of a forward pass whose gradients are surrogates, each place in the code once."""
    tape, _ = record(model, inputs, NAMED)
    replay = Replay(tape)
    replay.run(inputs.detach().requires_grad_(True))
    return _named(replay.replaced)


def bypassed(model: Forward, inputs: Tensor) -> list[Surrogate]:
    """Return what the transformation of the input consists of (`transformation`), but for scaling and shifting."""
    tape, _ = record(model, inputs, _Everything())
    last = transformation(tape)
    found = set() if last is None else {image_tensors(tape)[-1 - last]}
    entries = []
    for entry in reversed(tape.entries):
        if any(ref.index in found for ref in refs(entry.results)):
            found |= set(entry.inputs())
            entries.append(entry)
    return _named([entry for entry in reversed(entries) if entry.name.strip("_") not in SCALING])


class _Everything:
    def __contains__(self, name: object) -> bool:
        return True


def _named(entries: Sequence[Entry]) -> list[Surrogate]:
    return list(dict.fromkeys(Surrogate(entry.name.strip("_"), entry.site) for entry in entries))

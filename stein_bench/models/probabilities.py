"""Models that return probabilities instead of logits, and the logits behind them.

A softmax or sigmoid at the end of a network saturates in float32: probabilities become exactly 0 or 1, the gradient of
any loss becomes exactly 0, and gradient attacks find nothing. The prediction does not change, so attacks work on what
went into the softmax or sigmoid, and every adversarial input is still verified on the model's own outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stein_bench.models.preprocessing import Preprocessed

SUM_ERROR = 1e-3
"""Largest difference of a row's sum from 1; float32 softmaxes stay below 1e-5, bfloat16 ones below 1e-2."""
BFLOAT16_SUM_ERROR = 2e-2
LARGEST_GAP = 40.0
"""Logits are divided by a power of two so that the largest exceeds the second by less than this: the cross-entropy of
larger gaps has gradients that are lost in float32, where e^-104 is 0."""

NAMES = {
    "softmax": "softmax", "_softmax": "softmax", "special_softmax": "softmax", "softmax_": "softmax",
    "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "special_expit": "sigmoid",
}  # fmt: skip
"""Functions of torch that return probabilities → which of the two they are."""

Function = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Probabilities:
    """How a model's outputs are probabilities.

    Attributes:
        function: ``softmax``, whose rows sum to 1, or ``sigmoid``, one probability per output.
        found: whether what went into that function can be read while the model runs; otherwise logits are the logarithm
            of the outputs, computed in float64.
        in_float64: whether a copy of the network runs in float64 for that.
        temperature: the logits are divided by it.
    """

    function: Function
    found: bool
    in_float64: bool = False
    temperature: float = 1.0


def are_probabilities(outputs: Tensor, error: float = SUM_ERROR) -> bool:
    """Return whether all rows of `outputs` (n, K, …), K of at least 2, are at least 0 and sum to 1 over K."""
    if outputs.ndim < 2 or outputs.shape[1] < 2 or outputs.numel() == 0:
        return False
    rows = outputs.double()
    return bool((rows >= 0).all()) and bool(((rows.sum(dim=1) - 1).abs() <= error).all())


@torch.no_grad()
def recognized(model: Preprocessed, inputs: Tensor) -> Probabilities | None:
    """Return how the outputs of `model` for `inputs` are probabilities, or None if they are not.

    A sigmoid is recognized only where it is seen to produce the outputs: logits between 0 and 1 are possible.
    """
    with _watched() as last:
        outputs = model.scores(inputs)
    function = last.function if last.scores_of(outputs) is not None else None
    if function == "sigmoid":
        return Probabilities("sigmoid", found=True)
    if not are_probabilities(outputs, BFLOAT16_SUM_ERROR if model.precision == "bf16" else SUM_ERROR):
        return None
    if function == "softmax":
        return Probabilities("softmax", found=True)
    return Probabilities("softmax", found=False, in_float64=_runs_in_float64(model, inputs))


class BehindProbabilities(nn.Module):
    """The logits behind a model's probabilities, float32 of the same shape; the prediction is the same.

    Args:
        model: returns probabilities; the result shares its network, or has a float64 copy of it.
        how: as `recognized` found it.
    """

    def __init__(self, model: Preprocessed, how: Probabilities) -> None:
        super().__init__()
        self.model, self.how = model, how
        self.wide = _in_float64(model) if how.in_float64 else None
        self.training = model.training  # not `train`, which would reach the evaluated network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of `inputs` (n, C, …) in [0, 1], divided by the temperature."""
        if self.wide is not None:
            scores = _logarithm(self.wide.scores(inputs.double()))
        elif not self.how.found:
            scores = _logarithm(self.model.scores(inputs).double())
        else:
            with _watched() as last:
                outputs = self.model.scores(inputs)
            seen = last.scores_of(outputs)
            scores = _inverse(outputs.double(), self.how.function) if seen is None else seen
        return (scores / self.how.temperature).float()


@torch.no_grad()
def temperature(logits: Tensor) -> float:
    """Return the power of two, at least 1, that brings the gaps between the two largest `logits` below `LARGEST_GAP`.

    Logits are (n, K, …), or (n,) or (n, 1), whose gap is to 0. A power of two leaves mantissas alone and is hardly ever
    affected by rounding errors of the logits.
    """
    finite = logits.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    if finite.ndim > 1 and finite.shape[1] > 1:
        first, second = finite.topk(2, dim=1).values.unbind(dim=1)
        gap = first - second
    else:
        gap = finite.abs()
    largest, power = float(gap.max()) if gap.numel() else 0.0, 1.0
    while largest / power > LARGEST_GAP:
        power *= 2
    return power


class _Last(TorchFunctionMode):
    """Remembers the last softmax or sigmoid of a forward pass: its input and its result."""

    def __init__(self) -> None:
        super().__init__()
        self.function: Function | None = None
        self._pair: tuple[Tensor, Tensor] | None = None
        self._version: int | None = None

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = NAMES.get(getattr(func, "__name__", "").partition(".")[0])
        if name is None:
            return func(*args, **(kwargs or {}))
        scores = args[0] if args else next(iter((kwargs or {}).values()), None)
        scores = scores.clone() if isinstance(scores, Tensor) and func.__name__.endswith("_") else scores
        result = func(*args, **(kwargs or {}))
        if isinstance(scores, Tensor) and isinstance(result, Tensor):
            self.function, self._pair = ("sigmoid" if name == "sigmoid" else "softmax"), (scores, result)
            self._version = _version(result)
        return result

    def scores_of(self, outputs: Tensor) -> Tensor | None:
        """Return what went into the function that made `outputs`; None if they were made by anything else."""
        if self._pair is None:
            return None
        scores, result = self._pair
        if _version(result) != self._version:  # changed in place, as in sigmoid(z).mul_(2).sub_(1)
            return None
        if result.untyped_storage().data_ptr() != outputs.untyped_storage().data_ptr():
            return None
        if (result.shape, result.stride()) == (outputs.shape, outputs.stride()):
            return scores
        alike = result.numel() == outputs.numel() and result.is_contiguous() and outputs.is_contiguous()
        return scores.reshape(outputs.shape) if alike else None


def _version(tensor: Tensor) -> int | None:
    """Return how often `tensor` was changed in place; None in inference mode, which does not count."""
    return None if tensor.is_inference() else tensor._version


@contextmanager
def _watched() -> Iterator[_Last]:
    with _Last() as last:
        yield last


def _logarithm(probabilities: Tensor) -> Tensor:
    """Return the logarithm of float64 probabilities, finite where they are 0."""
    return probabilities.clamp_min(torch.finfo(torch.float64).tiny).log()


def _inverse(probabilities: Tensor, function: Function) -> Tensor:
    if function == "softmax":
        return _logarithm(probabilities)
    return _logarithm(probabilities) - _logarithm(1 - probabilities)


def _in_float64(model: Preprocessed) -> Preprocessed:
    network = copy.deepcopy(model.network).double()
    scaling = model.mean.tolist(), model.std.tolist()
    wide = Preprocessed(network, *scaling, dense=model.dense).double().to(model.mean.device)
    wide.training = model.training
    return wide


def _runs_in_float64(model: Preprocessed, inputs: Tensor) -> bool:
    """Return whether a float64 copy of the network works, and computes the same function."""
    try:
        outputs = _in_float64(model).scores(inputs.double())
    except Exception:  # noqa: BLE001  (any network that insists on float32)
        return False
    return outputs.dtype == torch.float64 and bool(
        torch.allclose(outputs.float(), model.scores(inputs).float(), atol=1e-2)
    )

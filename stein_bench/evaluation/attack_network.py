"""The attack network: what attacks run for their own passes, which may be faster than the network that verifies.

It has the weights and buffers of the evaluated network and differs only in how it is run: through ``torch.compile``,
at another precision, in another memory format. Nothing that it predicts enters a result: the evaluated model verifies
every adversarial input. How often its own verdict would have been another is counted (`disagreements`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stein_bench.attacks.verify import finite_or_clean
from stein_bench.evaluation.units import Columns
from stein_bench.guard import model_untouched, tensor_float32
from stein_bench.host import download
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import BehindProbabilities, Probabilities
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.report.metric_columns import is_metric
from stein_bench.statistics.rates import Bits
from stein_bench.tasks import Task

SMALLEST = 8
"""Smaller batches are padded to this size: every size is compiled, which takes far longer than it could save."""
MOST_PROGRAMS = 256
"""Compiled programs kept for one function: batch sizes, with and without gradients, for every variant. Beyond torch's
own limit of 8 it would silently run uncompiled."""

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def padded_sizes(batch_size: int) -> tuple[int, ...]:
    """Return the few sizes that batches of up to `batch_size` are padded to: powers of two, then `batch_size` itself.

    >>> padded_sizes(100)
    (8, 16, 32, 64, 100)
    """
    powers = (2**exponent for exponent in range(batch_size.bit_length()))
    return (*(size for size in powers if SMALLEST <= size < batch_size), batch_size)


class AttackNetwork(nn.Module):
    """The evaluated model, run as `how` says. Its gradients with respect to the inputs are float32 and contiguous.

    Args:
        model: the network behind its input scaling, at the precision and in the memory format of `how`.
        how: what differs from the evaluated model.
        sizes: the sizes that batches are padded to, ascending; larger batches are split. Padding repeats a row, whose
            outputs are dropped and receive no gradient. Empty if predictions depend on the batch, which is then
            passed on as it is.
    """

    def __init__(self, model: nn.Module, how: AttackNetworkInfo, sizes: Sequence[int] = ()) -> None:
        super().__init__()
        self.model, self.how, self._sizes = model, how, tuple(sizes)
        # No CUDA graphs (mode "reduce-overhead"): each run would overwrite the outputs of the one before, which attacks
        # keep, and the graph of a forward pass whose backward pass is still to come.
        self._call: Callable[[Tensor], Tensor] = (
            torch.compile(model.forward, dynamic=False) if how.compile else model.__call__
        )
        self.training = model.training  # not `train`, which would reach the evaluated network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the float32 logits of `inputs` (n, C, …) in [0, 1]."""
        if not self._sizes or len(inputs) == 0:
            return self._whole(inputs)
        outputs = [self._padded(part) for part in torch.split(inputs, self._sizes[-1])]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _padded(self, inputs: Tensor) -> Tensor:
        missing = next(size for size in self._sizes if size >= len(inputs)) - len(inputs)
        if not missing:
            return self._whole(inputs)
        filling = inputs[:1].detach().expand(missing, *inputs.shape[1:])
        return self._whole(torch.cat((inputs, filling)))[: len(inputs)]

    def _whole(self, inputs: Tensor) -> Tensor:
        arranged: Tensor = _Arranged.apply(inputs, ORDERS[self.how.memory_format])
        apart = self.how.compile or self.how.precision == "tf32"
        outputs: Tensor = _Pass.apply(arranged, self) if apart and arranged.requires_grad else self.run(arranged)
        return outputs.contiguous()

    def run(self, arranged: Tensor) -> Tensor:
        """Return the logits of a batch that is arranged and padded."""
        with self.switches():
            return self._call(arranged)

    @contextmanager
    def switches(self) -> Iterator[None]:
        """Run a forward or backward pass with the settings of torch that `how` asks for."""
        with (
            tensor_float32() if self.how.precision == "tf32" else nullcontext(),
            _many_programs() if self.how.compile else nullcontext(),
        ):
            yield


class _Arranged(torch.autograd.Function):
    """Another memory format for the inputs, not for their gradient, which attacks of torchattacks flatten."""

    @staticmethod
    def forward(_: Any, inputs: Tensor, memory_format: torch.memory_format) -> Tensor:
        return inputs.contiguous(memory_format=memory_format).view_as(inputs)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.contiguous(), None


class _Pass(torch.autograd.Function):
    """A pass with a graph of its own, so that its settings hold in the backward pass too; only inputs get a gradient.

    The backward pass of a compiled network may run once, and on CUDA no setting of this thread changes that. Attacks of
    torchattacks ask for several gradients: from the second one on, the forward pass is repeated.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, network: AttackNetwork) -> Tensor:
        ctx.network = network
        ctx.save_for_backward(inputs)
        own, outputs = _Pass.graph(inputs, network)
        ctx.graph = own, outputs
        return outputs.detach()

    @staticmethod
    def graph(inputs: Tensor, network: AttackNetwork) -> tuple[Tensor, Tensor]:
        """Return inputs and outputs of a new forward pass."""
        with torch.enable_grad():
            own = inputs.detach().requires_grad_(True)
            return own, network.run(own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        inputs, outputs = ctx.graph or _Pass.graph(ctx.saved_tensors[0], ctx.network)
        ctx.graph = None
        found = None
        if outputs.requires_grad:  # not if the network hides its gradients
            with ctx.network.switches():
                (found,) = torch.autograd.grad(outputs, inputs, gradient, allow_unused=True)
        return torch.zeros_like(inputs) if found is None else found, None


def _many_programs() -> AbstractContextManager[object]:
    """Let torch keep a program for every batch size instead of running the later ones uncompiled."""
    import torch._dynamo.config as dynamo  # takes a second to import

    patched: AbstractContextManager[object] = dynamo.patch(
        cache_size_limit=MOST_PROGRAMS, accumulated_cache_size_limit=MOST_PROGRAMS
    )
    return patched


def attack_network(
    evaluated: Preprocessed,
    how: AttackNetworkInfo | None,
    batch_size: int,
    *,
    batch_dependent: bool,
    probabilities: Probabilities | None = None,
) -> nn.Module | None:
    """Return the network for attacks on `evaluated`; None if that is to be attacked itself.

    Args:
        evaluated: the evaluated model; the result shares its network or, in another memory format, has a copy of it.
        how: what differs, as `with_attack_network` decided.
        batch_size: samples per batch.
        batch_dependent: whether predictions depend on the batch, which is then never padded.
        probabilities: what the evaluated model returns instead of the logits, which attacks use.
    """
    if how is None or is_evaluated(how, evaluated):
        return None if probabilities is None else BehindProbabilities(evaluated, probabilities)
    network = evaluated.network
    if how.memory_format == "channels_last":
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)
    precision = "bf16" if how.precision == "bf16" else "fp32"
    model = Preprocessed(
        network, evaluated.mean.tolist(), evaluated.std.tolist(), precision,
        single_probability=evaluated.single_probability, dense=evaluated.dense,
    ).to(evaluated.mean.device)  # fmt: skip
    sizes = padded_sizes(batch_size) if how.compile and not batch_dependent else ()
    model.training = evaluated.training
    attacked = model if probabilities is None else BehindProbabilities(model, probabilities)
    return AttackNetwork(attacked, how, sizes)


@torch.no_grad()
def disagreements(
    model: nn.Module, inputs: Tensor, adv_inputs: Tensor, labels: Tensor, task: Task, verified: Columns
) -> Bits:
    """Return on which samples the attack network's own verdict on the adversarial input differs from the verified one.

    A verdict is whether the sample is correct, with finite outputs; for segmentation the pixel counts of every class.

    Args:
        model: the attack network.
        inputs, adv_inputs, labels: the batch; inputs that are not finite are replaced as in `verify`.
        task: the run's task.
        verified: the task's columns of the evaluated model.
    """
    with model_untouched(model):
        found = download(task.outcomes(model(finite_or_clean(adv_inputs, inputs)), labels))
    names = ("correct",) if "correct" in verified else tuple(name for name in verified if not is_metric(name))
    differs = np.zeros(len(inputs), np.bool_)
    for name in names:
        differs |= (found[name] != verified[name]).reshape(len(inputs), -1).any(axis=1)
    return differs


def is_evaluated(how: AttackNetworkInfo, evaluated: Preprocessed) -> bool:
    """Return whether nothing differs from the evaluated model."""
    return (how.compile, how.precision, how.memory_format) == (False, evaluated.precision, "contiguous")

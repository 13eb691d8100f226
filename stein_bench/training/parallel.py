"""Gradients that are those of all processes' parts of a batch together."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stein_bench.distributed import world_size
from stein_bench.guard import copied_state, forked_rng


def averaging_gradients(model: nn.Module, run: nn.Module, trial_loss: Callable[[], Tensor]) -> nn.Module:
    """Return what trains in place of `run`: itself or, among several processes, what averages its gradients.

    Args:
        model: holds the parameters.
        run: runs it, perhaps compiled.
        trial_loss: computes a loss by the model, to see which parameters it leaves unused.
    """
    if world_size() == 1:
        return run
    unused = _leaves_parameters_unused(model, trial_loss)
    with warnings.catch_warnings():
        # Later versions of torch have another name for it, which 2.6 does not know.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        # Buffers need no copying: they are equal everywhere, as the moments are.
        return DistributedDataParallel(run, broadcast_buffers=False, find_unused_parameters=unused)


def _leaves_parameters_unused(model: nn.Module, trial_loss: Callable[[], Tensor]) -> bool:
    """Return whether training reaches no gradient in some parameters, such as those of auxiliary classifiers."""
    before = copied_state(model)
    model.train()
    with forked_rng(0):
        trial_loss().backward()  # type: ignore[no-untyped-call]
    unused = any(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    model.zero_grad(set_to_none=True)
    model.load_state_dict(before)
    return unused

"""Gradients averaged over the processes that share a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stein_bench.distributed import world_size
from stein_bench.guard import copied_state, forked_rng


def averaging_gradients(model: nn.Module, run: nn.Module, trial_loss: Callable[[], Tensor]) -> nn.Module:
    """Return `run` itself or, with several processes, a wrapper that averages its gradients.

    Args:
        model: holds the parameters.
        run: the same model as it is called, possibly compiled.
        trial_loss: computes a loss with the model, to find parameters that get no gradient.
    """
    if world_size() == 1:
        return run
    unused = _leaves_parameters_unused(model, trial_loss)
    with warnings.catch_warnings():
        # Later versions of torch renamed it; 2.6 only has this name.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        # Buffers need no broadcast: they are equal in all processes, since the moments are.
        return DistributedDataParallel(run, broadcast_buffers=False, find_unused_parameters=unused)


def _leaves_parameters_unused(model: nn.Module, trial_loss: Callable[[], Tensor]) -> bool:
    """Return whether some parameters, such as those of auxiliary classifiers, get no gradient in training."""
    before = copied_state(model)
    model.train()
    with forked_rng(0):
        trial_loss().backward()  # type: ignore[no-untyped-call]
    unused = any(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    model.zero_grad(set_to_none=True)
    model.load_state_dict(before)
    return unused

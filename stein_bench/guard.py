"""Context managers that restore state: model flags and gradients, RNG, backend switches, logging."""

from __future__ import annotations

import logging
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def model_untouched(model: nn.Module) -> Iterator[None]:
    """Evaluate with `model` in eval mode and its parameters frozen; restore everything afterwards.

    ``training`` of every module, ``requires_grad`` and ``grad`` of every parameter and every buffer with
    its values are restored, also when the body raises or is interrupted.
    """
    # A frozen TorchScript module has no flag.
    training = {module: module.training for module in model.modules() if hasattr(module, "training")}
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    buffers = _Buffers(model)
    try:
        model.eval()
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, requires_grad, grad in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        buffers.restore()


class _Buffers:
    """The buffers of a model and a copy of their values.

    The copy is one tensor per data type and device, because on a GPU the host waits for the result of every comparison.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            (module, name, buffer)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for _, _, buffer in self._places:
            self._groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
        self._values = {key: _packed(group) for key, group in self._groups.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put the buffers back and restore the values of those that have changed."""
        for module, name, buffer in self._places:
            module._buffers[name] = buffer  # a model may have put another tensor in its place
        if self._unchanged():
            return
        for key, group in self._groups.items():
            values = torch.split(self._values[key], [buffer.numel() for buffer in group])
            for buffer, value in zip(group, values, strict=True):
                if not torch.equal(buffer.reshape(-1), value):
                    buffer.copy_(value.view_as(buffer))

    def _unchanged(self) -> bool:
        """Return whether all values are those of the copy; False also if one is NaN."""
        found: dict[torch.device, list[Tensor]] = {}
        for key, group in self._groups.items():
            found.setdefault(key[1], []).append((_packed(group) == self._values[key]).all())
        return all(bool(torch.stack(flags).all()) for flags in found.values())


def _packed(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Run the body with every global RNG (torch, CUDA, NumPy, random) seeded; restore their states afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    # Leave CUDA alone if it is not initialized: asking for its RNG state would initialize it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        try:
            _seed_torch(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _seed_torch(seed: int) -> None:
    """Seed torch's global generators, as `torch.manual_seed` does, but of the devices that there are.

    For any other kind of device that function stores the call with its stack, in case the device appears: a millisecond
    and some kilobytes each time, which count where every draw of a random model has a seed.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and not torch.cuda._is_in_bad_fork():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def draws_random_numbers(function: Callable[[], object]) -> bool:
    """Return whether `function` draws from a global RNG; their states are left as they were."""

    def states() -> bytes:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        drawn = [state.numpy() for state in (torch.get_rng_state(), *cuda)]
        return pickle.dumps((random.getstate(), np.random.get_state(), drawn))

    with forked_rng(0):
        before = states()
        function()
        return states() != before


@contextmanager
def repeatable_backends() -> Iterator[None]:
    """Ask for same-device repeatability: deterministic cuDNN, no TF32, no autotuning; restore the switches.

    Kernels without a deterministic version still run (torch would only warn).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    try:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@contextmanager
def tensor_float32() -> Iterator[None]:
    """Let CUDA multiply matrices and convolve in TF32 (inputs of 10 bits of mantissa); restore the switches."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32)
    try:
        cudnn.allow_tf32, matmul.allow_tf32 = True, True
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep libraries from logging, with sources and tracebacks, a failure that is raised anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's state, unaffected by further training."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

"""Functions of torch that make tensors on a device given by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.imitation.device import Device
from tests.imitation.generators import is_cuda
from tests.imitation.mimic import Mimic, move

ON_THE_DEVICE = (
    "arange", "bartlett_window", "blackman_window", "empty", "empty_like", "empty_permuted", "empty_strided", "eye",
    "full", "full_like", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones",
    "ones_like", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "range",
    "scalar_tensor", "tril_indices", "triu_indices", "zeros", "zeros_like",
)  # fmt: skip
"""Made where they are needed, without a copy."""
FOLLOWING = ("normal", *(name for name in ON_THE_DEVICE if name.endswith("_like")))
"""Those that are made where their first argument is, unless a device is given."""
FROM_THE_HOST = ("as_tensor", "asarray", "tensor")
"""Made of Python's or NumPy's numbers, which are copied to the device."""


def replace(patch: pytest.MonkeyPatch, device: Device) -> None:
    """Replace the functions."""
    for name in ON_THE_DEVICE:
        patch.setattr(torch, name, _made_there(getattr(torch, name), device, follows=name in FOLLOWING))
    for name in FROM_THE_HOST:
        patch.setattr(torch, name, _copied_there(getattr(torch, name), device))


def _made_there(real: Callable[..., Tensor], device: Device, follows: bool) -> Callable[..., Tensor]:
    def make(*args: Any, **kwargs: Any) -> Tensor:
        where, generator = kwargs.get("device"), kwargs.get("generator")
        model = args[0] if follows and isinstance(args[0], Tensor) else None
        kind = _type(where) if where is not None else "cuda" if isinstance(model, Mimic) else "cpu"
        if generator is not None and is_cuda(generator) != (kind == "cuda"):
            found = "cuda" if is_cuda(generator) else "cpu"
            raise RuntimeError(f"Expected a '{kind}' device type for generator but found '{found}'")
        if isinstance(model, Mimic) and kind == "cuda":
            kwargs.pop("device", None)
            return real(*args, **kwargs)
        args = tuple(
            argument.inner if argument is model and isinstance(model, Mimic) else argument for argument in args
        )
        if kind != "cuda":
            return _pinned_if_asked(real, device, args, kwargs)
        gradient = kwargs.pop("requires_grad", False)
        return Mimic(real(*args, **{**kwargs, "device": "cpu"})).requires_grad_(gradient)

    return make


def _copied_there(real: Callable[..., Tensor], device: Device) -> Callable[..., Tensor]:
    def make(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        where = kwargs.get("device")
        if where is None or _type(where) != "cuda":
            if isinstance(data, Mimic) and where is not None:
                data = move(data, torch.device("cpu"))
            return _pinned_if_asked(real, device, (data, *args), kwargs)
        kwargs.pop("device")
        gradient = kwargs.pop("requires_grad", False)
        made = move(real(data, *args, **kwargs), torch.device("cuda"))
        return made.requires_grad_() if gradient else made

    return make


def _pinned_if_asked(real: Callable[..., Tensor], device: Device, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    if kwargs.pop("pin_memory", False):
        return device.pinned.add(real(*args, **kwargs))
    return real(*args, **kwargs)


def _type(device: Any) -> str:
    return "cuda" if isinstance(device, int) else torch.device(device).type

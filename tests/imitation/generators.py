"""Random numbers of the imitated device: generators that say ``cuda`` and draw what the CPU draws."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch

_CUDA: WeakValueDictionary[int, Generator] = WeakValueDictionary()
"""Those for the device, by the address of torch's generator: operations are passed another Python object for it."""


class Generator(torch.Generator):
    """`torch.Generator`, which draws on the CPU for ``cuda`` too."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, device="cpu")
        made.kind = torch.device(device)
        if made.kind.type == "cuda":
            _CUDA[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    device = property(lambda self: self.kind)


def is_cuda(generator: torch.Generator) -> bool:
    """Return whether the generator is one of the imitated device."""
    return generator._cdata in _CUDA

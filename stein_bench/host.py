"""Copies between the host and a device that make the host wait as seldom as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor`, which is on the CPU, on `device`.

    On CUDA it is copied from pinned memory, for which the host does not wait: work on the device that was started
    later sees the copy.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def upload_indices(indices: Sequence[int], device: torch.device) -> Tensor:
    """Return positions, int64 (n,), on `device`."""
    return upload(torch.tensor(indices, dtype=torch.long), device)


def download(columns: Mapping[str, Tensor]) -> dict[str, NDArray[np.generic]]:
    """Return tensors of one device, each (n, …), as NumPy arrays of the same types in a single copy.

    Their values must fit float64: integers up to 2⁵³.
    """
    if not columns:
        return {}
    if all(column.device.type == "cpu" for column in columns.values()):
        return {name: column.numpy() for name, column in columns.items()}
    packed = torch.cat([column.double().reshape(-1) for column in columns.values()]).cpu()
    parts = torch.split(packed, [column.numel() for column in columns.values()])
    return {
        name: part.to(column.dtype).reshape(column.shape).numpy()
        for (name, column), part in zip(columns.items(), parts, strict=True)
    }

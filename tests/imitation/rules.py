"""Which operations make the host wait for the device: those whose CUDA versions read a result back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

ALWAYS = {
    "aten::_local_scalar_dense": "item",
    "aten::equal": "equal",
    "aten::allclose": "allclose",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "masked_select",
    "aten::unique_dim": "unique",
    "aten::_unique": "unique",
    "aten::_unique2": "unique",
    "aten::unique_consecutive": "unique",
    "aten::bincount": "bincount",
    "aten::multinomial": "multinomial",
    "aten::_linalg_check_errors": "linear algebra",
}


def cause(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return what makes the operation wait, None if nothing does."""
    found = ALWAYS.get(name)
    if found is None and name in SOMETIMES:
        found = SOMETIMES[name](args, kwargs)
    return found


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _index(args: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    """A mask becomes positions, whose number the host needs."""
    return "mask" if any(_is_mask(index) for index in args[1]) else None


def _index_put(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """One number written where a single mask holds is a `masked_fill`."""
    indices, value = [index for index in args[1] if index is not None], args[2]
    accumulate = kwargs.get("accumulate", args[3] if len(args) > 3 else False)
    fill = len(indices) == 1 and value.numel() == 1 and value.device.type == "cpu" and not accumulate
    return None if fill else _index(args, kwargs)


def _repeat(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    return "repeat_interleave" if kwargs.get("output_size") is None else None


def _histogram(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Without a range the host reads the minimum and the maximum."""
    low, high = (kwargs.get(key, args[i] if len(args) > i else 0) for i, key in ((2, "min"), (3, "max")))
    return "histc" if low == high else None


SOMETIMES: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], str | None]] = {
    "aten::index": _index,
    "aten::index_put": _index_put,
    "aten::index_put_": _index_put,
    "aten::_index_put_impl_": _index_put,
    "aten::repeat_interleave": _repeat,
    "aten::histc": _histogram,
}

"""Data: from a spec such as ``digits`` or ``npz:PATH`` to ordered, labeled samples in [0, 1].

Names are imported when first used, so that `stein_bench.data.catalog` can be read without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stein_bench.data.catalog import DATA_SUMMARIES

if TYPE_CHECKING:
    from stein_bench.data.samples import Resize, Samples, batches
    from stein_bench.data.sources import DataSource, open_data

__all__ = ["DATA_SUMMARIES", "DataSource", "Resize", "Samples", "batches", "open_data"]

_HOMES = {
    "DataSource": "stein_bench.data.sources",
    "Resize": "stein_bench.data.samples",
    "Samples": "stein_bench.data.samples",
    "batches": "stein_bench.data.samples",
    "open_data": "stein_bench.data.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""An honest robustness benchmark for image models, with Stein-shrinkage batch normalization.

`convert_batchnorm` and `restore_batchnorm` are imported on first use, so that importing this package does
not import torch.
"""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stein_bench.normalization.convert import convert_batchnorm, restore_batchnorm

try:
    __version__ = _version("stein-bench")
except _PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "unknown"
__all__ = ["__version__", "convert_batchnorm", "restore_batchnorm"]


def __getattr__(name: str) -> Any:
    if name not in ("convert_batchnorm", "restore_batchnorm"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module("stein_bench.normalization.convert"), name)

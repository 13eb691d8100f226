"""The version of stein-bench."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("stein-bench")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "unknown"

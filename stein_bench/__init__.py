"""An honest robustness benchmark for image models, with Stein-shrinkage batch normalization."""

from importlib.metadata import version as _version

__version__ = _version("stein-bench")

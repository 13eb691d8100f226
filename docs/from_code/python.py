"""The page of the Python API: a directive of mkdocstrings for every public name."""

from __future__ import annotations

import stein_bench
import stein_bench.normalization

INTRODUCTION = """# Python

What `import stein_bench` offers; [From Python](../python.md) shows how it is used. Everything here is stable under
semantic versioning.

"""
LAYERS = """## stein_bench.normalization

Layers and estimators, for training loops of your own.

"""


def page() -> str:
    """The page."""
    names = [name for name in stein_bench.__all__ if not name.startswith("__")]
    first = sorted(names, key=lambda name: (name.endswith("Error"), name != "evaluate", name.lower()))
    layers = [name for name in stein_bench.normalization.__all__ if name not in names]
    return "".join(
        [
            INTRODUCTION,
            "## stein_bench\n\n",
            *(f"::: stein_bench.{name}\n\n" for name in first),
            LAYERS,
            *(f"::: stein_bench.normalization.{name}\n\n" for name in layers),
        ]
    )

"""Whether `torchrun` started this process together with others. Known without torch."""

from __future__ import annotations

import os

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that `torchrun` sets."""


def launched() -> bool:
    """Return whether this process is one of several."""
    return all(name in os.environ for name in LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1


def speaks() -> bool:
    """Return whether this is the only process or the first of several: the one that prints and writes."""
    return not launched() or os.environ["RANK"] == "0"

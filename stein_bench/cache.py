"""Where fitted networks and downloaded data are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "STEIN_BENCH_CACHE"
"""Environment variable that moves the cache."""


def cache_folder() -> Path:
    """Return ``$STEIN_BENCH_CACHE``, or stein-bench's folder in the user's cache directory."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("stein-bench")).expanduser()

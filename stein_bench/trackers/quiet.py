"""What a tracker may not do: write to stdout, report on its use, or leave settings behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from types import MappingProxyType

SILENCED: Mapping[str, str] = MappingProxyType(
    {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
    }
)
"""Environment variables with which the libraries send and print nothing about themselves."""


@contextmanager
def silenced(defaults: Mapping[str, str] | None = None) -> Iterator[None]:
    """Silence the libraries for a while: stdout is for the report, and what they print goes to stderr.

    The environment is restored afterwards.

    Args:
        defaults: further variables, set unless the user has set them.
    """
    before = dict(os.environ)
    os.environ.update(SILENCED)
    for name, value in (defaults or {}).items():
        os.environ.setdefault(name, value)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)

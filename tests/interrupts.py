"""Processes that a test may interrupt, wherever the tests themselves run."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence


def popen_interruptible(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process with its output in pipes that SIGINT ends, as in a terminal.

    Where the tests run in the background of a shell, SIGINT is ignored, and so it would be in their children.
    """
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

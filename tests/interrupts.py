"""Processes that a test may interrupt, wherever the tests themselves run."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def popen_interruptible(command: Sequence[str], *, group: bool = False) -> subprocess.Popen[str]:
    """Start a process with its output in pipes that SIGINT ends, as in a terminal; in a `group` of its own if asked.

    Where the tests run in the background of a shell, SIGINT is ignored, and so it would be in their children.
    """
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=group,
    )


def commands_of(group: int) -> list[str]:
    """Return the command lines of the running processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (folder / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(command)
    return found

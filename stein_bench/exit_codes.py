"""The exit codes of the command line."""

from __future__ import annotations

DONE = 0
"""The command has finished, or the gate has passed."""
REGRESSION = 1
"""The gate has found a regression."""
USAGE = 2
"""Wrong usage, configuration or input."""
FAILED = 3
"""The run has failed, its results are dishonest (invalid, failed or not finite), or reports cannot be compared."""
INTERRUPTED = 130
"""Ctrl-C: finished work is kept."""

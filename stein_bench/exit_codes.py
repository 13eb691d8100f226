"""The exit codes of the command line.

`Report.dishonest` decides between `DONE` and `FAILED` after an evaluation, the verdict of `comparison.gate` after a
gate, and the class of the error (`stein_bench.errors`) if a command stops.
"""

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

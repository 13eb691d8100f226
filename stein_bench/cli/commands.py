"""The application with all its commands."""

from stein_bench.cli import (
    compare,
    doctor,
    evaluate,
    gate,
    inspect,
    listing,
    report,
    reproduce,
    theory_lipschitz,
    theory_risk,
    train,
)
from stein_bench.cli.app import app

__all__ = [
    "app",
    "compare",
    "doctor",
    "evaluate",
    "gate",
    "inspect",
    "listing",
    "report",
    "reproduce",
    "theory_lipschitz",
    "theory_risk",
    "train",
]

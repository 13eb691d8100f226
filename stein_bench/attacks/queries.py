"""How many queries attacks make that estimate gradients from scores. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from stein_bench.errors import UsageError
from stein_bench.specs import ParameterValue


def updates_within(queries: int, samples: int) -> int:
    """Return how many updates fit: one query of the clean input, then `samples` and one of the result per update."""
    return (queries - 1) // (samples + 1)


def check_estimates(attack: str, params: Mapping[str, ParameterValue]) -> None:
    """Raise a `UsageError` if the queries of an attack are too few or not in pairs, or its distances make no sense."""
    queries, samples = int(params["queries"]), int(params["samples"])
    if samples % 2:
        raise UsageError(f"samples of attack {attack} must be even, because queries come in pairs, not {samples}.")
    if updates_within(queries, samples) < 1:
        raise UsageError(
            f"attack {attack} with samples={samples} needs at least {samples + 2} queries for one step, not {queries}."
        )
    for name in ("sigma", "delta"):
        if name in params and not 0 < float(params[name]) <= 1:
            raise UsageError(f"{name} of attack {attack} must be above 0 and at most 1, not {params[name]}.")
    if "decay" in params and not float(params["decay"]) < 1:
        raise UsageError(f"decay of attack {attack} must be below 1, not {params['decay']}.")

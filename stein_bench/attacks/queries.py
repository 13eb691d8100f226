"""How many queries attacks make that estimate gradients from scores. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from stein_bench.errors import UsageError
from stein_bench.specs import ParameterValue

ALPHA_OF_ADAM = 1 / 3
"""SPSA's default step size as a share of eps, about that of Uesato et al. (2018): 0.01 at 8/255. Steps along noisy
estimates are much shorter, so that 2.5·eps over the number of steps would not reach the edge of the ball."""


def updates_within(queries: int, samples: int) -> int:
    """Return how many updates fit: one query of the clean input, then `samples` and one of the result per update."""
    return (queries - 1) // (samples + 1)


def updates(params: Mapping[str, ParameterValue]) -> int:
    """Return how many updates fit into the parameters ``queries`` and ``samples``."""
    return updates_within(int(params["queries"]), int(params["samples"]))


def check_estimates(attack: str, params: Mapping[str, ParameterValue]) -> None:
    """Raise a `UsageError` if the queries of an attack are too few or not in pairs, or its distances make no sense."""
    queries, samples = int(params["queries"]), int(params["samples"])
    if samples % 2:
        raise UsageError(f"samples of attack {attack} must be even, because queries come in pairs, not {samples}.")
    if updates(params) < 1:
        raise UsageError(
            f"attack {attack} with samples={samples} needs at least {samples + 2} queries for one step, not {queries}."
        )
    for name in ("sigma", "delta"):
        if name in params and not 0 < float(params[name]) <= 1:
            raise UsageError(f"{name} of attack {attack} must be above 0 and at most 1, not {params[name]}.")
    if "decay" in params and not float(params["decay"]) < 1:
        raise UsageError(f"decay of attack {attack} must be below 1, not {params['decay']}.")

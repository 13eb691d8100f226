"""Names of the contaminations and estimators of a simulation. This module does not import torch."""

from __future__ import annotations

from typing import Literal, get_args

from stein_bench.errors import unknown_name
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES, parse_estimator
from stein_bench.normalization.own import find_own

Target = Literal["mean", "variance"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""What is estimated: the clean means of the channels, or their clean variances."""

Verdict = Literal["dominates", "does not", "undecided", "same"]

CONTAMINATIONS: dict[str, str] = {
    "none": "clean Gaussian elements",
    "gaussian": "a Gaussian added to every element",
    "uniform": "a uniform variable added",
    "rademacher": "plus or minus the strength, each with probability 1/2, added",
    "truncated-gaussian": "a Gaussian truncated at two sigma, added",
    "clipped-cauchy": "the published noise: Cauchy, added and clipped to the range of the clean elements",
}
"""One line per contamination, in table order. The middle four are sub-Gaussian."""

EXTRA_ESTIMATORS: dict[str, str] = {
    "stein-theorem": "plain James-Stein mean with known noise; stein's variance with M/2 instead of M",
    "unbiased": "sample mean, unbiased sample variance",
}
"""Estimators of the theorems that no layer uses."""

DEFAULT_ESTIMATORS = ("stein", "stein-theorem", "stein-mean", "jsnorm", "james-stein", "ridge", "lasso")


def risk_estimator(text: str) -> str:
    """Return the canonical name of an estimator, such as ``ridge:0.001`` for ``ridge``.

    Raises:
        UsageError: the name is unknown, or its λ is invalid.
    """
    if text in EXTRA_ESTIMATORS:
        return text
    if text.partition(":")[0] not in ESTIMATOR_SUMMARIES and find_own(text) is None:
        raise unknown_name("estimator", text, risk_estimators())
    return str(parse_estimator(text))


def risk_estimators() -> list[str]:
    """Return the names of all estimators whose risk can be simulated."""
    return [*ESTIMATOR_SUMMARIES, *EXTRA_ESTIMATORS]


def contamination(text: str) -> str:
    """Return `text` if it is the name of a contamination.

    Raises:
        UsageError: it is not.
    """
    if text not in CONTAMINATIONS:
        raise unknown_name("contamination", text, CONTAMINATIONS)
    return text

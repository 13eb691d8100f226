"""The names of the estimators: spelling, strengths and summaries. This module does not import torch."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from stein_bench.errors import UsageError, unknown_name
from stein_bench.normalization.own import OwnEstimator, find_own
from stein_bench.parts.installed import names as installed_names

ESTIMATOR_SUMMARIES: dict[str, str] = {
    "sample": "sample mean and variance: plain batch normalization",
    "stein": "shrunk mean and variance of arXiv 2507.08261",
    "stein-mean": "shrunk mean of arXiv 2507.08261, sample variance (its ablation)",
    "jsnorm": "mean and variance shrunk by their spread over channels (arXiv 2312.00313)",
    "james-stein": "textbook positive-part James-Stein mean, best equivariant variance",
    "ridge": "ridge:λ shrinks mean and variance by a factor (default λ=0.001)",
    "lasso": "lasso:λ soft-thresholds mean and variance (default λ=0.001)",
}
"""One line per estimator family, in the order in which lists show them."""

USING_COUNT: dict[str, str] = {
    "stein": "variances are not shrunk",
    "james-stein": "nothing is shrunk",
    "ridge": "means are not shrunk",
    "lasso": "means are not shrunk",
}
"""Estimator families that depend on N, the elements per channel, with what they do not shrink if N is infinite."""

PUBLISHED_ON_BATCH = ("stein", "stein-mean", "jsnorm", "james-stein")
"""Families that the published code of arXiv 2507.08261 evaluates (or would evaluate) with batch statistics; plain BN,
ridge and lasso use running statistics there."""

DEFAULT_STRENGTH = 1e-3
_WITH_STRENGTH = ("ridge", "lasso")


@dataclass(frozen=True)
class EstimatorName:
    """A parsed estimator name; `str()` gives its canonical spelling, such as ``stein`` or ``ridge:0.3``.

    `family` is a key of `ESTIMATOR_SUMMARIES`, or how an estimator is named that somebody brings, `own`; `strength` is
    λ ≥ 0 of ridge and lasso, else None.
    """

    family: str
    strength: float | None = None
    own: OwnEstimator | None = None

    def __str__(self) -> str:
        if self.strength is None:
            return self.family
        short = f"{self.strength:g}"
        return f"{self.family}:{short if float(short) == self.strength else repr(self.strength)}"


def parse_estimator(text: str) -> EstimatorName:
    """Parse an estimator name, such as ``stein``, ``ridge`` (λ = 1e-3), ``ridge:0.3`` or ``FILE.py:NAME``.

    Raises:
        UsageError: the name is unknown, λ is not a finite number ≥ 0, the estimator takes no λ, or one that somebody
            brings cannot be imported or used.
    """
    family, colon, strength = text.partition(":")
    if family not in ESTIMATOR_SUMMARIES:
        if (own := find_own(text)) is not None:
            return EstimatorName(own.spec, own=own)
        known = (*ESTIMATOR_SUMMARIES, *installed_names("estimator"))
        raise unknown_name("estimator", text, known, listed="See stein-bench list bn. Your own is FILE.py:NAME.")
    if family not in _WITH_STRENGTH:
        if colon:
            raise UsageError(f"estimator {family!r} takes no strength: write {family!r}, not {text!r}")
        return EstimatorName(family)
    return EstimatorName(family, _strength(text, strength) if colon else DEFAULT_STRENGTH)


def shown_estimator(bn: str) -> str:
    """Return an estimator's name as reports show it: without the folders of its file, if it comes from one."""
    home, point, name = bn.rpartition(".py:")
    return f"{os.path.basename(home)}{point}{name}" if point else bn


def own_sha256(bn: str) -> str | None:
    """Return the hash of the source of an estimator that somebody brings; None for one of stein-bench."""
    own = parse_estimator(bn).own
    return None if own is None else own.sha256


def estimator_identity(bn: str) -> str:
    """Return what determines an estimator: its canonical name, and the hash of its source if somebody brings it."""
    sha256 = own_sha256(bn)
    return str(parse_estimator(bn)) if sha256 is None else f"{shown_estimator(bn)} {sha256}"


def _strength(text: str, written: str) -> float:
    """Return λ as a float; -0 becomes 0."""
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(
            f"bad strength {written!r} in estimator {text!r}: λ must be a finite number, 0 or more, "
            f"as in '{text.partition(':')[0]}:0.3'"
        )
    return abs(value)


def published_source(bn: str) -> Literal["running", "batch"]:
    """Return the statistics source with which the code of arXiv 2507.08261 evaluates an estimator."""
    return "batch" if parse_estimator(bn).family in PUBLISHED_ON_BATCH else "running"

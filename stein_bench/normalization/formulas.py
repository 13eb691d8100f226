"""The formulas of the estimators and their papers, for the reference. This module does not import torch.

Notation: m and s are the sample mean and the biased sample variance of every channel, C is the number of channels, N
the number of elements per channel; Σ and mean_c run over the channels.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A publication, as it is cited, with its address."""

    cited: str
    url: str


@dataclass(frozen=True)
class Formulas:
    """What an estimator computes.

    Attributes:
        mean: the estimate of the mean; m itself for fewer than three channels if it is shrunk by a sum over channels.
        variance: the estimate of the variance.
        where: the other symbols, each with its meaning.
        sources: the papers it is from.
        options: what a name such as ``ridge:0.3`` sets; empty if nothing can be set.
    """

    mean: str
    variance: str
    sources: tuple[Source, ...]
    where: tuple[tuple[str, str], ...] = ()
    options: str = ""


IOFFE_SZEGEDY = Source("Ioffe and Szegedy 2015", "https://arxiv.org/abs/1502.03167")
SHRINKAGE = Source("arXiv 2507.08261", "https://arxiv.org/abs/2507.08261")
PUBLISHED_CODE = Source("the code published with arXiv 2507.08261", "https://arxiv.org/abs/2507.08261")
JSNORM = Source("arXiv 2312.00313", "https://arxiv.org/abs/2312.00313")
JAMES_STEIN = Source("James and Stein 1961", "https://doi.org/10.1007/978-1-4612-0919-5_30")
STEIN = Source("Stein 1964", "https://doi.org/10.1007/BF02868569")

_SPREAD = ("v", "mean_c((m - mean_c(m))²)")
_STEIN_MEAN = "(1 - (C-2)·C/(C+1)·v/Σm²)·m"
_STRENGTH = "λ, a number of 0 or more: `{0}:λ`; without it λ = 0.001"

FORMULAS: dict[str, Formulas] = {
    "sample": Formulas("m", "s", (IOFFE_SZEGEDY,)),
    "stein": Formulas(
        _STEIN_MEAN,
        "N/(N+1)·s + M·G",
        (SHRINKAGE,),
        (_SPREAD, ("G", "exp(mean_c(log(s)))"), ("M", "4·(C-1)·N/(N+1)/((N-1)·C+2)")),
    ),
    "stein-mean": Formulas(_STEIN_MEAN, "s", (SHRINKAGE,), (_SPREAD,)),
    "jsnorm": Formulas(
        "(1 - (C-2)·v/Σm²)·m",
        "(1 - (C-2)·w/Σs²)·s",
        (JSNORM,),
        (_SPREAD, ("w", "mean_c((s - mean_c(s))²)")),
    ),
    "james-stein": Formulas("max(1 - (C-2)·t/Σm², 0)·m", "N/(N+1)·s", (JAMES_STEIN, STEIN), (("t", "mean_c(s)/N"),)),
    "ridge": Formulas("N/(N+λ)·m", "s/(1+λ)", (PUBLISHED_CODE,), options=_STRENGTH.format("ridge")),
    "lasso": Formulas(
        "sign(m)·max(|m| - λ/(2·N), 0)",
        "max(s - λ/2, 0)",
        (PUBLISHED_CODE,),
        options=_STRENGTH.format("lasso"),
    ),
}
"""By family, in the order of `ESTIMATOR_SUMMARIES`. Variances below 1e-38 count as that in G."""

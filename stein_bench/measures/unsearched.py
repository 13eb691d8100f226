"""What a search that was made on a random subset of the survivors could still break among the others."""

from __future__ import annotations

import math

from stein_bench.report.results import Unsearched
from stein_bench.statistics.rates import Bits, upper_limit

SEARCH = "square"
"""The only search that is made on a random subset."""


def unsearched_result(clean_correct: Bits, robust: Bits, drawn: Bits) -> Unsearched:
    """Return how much lower the robust accuracy could be if every survivor had been searched.

    The samples drawn are a simple random sample of the survivors, so the number of those that the search breaks among
    them is hypergeometric. Its tails are at most those of the binomial distribution (Hoeffding 1963, theorem 4), whose
    upper limit thus holds for the share of all survivors, those drawn included. A whole number of samples breaks.

    Args:
        clean_correct: correct on the clean input.
        robust: correct on the adversarial input too, as verified.
        drawn: ended in the search. Samples that an earlier search seemed to break but verification did not count as
            not drawn.
    """
    searched = clean_correct & drawn
    survivors, number = int((robust | searched).sum()), int(searched.sum())
    broken, others = int((searched & ~robust).sum()), int((robust & ~drawn).sum())
    most = math.floor(upper_limit(broken, number) * survivors + 1e-9) - broken
    return Unsearched(
        attack=SEARCH, survivors=survivors, searched=number, broken=broken,
        at_most_lower=max(min(most, others), 0) / max(len(robust), 1),
    )  # fmt: skip

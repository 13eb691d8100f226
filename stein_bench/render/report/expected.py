"""How the figures of random models are shown: the expected accuracy first, the share of majority verdicts after it."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.attack_names import AUTOATTACKS, NOT_FOR_RANDOM
from stein_bench.report.document import Report
from stein_bench.report.number_format import percent
from stein_bench.report.results import ExpectedAccuracy

EXPECTED, MAJORITY = "expected", "majority"
"""The titles of the two figures in lists; in the table they are E and M."""


def with_expected(rate: str, expected: ExpectedAccuracy | None) -> str:
    """Return the text of a rate; of a random model in two lines, the first with the expected accuracy."""
    if expected is None:
        return rate
    low, high = expected.ci95
    return f"E {percent(expected.value)} ({percent(low)}–{percent(high)})\nM {rate}"


def expected_notes(report: Report) -> Iterator[str]:
    """Explain the figures of random models, if there are any."""
    found = {v.clean.expected_accuracy.draws for v in report.variants if v.clean.expected_accuracy is not None}
    if not found:
        return
    draws = " or ".join(map(str, sorted(found))) + (" draw that is" if found == {1} else " draws that are")
    yield (
        f"random model: E, expected accuracy: the mean over samples of the share of {draws} right; "
        "under attack, of the clean or the adversarial input, whichever was right less often in other draws; its "
        "interval knows the draws"
    )
    yield (
        "random model: M, majority: the share of samples right in more than half of the draws, as always on the clean "
        "input too; paired tests compare these"
    )
    yield (
        "random model: the worst case takes each sample's worst attack, selected in other draws than those it is "
        "measured with, so it can lie slightly above the figure of a single attack"
    )
    if any(attack.name in AUTOATTACKS for variant in report.variants for attack in variant.attacks):
        yield f"random model: {NOT_FOR_RANDOM}"

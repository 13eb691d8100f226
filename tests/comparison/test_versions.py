"""Comparisons of samples that are versions of few base images claim nothing that the base images do not show."""

from __future__ import annotations

import pytest

from stein_bench.comparison.compare import compare
from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.contrasts import contrasts, marks
from stein_bench.comparison.gate import gate
from stein_bench.comparison.leaderboard import CLUSTERED, Named
from stein_bench.diagnostics.effects import with_effects
from stein_bench.render.comparison.gate_files import gate_markdown
from stein_bench.report.results import VariantResult
from stein_bench.statistics.paired_tests import Counts, difference_interval
from tests.reports import FGSM, PGD, bits, in_cells, label, replaced, report, variant

CELLS = tuple(f"{name}/{severity}" for name in ("fog", "snow") for severity in range(1, 6))


def versioned(images: int, lost: int, bn: str = "sample", stats: str = "running") -> VariantResult:
    """A variant that is wrong on all ten versions of the first `lost` of the base images."""
    n = len(CELLS) * images
    attacked = {FGSM: bits(len(CELLS) * lost, n), PGD: bits(len(CELLS) * lost, n)}
    return in_cells(variant(bn, stats, bits(0, n), attacked), *CELLS)


def test_a_lost_base_image_is_one_loss_in_every_comparison():
    """Two of twenty images are lost in all versions: two-sided p = 1/2, not 2^-19."""
    one = report(versioned(20, 0), versioned(20, 2, "stein"))
    ours = [c for c in contrasts(one) if c.accuracy != "clean"]
    assert [c.difference.p for c in ours] == [0.5] * 3
    assert not any(mark in ("below", "above") for mark in marks(one, contrasts(one)).values())
    assert ours[0].difference.interval == pytest.approx(difference_interval(Counts(18, 2, 0, 0)))
    assert not ours[0].difference.assumes_independence
    assert conclude(one).sentence.startswith("No difference is shown between stein and plain BN")
    found = compare([Named("a", report(versioned(20, 0))), Named("b", report(versioned(20, 2), number=1))])
    assert [row.difference.p for row in found.rows[1:] if row.difference] == [0.5] * 3
    assert CLUSTERED in found.notes
    board = compare([Named(name, report(versioned(20, lost))) for name, lost in (("a", 0), ("b", 2), ("c", 3))])
    assert [row.behind.p for row in board.rows if row.behind] == [0.5, 0.25]
    judged = gate(report(versioned(20, 2)), report(versioned(20, 0)))
    assert (judged.verdict, judged.comparisons[0].status, judged.comparisons[0].p_drop) == ("passed", "unproven", 0.25)
    assert judged.comparisons[0].flipped == "base images"
    assert f"- {CLUSTERED}" in gate_markdown(judged)


def test_enough_lost_base_images_are_shown():
    one = report(versioned(20, 0), versioned(20, 12, "stein"))
    assert [c.difference.p for c in contrasts(one) if c.accuracy != "clean"] == [2.0**-11] * 3
    judged = gate(report(versioned(20, 12)), report(versioned(20, 0)))
    assert (judged.verdict, judged.comparisons[0].p_drop) == ("failed", 2.0**-12)


def test_below_ten_base_images_there_is_no_test_and_the_reason_is_said():
    one = report(versioned(9, 0), versioned(9, 9, "stein"))
    assert {c.difference.p for c in contrasts(one)} == {None}
    assert conclude(one).sentence == (
        "No conclusion about stein under running statistics: with fewer than ten base images there is no test, since "
        "versions of one image are not independent."
    )
    judged = gate(report(versioned(9, 9)), report(versioned(9, 0)))
    assert judged.messages("warning")[0].endswith("(below 10 base images there is no test)")
    assert judged.comparisons[0].detectable_drop is None


@pytest.mark.parametrize(("batch_size", "p"), [(4, 0.5), (15, 0.5), (25, None)])
def test_under_batch_statistics_neither_batches_nor_base_images_are_split(batch_size, p):
    """Of 300 samples 40, four images, are lost: in two blocks of 20 or of 30. Of blocks of 50 there are too few."""
    changed = (versioned(30, 0, stats="batch"), versioned(30, 4, "stein", "batch"))
    ours = [c for c in contrasts(report(*changed, config={"batch-size": batch_size})) if c.accuracy == label(PGD)]
    assert ours[0].difference.assumes_independence
    assert ours[0].difference.p == p


def test_effects_exchange_whole_base_images_as_well():
    four = [versioned(20, 2 * (bn != "sample"), bn, stats) for stats in ("running", "batch") for bn in ("sample", "s")]
    found = {e.name: e for e in with_effects(four, 10, "classification")[1].effects if e.outcome == label(PGD)}
    assert (found["estimator-running"].p, found["estimator-batch"].p) == (0.5, 0.5)
    assert found["interaction"].p == 1.0
    assert {e.p for e in with_effects(four, 7, "classification")[1].effects if e.name == "interaction"} == {None}


def test_reports_that_say_it_differently_are_compared_the_careful_way():
    """An older report of the same samples may not say that they are versions."""
    old = versioned(20, 0)
    old = replaced(old, outcomes=replaced(old.outcomes, cluster_size=None))
    for reports in ((report(old), report(versioned(20, 2))), (report(versioned(20, 2)), report(old))):
        found = compare([Named(str(number), one) for number, one in enumerate(reports)])
        assert [row.difference.p for row in found.rows[1:] if row.difference] == [0.5] * 3

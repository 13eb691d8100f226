"""How often the gate fails a build in which nothing got worse, counted in many drawn ones."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.comparison.gate import gate
from stein_bench.comparison.policy import Policy
from tests.reports import replaced, report, variant

BUILDS = 300
SAMPLES = 120
STRICT = Policy(tolerance=0.0, alpha=0.1, list_samples=0)


def failures(draw, stats, cluster_size=None):
    """Return the share of builds that fail; `draw` gives both outcomes of one accuracy.

    `cluster_size`: how many consecutive samples are versions of one base image.
    """
    failed = 0
    for seed in range(BUILDS):
        rng = np.random.default_rng(seed)
        (c0, c1), (a0, a1), (b0, b1) = (draw(rng) for _ in range(3))
        variants = [
            variant(stats=stats, clean=clean, attacks={"a": a, "b": b}) for clean, a, b in ((c0, a0, b0), (c1, a1, b1))
        ]
        variants = [replaced(v, outcomes=replaced(v.outcomes, cluster_size=cluster_size)) for v in variants]
        before, now = (report(v, config={"batch-size": 8}) for v in variants)
        failed += gate(now, before, STRICT).verdict == "failed"
    return failed / BUILDS


def independent(rng):
    """Each sample changes by itself, either way alike."""
    before = rng.random(SAMPLES) < 0.5
    return before, np.where(rng.random(SAMPLES) < 0.3, rng.random(SAMPLES) < 0.5, before)


def batch_dependent(rng):
    """Whole batches of eight change together, either way alike."""
    first = np.repeat(rng.random(SAMPLES // 8) < 0.5, 8) & (rng.random(SAMPLES) < 0.8)
    second = np.repeat(rng.random(SAMPLES // 8) < 0.5, 8) & (rng.random(SAMPLES) < 0.8)
    return first, second


@pytest.mark.parametrize(("draw", "stats"), [(independent, "running"), (batch_dependent, "batch")])
def test_at_most_alpha_of_the_builds_fail_although_nothing_got_worse(draw, stats):
    """Both outcomes are drawn alike, so every failure is a false one; the bound has 2.5 standard errors of slack."""
    slack = 2.5 * (STRICT.alpha * (1 - STRICT.alpha) / BUILDS) ** 0.5
    assert failures(draw, stats) <= STRICT.alpha + slack


def test_counting_coupled_samples_one_by_one_would_fail_far_more():
    """Why batches are flipped whole: the same draws, taken as independent."""
    assert failures(batch_dependent, "running") > 3 * STRICT.alpha


def test_builds_that_got_worse_do_fail():
    """The gate would keep every promise above by never failing."""

    def worse(rng):
        before = rng.random(SAMPLES) < 0.8
        return before, before & (rng.random(SAMPLES) < 0.8)

    assert failures(worse, "running") > 0.9


def test_versions_of_a_base_image_are_no_evidence_of_their_own():
    """Counted one by one they fail the gate far too often, see above; as versions of base images they do not."""
    slack = 2.5 * (STRICT.alpha * (1 - STRICT.alpha) / BUILDS) ** 0.5
    assert failures(batch_dependent, "running", cluster_size=8) <= STRICT.alpha + slack

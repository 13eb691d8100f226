"""Properties of the gate that hold for every pair of reports."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stein_bench.comparison.gate import gate
from stein_bench.comparison.gate_result import GateResult
from stein_bench.comparison.policy import Policy
from tests.reports import report, variant

SAMPLES = 40
NAMES = ("sample", "stein", "jsnorm")
ATTACKS = ("fgsm", "pgd", "x")

outcomes = st.integers(0, 2**SAMPLES - 1).map(
    lambda number: np.array([number >> i & 1 for i in range(SAMPLES)], np.bool_)
)
policies = st.builds(
    Policy,
    tolerance=st.sampled_from([0.0, 0.01, 0.05]),
    alpha=st.sampled_from([0.05, 0.3, 0.9]),
    unproven=st.sampled_from(["warn", "fail"]),
)


@st.composite
def reports(draw, stats=None):
    """A report with one to three variants under the same one to three attacks."""
    stats = draw(st.sampled_from(["running", "batch"])) if stats is None else stats
    names, attacks = NAMES[: draw(st.integers(1, 3))], ATTACKS[: draw(st.integers(1, 3))]
    variants = [
        variant(name, stats, clean=draw(outcomes), attacks={attack: draw(outcomes) for attack in attacks})
        for name in names
    ]
    return report(*variants, config={"batch-size": 4})


@st.composite
def pairs(draw):
    stats = draw(st.sampled_from(["running", "batch"]))
    return draw(reports(stats)), draw(reports(stats))


@settings(max_examples=40, deadline=None)
@given(reports(), policies)
def test_every_report_passes_against_itself(one, policy):
    result = gate(one, one, policy)
    assert result.verdict == "passed"
    assert {finding.kind for finding in result.findings} <= {"blind"}
    assert {c.status for c in result.comparisons} == {"unchanged"}


@settings(max_examples=60, deadline=None)
@given(pairs(), policies)
def test_what_regresses_one_way_never_regresses_the_other_way_and_what_improves_has_regressed(pair, policy):
    """Exchanging report and baseline exchanges losses and gains; no accuracy is a regression in both directions."""
    there, back = ({(c.variant, c.accuracy): c for c in gate(*way, policy).comparisons} for way in (pair, pair[::-1]))
    assert there.keys() == back.keys()
    for key, one in there.items():
        other = back[key]
        assert (one.lost, one.gained, one.difference) == (other.gained, other.lost, -other.difference)
        assert not {one.status, other.status} <= {"regression", "unproven"}
        assert (one.status == "improved") == (other.status == "regression")
        assert one.p_gain_adjusted == other.p_drop_adjusted


@settings(max_examples=40, deadline=None)
@given(pairs(), policies, st.randoms())
def test_the_order_of_variants_and_attacks_makes_no_difference(pair, policy, random):
    def shuffled(one):
        variants = [v.model_copy(update={"attacks": random.sample(v.attacks, len(v.attacks))}) for v in one.variants]
        return one.model_copy(update={"variants": random.sample(variants, len(variants))})

    assert gate(*map(shuffled, pair), policy) == gate(*pair, policy)


@settings(max_examples=40, deadline=None)
@given(pairs(), policies)
def test_the_json_document_round_trips(pair, policy):
    result = gate(*pair, policy)
    assert GateResult.model_validate_json(result.to_json()) == result
    assert GateResult.model_validate_json(result.to_json()).to_json() == result.to_json()


@settings(max_examples=60, deadline=None)
@given(pairs(), policies)
def test_the_verdict_follows_from_what_is_found(pair, policy):
    result = gate(*pair, policy)
    statuses = {c.status for c in result.comparisons}
    missing = any(finding.kind == "missing" for finding in result.findings)
    failing = {"regression", "unproven"} if policy.unproven == "fail" else {"regression"}
    assert result.verdict == ("failed" if statuses & failing or missing else "passed")
    for c in result.comparisons:
        beyond = c.lost - c.gained > round(policy.tolerance * 100) * SAMPLES / 100
        proven = c.p_drop_adjusted is not None and c.p_drop_adjusted < policy.alpha
        assert (c.status == "regression") == (beyond and proven)
        assert (c.status == "unproven") == (beyond and not proven)
        assert c.lost == round((c.before - c.now) * SAMPLES) + c.gained
        if c.status == "regression":
            assert -c.difference >= c.detectable_drop or -c.difference > c.tolerance
    # Holm holds only the smallest p against α/m: later regressions may be smaller than the detectable drop.
    proven = [c for c in result.comparisons if c.p_drop is not None]
    if proven and (first := min(proven, key=lambda c: c.p_drop)).status == "regression":
        assert first.lost >= first.detectable_drop * SAMPLES - 1e-9 or first.detectable_drop == first.tolerance

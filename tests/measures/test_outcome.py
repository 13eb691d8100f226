"""The worst case over several attacks of samples that are right or wrong as a whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stein_bench.measures import RightOrWrong


def worst(columns):
    return RightOrWrong.worst_case([RightOrWrong(column) for column in columns]).correct


def test_the_worst_case_survives_every_attack_per_sample():
    """Two attacks of 50 % each can leave nothing: the worst case is no minimum of the rates."""
    one, other = np.array([True, False]), np.array([False, True])
    assert worst([one, other]).tolist() == [False, False]
    assert worst([one]).tolist() == one.tolist()


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_worst_case_is_never_better_than_any_attack_and_does_not_depend_on_their_order(rows):
    columns = [np.array(row) for row in rows]
    found = worst(columns)
    assert found.tolist() == [all(sample) for sample in zip(*rows, strict=True)]
    assert found.tolist() == worst(columns[::-1]).tolist()

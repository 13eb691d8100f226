"""Per-sample outcomes: packing, damage, and units gathered in whatever order they came."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stein_bench.errors import UsageError
from stein_bench.evaluation.units import CLEAN, Unit, draws, gather, in_setting, numbered, of_setting
from stein_bench.report.packing import hash_ids, pack_bits, unpack_bits


def unit(indices, batch=0, **changes):
    indices = np.array(indices, np.int64)
    columns = {"correct": indices % 2 == 0, "linf": indices / 7}
    fields = {"columns": columns, "seconds": 0.5, "forward_passes": 10, "backward_passes": 4}
    return Unit("sample/running", CLEAN, batch, indices, **{**fields, **changes})


@given(hnp.arrays(np.bool_, st.integers(0, 70)))
def test_packed_bits_come_back_as_they_were(bits):
    unpacked = unpack_bits(pack_bits(bits), len(bits))
    assert unpacked.dtype == np.bool_
    assert unpacked.tolist() == bits.tolist()


def test_the_first_sample_is_the_most_significant_bit():
    """Readers in other languages rely on this order."""
    assert base64.b64decode(pack_bits(np.array([True] + [False] * 6 + [True, True]))) == b"\x81\x80"


@pytest.mark.parametrize("text", ["????", "gQ", "gYA=\n!", "gÿ=="])
def test_text_that_is_not_base64_is_called_damaged(text):
    with pytest.raises(UsageError, match="not base64; the report is damaged"):
        unpack_bits(text, 8)


@pytest.mark.parametrize("samples", [0, 8, 17, 1000])
def test_bits_of_another_number_of_samples_are_refused(samples):
    with pytest.raises(UsageError, match=f"hold 2 bytes, which does not match {samples} samples"):
        unpack_bits(pack_bits(np.ones(9, np.bool_)), samples)


def test_columns_with_several_values_a_sample_are_gathered_in_data_order():
    counts = np.arange(12, dtype=np.int32).reshape(4, 3)
    units = [unit(part, batch, columns={"target": counts[part]}) for batch, part in enumerate(([2, 0], [3, 1]))]
    column = gather(units, 4).columns["target"]
    assert (column.dtype, column.tolist()) == (np.int32, counts.tolist())


def test_a_column_that_is_newer_than_the_units_of_a_resumed_journal_is_left_out():
    """Whichever comes first."""
    old, new = unit([0, 1]), unit([2, 3], batch=1)
    new.columns["confidence"] = np.array([0.5, 0.6], np.float32)
    for units in ([old, new], [new, old]):
        assert set(gather(units, 4).columns) == {"correct", "linf"}


def test_draws_and_settings_are_told_apart_by_their_names():
    parts = [{"correct": np.array([number]), "score": np.array([-number])} for number in range(11)]
    columns = {name: column for number, part in enumerate(parts) for name, column in numbered(part, number).items()}
    assert draws(columns) == parts
    both = in_setting(parts[0], "alone") | in_setting(parts[1], "among_clean")
    assert of_setting(both, "alone") == parts[0]
    assert of_setting(both, "shuffled") == {}


@given(st.permutations(range(12)), st.integers(1, 12), st.randoms())
def test_columns_do_not_depend_on_batches_or_on_the_order_of_units(order, size, random):
    units = [unit(order[start : start + size], start // size) for start in range(0, 12, size)]
    random.shuffle(units)
    phase = gather(units, 12)
    assert phase.bits("correct").tolist() == [i % 2 == 0 for i in range(12)]
    assert phase.columns["linf"].tolist() == [i / 7 for i in range(12)]


def test_times_and_passes_are_summed_and_types_kept():
    phase = gather([unit([2, 3], 1), unit([0, 1])], 4)
    assert (phase.seconds, phase.forward_passes, phase.backward_passes) == (1.0, 20, 8)
    assert (phase.columns["correct"].dtype, phase.columns["linf"].dtype) == (np.bool_, np.float64)


@pytest.mark.parametrize(
    "batches",
    [[], [[0, 1]], [[0, 1], [3]], [[0, 1], [1, 2, 3]], [[0, 0, 1, 2]], [[0, 1, 2, 4]], [[0, 1, 2, 3, 4]]],
    ids=["nothing", "end missing", "gap", "twice", "twice in one", "beyond", "too many"],
)
def test_gaps_and_samples_seen_twice_are_an_error(batches):
    with pytest.raises(ValueError, match="expected each of 4 once"):
        gather([unit(indices, i) for i, indices in enumerate(batches)], 4)


def test_a_failed_unit_makes_its_phase_a_failed_one_without_columns():
    phase = gather([unit([0, 1]), unit([2, 3], 1, columns={}, message="RuntimeError: boom")], 4)
    assert phase.message == "RuntimeError: boom"
    assert phase.columns == {}
    assert phase.seconds == 1.0


def test_a_unit_is_failed_where_it_has_a_message():
    assert unit([0], message="x").failed
    assert not unit([0]).failed


ids = st.lists(st.text("ab\0", max_size=3), max_size=4)


@given(ids, ids)
@example(["ab", "c"], ["a", "bc"])
@example(["a", ""], ["a"])
@example(["a\0b"], ["a", "b"])
@example(["a\0", "b"], ["a", "\0b"])
def test_only_the_same_ids_in_the_same_order_have_the_same_hash(one, other):
    assert (hash_ids(one) == hash_ids(other)) == (one == other)


def test_the_hash_of_one_example_stays_what_it_was():
    """Reports written earlier must stay comparable."""
    expected = "ac765640afe4fd63b44f58e7745d201779fd578a84925035c6fe51863b07f52d"
    assert hash_ids(["digits/test/0000", "digits/test/0001"]) == expected

"""The journal: what was finished comes back exactly, and only to the run that it belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stein_bench.errors import UsageError
from stein_bench.evaluation.journal import Journal, journal_path
from stein_bench.evaluation.units import CLEAN, Unit

IDENTITY = {"journal": 1, "config_sha256": "c", "packages": {"torch": "2.6.0"}, "weights_sha256": None}


def unit(batch=0, **changes):
    columns = {"broken": np.array([True, False]), "linf": np.array([0.1, np.nan])}
    fields = {"columns": columns, "seconds": 1 / 3, "forward_passes": 20, "backward_passes": 10}
    return Unit("stein/running", "pgd:eps=0.1", batch, np.array([2 * batch, 2 * batch + 1]), **{**fields, **changes})


def write(path, *units, identity=IDENTITY):
    with Journal(path, identity, resume=False) as journal:
        for one in units:
            journal.add(one)


def reread(path, identity=IDENTITY):
    with Journal(path, identity, resume=True) as journal:
        return journal.units


def bits(one):
    """Everything about a unit, arrays as their type and bytes: NaN equals NaN only here."""
    rest = {key: value for key, value in vars(one).items() if key not in ("indices", "columns")}
    arrays = {"indices": one.indices, **one.columns}
    return rest, {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "indices"),
        st.sampled_from([np.bool_, np.float32, np.float64, np.int64]).flatmap(lambda kind: hnp.arrays(kind, 3)),
        max_size=3,
    ),
    st.floats(0, 1e9),
    st.text(max_size=10),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_unit_comes_back_bit_for_bit(tmp_path, columns, seconds, message):
    path = tmp_path / "report.json.partial"
    path.unlink(missing_ok=True)
    original = Unit("ridge:0.1/batch", CLEAN, 3, np.array([5, 0, 9]), columns, seconds, 7, 8, message)
    write(path, original)
    (found,) = reread(path)
    assert bits(found) == bits(original)


def test_columns_with_several_values_a_sample_come_back_in_their_shape(tmp_path):
    counts = {"target": np.arange(6, dtype=np.int32).reshape(2, 3), "empty": np.zeros((2, 0), np.int64)}
    write(tmp_path / "j", unit(columns=counts))
    (found,) = reread(tmp_path / "j")
    assert {name: (column.shape, column.dtype) for name, column in found.columns.items()} == {
        "target": ((2, 3), np.int32), "empty": ((2, 0), np.int64),
    }  # fmt: skip
    assert (found.columns["target"] == counts["target"]).all()


def test_several_resumes_collect_all_units_in_order(tmp_path):
    path = tmp_path / "j"
    write(path, unit(0), unit(1, columns={}, message="RuntimeError: two\nlines"))
    with Journal(path, IDENTITY, resume=True) as journal:
        journal.add(unit(2))
    found = reread(path)
    assert [bits(one) for one in found] == [
        bits(unit(0)), bits(unit(1, columns={}, message="RuntimeError: two\nlines")), bits(unit(2)),
    ]  # fmt: skip
    assert found[0].columns["broken"].flags.writeable


def test_a_unit_is_in_the_file_as_soon_as_it_was_added(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY, resume=False) as journal:
        journal.add(unit(0))
        assert path.read_text().count("\n") == 2


def test_a_last_line_cut_anywhere_costs_that_unit_only(tmp_path):
    path = tmp_path / "j"
    write(path, unit(0), unit(1))
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(start, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        assert [one.batch for one in reread(path)] == [0]
        with Journal(path, IDENTITY, resume=True) as journal:
            journal.add(unit(1))
        assert path.read_bytes() == whole


def test_a_journal_in_the_way_is_not_overwritten_unless_asked_to_resume(tmp_path):
    path = tmp_path / "j"
    write(path, unit(0))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="interrupted run: add --resume to continue, or delete it") as caught:
        Journal(path, IDENTITY, resume=False)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config_sha256": "d"}, "config_sha256"),
        ({"packages": {"torch": "2.7.0"}, "journal": 2}, "journal, packages"),
        ({"device": "cuda"}, "device"),
    ],
)
def test_a_journal_of_another_run_is_refused_with_what_differs_and_stays(tmp_path, changes, named):
    path = tmp_path / "j"
    write(path, unit(0))
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        Journal(path, {**IDENTITY, **changes}, resume=True)
    assert f"belongs to another run (differs in {named}):" in str(caught.value)
    assert path.read_bytes() == before


def test_a_journal_whose_first_line_is_gone_is_nobodys(tmp_path):
    path = tmp_path / "j"
    path.write_text('{"journ')
    with pytest.raises(UsageError, match="belongs to another run"):
        Journal(path, IDENTITY, resume=True)


@pytest.mark.parametrize("content", [b"[1]\n", b"\xff\xfe\n", b"5\n", b'{"a": 1}\n{"b": 2}\n', b"null\n"])
def test_a_file_that_is_no_journal_is_refused_in_one_line_and_stays(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"not the journal|another run") as caught:
        Journal(path, IDENTITY, resume=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        Journal(tmp_path, IDENTITY, resume=True)


def test_units_of_another_network_are_not_taken_over(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY, resume=False) as journal:
        journal.check_network("stein/running", "a" * 64)
        journal.add(unit(0))
    with Journal(path, IDENTITY, resume=True) as journal:
        journal.check_network("sample/running", "b" * 64)
        with pytest.raises(UsageError, match="another network for stein/running"):
            journal.check_network("stein/running", "b" * 64)


def test_nothing_is_written_before_the_first_unit(tmp_path):
    with Journal(tmp_path / "j", IDENTITY, resume=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_resuming_where_nothing_was_begun_begins(tmp_path):
    assert reread(tmp_path / "j") == []
    assert reread(tmp_path / "j") == []


def test_after_discard_nothing_is_left(tmp_path):
    journal = Journal(tmp_path / "j", IDENTITY, resume=False)
    journal.add(unit(0))
    journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_finished_units(tmp_path):
    path = tmp_path / "j"
    with pytest.raises(KeyboardInterrupt), Journal(path, IDENTITY, resume=False) as journal:
        journal.add(unit(0))
        raise KeyboardInterrupt
    assert [bits(one) for one in reread(path)] == [bits(unit(0))]


def test_the_journal_lies_beside_its_report(tmp_path):
    assert journal_path(tmp_path / "r.json") == tmp_path / "r.json.partial"

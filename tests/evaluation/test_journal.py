"""The journal: what was finished comes back exactly, and only to the run that it belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stein_bench.errors import UsageError
from stein_bench.evaluation.journal import MAGIC, Journal, journal_path, remove_journals
from stein_bench.evaluation.units import CLEAN, Unit

IDENTITY = {"journal": 1, "config_sha256": "c", "packages": {"torch": "2.6.0"}, "weights_sha256": None}


def unit(batch=0, **changes):
    columns = {"broken": np.array([True, False]), "linf": np.array([0.1, np.nan])}
    fields = {"columns": columns, "seconds": 1 / 3, "forward_passes": 20, "backward_passes": 10}
    return Unit("stein/running", "pgd:eps=0.1", batch, np.array([2 * batch, 2 * batch + 1]), **{**fields, **changes})


def write(output, *units, identity=IDENTITY, rank=0):
    """Write a journal and return its path."""
    with Journal(output, identity, resume=False, rank=rank) as journal:
        for one in units:
            journal.add(one)
    return journal.path


def reread(output, identity=IDENTITY):
    with Journal(output, identity, resume=True) as journal:
        return journal.units


def bits(one):
    """Everything about a unit, arrays as their type and bytes: NaN equals NaN only here."""
    rest = {key: value for key, value in vars(one).items() if key not in ("indices", "columns")}
    arrays = {"indices": one.indices, **one.columns}
    return rest, {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.integration
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.sampled_from([np.bool_, np.float32, np.float64, np.int16, np.int64]).flatmap(
            lambda kind: hnp.arrays(kind, st.sampled_from([(3,), (3, 2), (3, 0)]))
        ),
        max_size=3,
    ),
    st.sampled_from([[5, 0, 9], [7, 8, 9], [0, 1, 2], [2, 1, 0]]),
    st.floats(0, 1e9),
    st.text(max_size=10),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_unit_comes_back_bit_for_bit(tmp_path, columns, indices, seconds, message):
    output = tmp_path / "report.json"
    remove_journals(output)
    original = Unit("ridge:0.1/batch", CLEAN, 3, np.array(indices), columns, seconds, 7, 8, message)
    write(output, original)
    (found,) = reread(output)
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
    output = tmp_path / "j"
    failed = unit(1, columns={}, message="RuntimeError: two\nlines")
    write(output, unit(0), failed)
    with Journal(output, IDENTITY, resume=True) as journal:
        journal.add(unit(2))
    found = reread(output)
    assert [bits(one) for one in found] == [bits(unit(0)), bits(failed), bits(unit(2))]
    assert found[0].columns["broken"].flags.writeable


def test_a_unit_is_in_the_file_as_soon_as_it_was_added(tmp_path):
    with Journal(tmp_path / "j", IDENTITY, resume=False) as journal:
        for number in range(3):
            journal.add(unit(number))
            assert [one.batch for one in reread(tmp_path / "j")] == list(range(number + 1))


def test_a_file_cut_at_any_byte_costs_the_last_unit_only(tmp_path):
    output = tmp_path / "j"
    path = write(output, unit(0))
    first = path.stat().st_size
    path.unlink()
    write(output, unit(0), unit(1))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(output, IDENTITY, resume=True) as journal:
            assert [one.batch for one in journal.units] == ([0] if cut >= first else [])
            assert cut < first or journal.damaged == [path] * (cut > first)
            for number in range(len(journal.units), 2):
                journal.add(unit(number))
        assert path.read_bytes() == whole


def test_a_changed_byte_costs_its_unit_and_those_behind_it_and_is_never_taken_for_a_result(tmp_path):
    output = tmp_path / "j"
    path = write(output, *map(unit, range(3)))
    whole = path.read_bytes()
    for position in range(len(MAGIC), len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with Journal(output, IDENTITY, resume=True) as journal:
            assert [bits(one) for one in journal.units] == [bits(unit(n)) for n in range(len(journal.units))]
            assert len(journal.units) < 3
            assert journal.damaged == [path]


def test_what_a_file_system_leaves_of_an_unwritten_end_is_dropped(tmp_path):
    path = write(tmp_path / "j", unit(0))
    with path.open("ab") as stream:
        stream.write(bytes(4096))
    assert [one.batch for one in reread(tmp_path / "j")] == [0]


def test_it_only_grows_by_what_is_added(tmp_path):
    output = tmp_path / "j"
    path = write(output, unit(0))
    inode, before = path.stat().st_ino, path.read_bytes()
    with Journal(output, IDENTITY, resume=True) as journal:
        journal.add(unit(1))
    assert path.stat().st_ino == inode
    assert path.read_bytes().startswith(before)


def test_a_hundred_thousand_verdicts_of_an_attack_take_a_megabyte(tmp_path):
    """So 1,000,000 samples under 20 attacks take about 200 megabytes."""
    generator = np.random.default_rng(0)
    with Journal(tmp_path / "j", IDENTITY, resume=False) as journal:
        for number in range(1000):
            verdicts = {name: generator.random(100) < 0.5 for name in ("correct", "invalid", "over_budget")}
            columns = {**verdicts, "linf": np.full(100, 8 / 255), "l2": generator.random(100)}
            journal.add(Unit("sample/running", "pgd:eps=0.03", number, np.arange(100) + 100 * number, columns, 1.5))
    assert journal.path.stat().st_size < 1.2e6


def test_the_units_of_all_processes_are_reused_each_once(tmp_path):
    output = tmp_path / "j"
    write(output, unit(0), unit(2))
    with Journal(output, IDENTITY, resume=True, rank=1) as second:
        second.add(unit(1))
    with Journal(output, IDENTITY, resume=True, rank=10) as third:
        third.add(unit(2))
        third.add(unit(3))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["j.partial", "j.partial.1", "j.partial.10"]
    with Journal(output, IDENTITY, resume=True) as alone:
        assert [one.batch for one in alone.units] == [0, 2, 1, 3]
        alone.add(unit(4))
    assert [one.batch for one in reread(output)] == [0, 2, 4, 1, 3]
    (tmp_path / "j.partial.old").touch()
    remove_journals(output)
    assert [path.name for path in tmp_path.iterdir()] == ["j.partial.old"]


def test_a_failed_unit_gives_way_to_a_later_one_that_has_not_failed(tmp_path):
    output = tmp_path / "j"
    write(output, unit(0, columns={}, message="out of memory"))
    with Journal(output, IDENTITY, resume=True) as journal:
        journal.add(unit(0))
    with Journal(output, IDENTITY, resume=True, rank=1) as journal:
        journal.add(unit(0, columns={}, message="again"))
    assert [bits(one) for one in reread(output)] == [bits(unit(0))]


def test_a_file_that_another_run_has_begun_meanwhile_is_left_alone(tmp_path):
    late = Journal(tmp_path / "j", {**IDENTITY, "config_sha256": "other"}, resume=False)
    path = write(tmp_path / "j", unit(0))
    before = path.read_bytes()
    with late, pytest.raises(UsageError, match="being written"):
        late.add(unit(1))
    assert path.read_bytes() == before


def test_a_file_that_another_run_is_writing_is_left_alone(tmp_path):
    with Journal(tmp_path / "j", IDENTITY, resume=False) as running:
        running.add(unit(0))
        with Journal(tmp_path / "j", IDENTITY, resume=True) as second, pytest.raises(UsageError, match="being written"):
            second.add(unit(1))
        running.add(unit(1))
    assert [one.batch for one in reread(tmp_path / "j")] == [0, 1]


def test_a_journal_in_the_way_is_not_overwritten_unless_asked_to_resume(tmp_path):
    path = write(tmp_path / "j", unit(0))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="interrupted run: add --resume to continue, or delete it") as caught:
        Journal(tmp_path / "j", IDENTITY, resume=False)
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
    path = write(tmp_path / "j", unit(0))
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        Journal(tmp_path / "j", {**IDENTITY, **changes}, resume=True)
    assert f"belongs to another run (differs in {named}):" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"[1]\n", b"\xff\xfe\n", b"stein", b"a report", MAGIC + bytes(2**21)])
def test_a_file_that_is_no_journal_is_refused_in_one_line_and_stays(tmp_path, content):
    path = journal_path(tmp_path / "j")
    path.write_bytes(content)
    if MAGIC.startswith(content):  # what a kill within the first write leaves
        assert reread(tmp_path / "j") == []
        return
    with pytest.raises(UsageError, match=r"not the journal|record is damaged") as caught:
        Journal(tmp_path / "j", IDENTITY, resume=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b'{"journal": 1, "config_sha256": "c"}\n', b"stein-bench journal 3\n..."])
def test_a_journal_of_another_version_is_named_as_such(tmp_path, content):
    journal_path(tmp_path / "j").write_bytes(content)
    with pytest.raises(UsageError, match="another version of stein-bench"):
        Journal(tmp_path / "j", IDENTITY, resume=True)


def test_a_folder_in_its_place_is_refused(tmp_path):
    journal_path(tmp_path / "j").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        Journal(tmp_path / "j", IDENTITY, resume=True)


def test_units_of_another_network_are_not_taken_over(tmp_path):
    with Journal(tmp_path / "j", IDENTITY, resume=False) as journal:
        journal.check_network("stein/running", "a" * 64)
        journal.add(unit(0))
    with Journal(tmp_path / "j", IDENTITY, resume=True) as journal:
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


def test_after_it_is_removed_nothing_is_left(tmp_path):
    write(tmp_path / "j", unit(0))
    remove_journals(tmp_path / "j")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_finished_units(tmp_path):
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "j", IDENTITY, resume=False) as journal:
        journal.add(unit(0))
        raise KeyboardInterrupt
    assert [bits(one) for one in reread(tmp_path / "j")] == [bits(unit(0))]


def test_the_journal_lies_beside_its_report(tmp_path):
    assert journal_path(tmp_path / "r.json") == tmp_path / "r.json.partial"
    assert journal_path(tmp_path / "r.json", 3) == tmp_path / "r.json.partial.3"

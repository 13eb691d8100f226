"""The benchmark of memory: it measures what it says, on data of every kind."""

from __future__ import annotations

import sys

import pytest

from benchmarks import memory
from stein_bench.data import open_data


@pytest.mark.parametrize("kind", [kind for kind in memory.WRITERS if kind != "hf"])
def test_every_data_set_has_the_size_and_the_shape_that_it_should_have(tmp_path, kind):
    samples = open_data(memory._data(tmp_path, kind, 20)).samples("test")
    assert (len(samples), samples.shape) == (20, (3, 32, 32))
    assert len(set(samples.labels.tolist())) == memory.CLASSES


def test_the_peak_is_that_of_the_process_and_a_failure_ends_the_benchmark(tmp_path, monkeypatch):
    used = "import sys, time; kept = b'x' * 200 * 2**20; time.sleep(0.3); sys.exit(3)"
    monkeypatch.setattr(memory, "COMMAND", (sys.executable, "-c", used))
    assert 200 < memory.peak(tmp_path, "none", (), 1) < 260
    monkeypatch.setattr(memory, "COMMAND", (sys.executable, "-c", "raise SystemExit('this is why')"))
    with pytest.raises(SystemExit, match="this is why"):
        memory.peak(tmp_path, "none", (), 1)


@pytest.mark.slow
def test_a_finished_journal_is_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["memory", "--smoke", "--only", "adversarials", "journal"])
    memory.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| --output, --save-adversarials",
        "| --resume of a finished journal",
    ]

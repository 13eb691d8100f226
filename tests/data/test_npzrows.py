"""Large arrays in .npz files, of which rows are read: the samples are those of the same array in memory."""

from __future__ import annotations

import gc
import pickle
import tempfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from stein_bench.data import npzrows, open_data
from stein_bench.data.rowfile import RowFile
from stein_bench.data.storedrows import RowStore
from stein_bench.errors import UsageError

RNG = np.random.default_rng(3)
WHOLE = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
CASES = {
    "8 bits": (WHOLE, ""),
    "channels first": (np.moveaxis(WHOLE, -1, 1), ""),
    "wide whole numbers": (WHOLE.astype(np.int64), ""),
    "16 bits": (WHOLE.astype(np.uint16) * 257, ",scale=65535"),
    "floats": ((WHOLE / 255).astype(np.float32), ""),
    "wide floats": (WHOLE / 255, ""),
    "gray": (WHOLE[..., 0], ",channels=3"),
    "booleans": (WHOLE > 100, ""),
    "big-endian": (WHOLE.astype(">f4"), ""),
    "Fortran order": (np.asfortranarray(WHOLE), ""),
}


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def spec(tmp_path, images, options="", save=np.savez):
    save(tmp_path / "set.npz", images=images, labels=np.arange(len(images)) % 3)
    return f"npz:{tmp_path / 'set.npz'}{options}"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_file_are_the_samples_in_memory(tmp_path, monkeypatch, temporary, case, save):
    text = spec(tmp_path, *CASES[case], save=save)
    memory = open_data(text).samples("test")
    monkeypatch.setattr(npzrows, "SMALL", 0)
    rows = open_data(text).samples("test")
    assert isinstance(rows.store, RowStore) == (case != "Fortran order")
    assert rows.sha256() == memory.sha256()
    assert rows.first(7).sha256() == memory.first(7).sha256()
    assert rows.notes() == memory.notes()
    assert rows.scaling() == memory.scaling()
    for chosen in (range(30), [29], [4, 5, 6, 3, 3, 0, 1]):
        assert torch.equal(rows.batch(chosen)[0], memory.batch(chosen)[0])
    assert torch.equal(pickle.loads(pickle.dumps(rows.store)).load([2, 9]), memory.store.load([2, 9]))


def test_the_temporary_file_of_a_compressed_array_goes_with_its_source(tmp_path, monkeypatch, temporary):
    monkeypatch.setattr(npzrows, "SMALL", 0)
    source = open_data(spec(tmp_path, WHOLE, save=np.savez_compressed))
    for _ in range(2):  # unpacked once
        source.samples("test").batch([0])
    assert [path.stat().st_size for path in temporary.iterdir()] == [WHOLE.nbytes]
    del source
    gc.collect()
    assert not list(temporary.iterdir())


def test_without_room_for_a_temporary_file_the_array_is_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(npzrows, "SMALL", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    samples = open_data(spec(tmp_path, WHOLE, save=np.savez_compressed)).samples("test")
    assert samples.store.in_memory
    assert samples.batch(range(30))[0].shape == (30, 3, 6, 5)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_noticed_before_a_sample_is_used(tmp_path, monkeypatch, temporary, save):
    monkeypatch.setattr(npzrows, "SMALL", 0)
    text = spec(tmp_path, WHOLE, save=save)
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("images.npy").compress_size
    content = bytearray(path.read_bytes())
    content[size // 2] ^= 8
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"set\.npz: damaged or not readable"):
        open_data(text).samples("test")


@pytest.mark.parametrize("value", [np.nan, -0.5, 300.0])
def test_every_value_is_checked(tmp_path, monkeypatch, temporary, value):
    images = (WHOLE / 255).astype(np.float32)
    images[-1, -1, -1, -1] = value
    text = spec(tmp_path, images)
    with pytest.raises(UsageError) as memory:
        open_data(text).samples("test")
    monkeypatch.setattr(npzrows, "SMALL", 0)
    monkeypatch.setattr(npzrows, "_PART_BYTES", 1000)
    with pytest.raises(UsageError) as rows:
        open_data(text).samples("test")
    assert str(rows.value) == str(memory.value)


def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(tmp_path):
    (tmp_path / "rows").write_bytes(bytes(100))
    file = RowFile(tmp_path / "rows", (20, 5), np.dtype(np.uint8), 0)
    assert file.rows([19]).shape == (1, 5)
    (tmp_path / "rows").write_bytes(bytes(90))
    with pytest.raises(UsageError, match="rows: damaged or not readable \\(it became shorter while it was read\\)"):
        file.rows([17, 18])


@pytest.mark.integration
def test_a_pass_over_ten_times_as_many_samples_takes_no_more_memory(tmp_path, monkeypatch, temporary):
    monkeypatch.setattr(npzrows, "SMALL", 0)
    monkeypatch.setattr(npzrows, "_PART_BYTES", 2**16)
    monkeypatch.setattr("stein_bench.data.arrays.PART_BYTES", 2**16)
    peaks = []
    for count in (1000, 10_000):
        text = spec(tmp_path, np.zeros((count, 16, 16, 3), np.uint8) + 7, save=np.savez_compressed)
        gc.collect()
        tracemalloc.start()
        samples = open_data(text).samples("test")
        samples.sha256()
        for start in range(0, count, 100):
            samples.batch(range(start, start + 100))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 9000 * 40  # labels, twice, and their check; a sample has 768 bytes

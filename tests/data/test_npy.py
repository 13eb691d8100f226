"""Arrays in .npy files: the same samples as in memory, without the array ever being read whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from stein_bench.data import Resize, open_data
from stein_bench.data.rowfile import open_npy
from stein_bench.data.samples import batches
from stein_bench.data.storedrows import CheckedRowStore, RowStore
from stein_bench.errors import UsageError
from tests.data.known import LABELS, as_inputs, check_known, clean_accuracy, known_images, opened, plain_accuracy
from tests.data.test_array_formats import refusal, save

IMAGES = known_images()
UNIT = IMAGES.astype(np.float32) / np.float32(255)


def spec(folder, images=IMAGES, labels=LABELS, name="images.npy") -> str:
    np.save(folder / name, images)
    np.save(folder / f"labels-{name}", labels)
    return f"npy:{folder / name},{folder / f'labels-{name}'}"


KNOWN = {
    "documented": (IMAGES, "", []),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), "", ["images.npy is read as N×C×H×W: 24×3×8×8"]),
    "floats": (
        UNIT, "", [f"images.npy has float32 values from {UNIT.min():.6g} to {UNIT.max():.6g}, taken as they are"],
    ),
    "other whole numbers": (IMAGES.astype(">i4"), "", []),
    "16 bits": (
        IMAGES.astype(np.uint16) * 257, ",scale=65535",
        ["images.npy has uint16 values from 15420 to 55769, divided by 65535 as scale= says"],
    ),
    "Fortran order": (
        np.asfortranarray(IMAGES), "",
        ["images.npy is in Fortran order, where each image is spread over the whole file, so reading is slow"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KNOWN)
def test_every_format_gives_the_known_samples_with_the_hash_of_the_same_in_memory(tmp_path, case):
    images, options, notes = KNOWN[case]
    samples = check_known(spec(tmp_path, images) + options)
    assert list(samples.notes()) == notes
    in_memory = opened(f"npz:{save(tmp_path, images=images, labels=LABELS)}{options}")
    assert samples.sha256() == in_memory.sha256()
    assert samples.first(5).sha256() == in_memory.first(5).sha256()
    if case != "other whole numbers":  # which are checked as they are read, and those in memory were before
        assert samples.scaling() == in_memory.scaling()
    assert samples.ids[1] == "images/test/0001"


def test_clean_accuracy_is_that_of_plain_pytorch(tmp_path):
    assert clean_accuracy(spec(tmp_path, UNIT), tmp_path) == plain_accuracy(tmp_path)


@pytest.mark.parametrize("images", [IMAGES, UNIT], ids=["8 bits", "floats"])
def test_other_processes_get_the_path_only(tmp_path, images):
    store = opened(spec(tmp_path, images)).store
    store.load([0])
    pickled = pickle.dumps(store)
    assert len(pickled) < 2000 < images.nbytes
    assert torch.equal(pickle.loads(pickled).load(range(24)), as_inputs(IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize("images", [IMAGES, UNIT], ids=["8 bits", "floats"])
def test_other_processes_read_the_same(tmp_path, images):
    samples = opened(spec(tmp_path, images))
    samples.batch([0])
    here, there = (list(batches(samples, 10, workers=workers)) for workers in (0, 1))
    assert torch.equal(torch.cat([labels for *_, labels in there]), torch.cat([labels for *_, labels in here]))
    assert torch.equal(torch.cat([images for _, images, _ in there]), torch.cat([images for _, images, _ in here]))
    assert torch.equal(torch.cat([images for _, images, _ in here]), as_inputs(IMAGES))


def test_hashing_and_loading_read_parts_only(tmp_path, monkeypatch):
    """No step takes more than a part of the array from the file."""
    taken = []
    monkeypatch.setattr("stein_bench.data.arrays.PART_BYTES", 3 * IMAGES[0].nbytes)
    plain = RowStore._rows
    monkeypatch.setattr(RowStore, "_rows", lambda self, indices: taken.append(len(indices)) or plain(self, indices))
    samples = opened(spec(tmp_path))
    whole = opened(f"npz:{save(tmp_path, images=IMAGES, labels=LABELS)}")
    assert samples.sha256() == whole.sha256()
    assert taken == [3] * 8
    assert not samples.store.in_memory


def test_training_files_a_resize_and_gray_channels(tmp_path):
    text = spec(tmp_path, IMAGES[..., 0])
    train = spec(tmp_path, IMAGES[:9, ..., 0], LABELS[:9], "train.npy").removeprefix("npy:").split(",")
    source = open_data(f"{text},train_images={train[0]},train_labels={train[1]},channels=3")
    assert source.splits == ("train", "test")
    assert len(source.samples("train")) == 9
    assert source.samples("test", Resize(4)).batch([0])[0].shape == (1, 3, 4, 4)
    with pytest.raises(UsageError, match="volumes are not resized"):
        open_data(spec(tmp_path, IMAGES[:, None], name="volumes.npy") + ",layout=NDHWC").samples("test", Resize(4))
    assert "train_images= names the test file itself" in refusal(
        f"{text},train_images={tmp_path / 'images.npy'},train_labels={train[1]}"
    )
    assert "train_images=FILE and train_labels=FILE belong together" in refusal(f"{text},train_images={train[0]}")
    with pytest.raises(UsageError, match="no split 'train'; name training files: ,train_images=FILE"):
        open_data(text).samples("train")


def test_a_part_of_a_file_is_a_store_of_its_own(tmp_path):
    spec(tmp_path)
    store = RowStore(open_npy(tmp_path / "images.npy"), start=7)
    assert torch.equal(store.load([0, 3]), as_inputs(IMAGES[[7, 10]]))


def test_a_value_beyond_the_recognized_scale_is_refused_before_it_is_used(tmp_path):
    """The scale is recognized by 256 samples; the others are checked by the survey and whenever they are read."""
    images = np.zeros((2000, 2, 2, 1), np.float32)
    images[:, 0] = 0.9
    images[1001, 1, 1] = 200
    text = spec(tmp_path, images, np.arange(2000) % 2)
    reason = "images.npy: sample 1001 has values from 0 to 200, but 1 is taken as white; clip them to 0 … 1"
    samples = opened(text)
    assert isinstance(samples.store, CheckedRowStore)
    assert "in 256 of 2000 samples" in samples.notes()[0]
    assert reason in refusal(text)
    with pytest.raises(UsageError, match="sample 1001"):
        samples.batch([1001])
    with pytest.raises(UsageError, match="sample 1001"):
        samples.sha256()
    assert len(list(samples.first(1001).surveyed())) == 1001


def test_wrong_files_are_refused_with_what_to_write(tmp_path):
    text = spec(tmp_path)
    images, labels = text.removeprefix("npy:").split(",")
    archive = save(tmp_path, images=IMAGES, labels=LABELS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:1000])
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", IMAGES.astype(object), allow_pickle=True)
    for refused, reason in {
        "npy": "npy needs two files: npy:IMAGES.npy,LABELS.npy",
        f"npy:{images}": "npy needs two files: npy:IMAGES.npy,LABELS.npy, not npy:",
        f"npy:{archive}": f"for an .npz file write npz:{archive}",
        f"npy:{archive},{labels}": f"own.npz: an .npz file, not a single array; write npz:{archive}",
        f"npz:{images}": "images.npy: not an .npz file but a single array; write npy:IMAGES.npy,LABELS.npy",
        f"npy:{images},{tmp_path / 'none.npy'}": "none.npy: no such file; npy data is written npy:",
        f"npy:{tmp_path / 'text.npy'},{labels}": "text.npy: not an .npy file; make one with numpy.save",
        f"npy:{tmp_path / 'cut.npy'},{labels}": "cut.npy: damaged or not readable (cut off: it has 1000 bytes of 4736",
        f"npy:{tmp_path / 'objects.npy'},{labels}": "objects.npy is object: Python objects, which are not unpickled",
        f"npy:{labels},{images}": "labels-images.npy is 24, and the labels are 24×8×8×3: exchange the two",
        f"npy:{labels},{labels}": "labels-images.npy is 24; N×H×W×C (images)",
        f"npy:{images},labels={labels}": "the two files have no names; write npy:IMAGES.npy,LABELS.npy",
        f"{text},scale=0.5": "images.npy has values from 60 to 217, but 0.5 is taken as white",
    }.items():  # fmt: skip
        assert reason in refusal(refused)


def test_paths_may_hold_commas(tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    check_known(spec(folder))

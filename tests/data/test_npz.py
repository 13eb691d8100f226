"""The user's own arrays: values arrive exactly, and whatever is wrong with a file is said in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from stein_bench.data import Resize, open_data
from stein_bench.errors import UsageError

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 1])


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def refusal(spec):
    """The one-line message with which `spec` is refused, at the latest when its samples are read."""
    with pytest.raises(UsageError) as caught:
        open_data(f"npz:{spec}").samples("test")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def good(tmp_path):
    return save(tmp_path / "good.npz", images=IMAGES, labels=LABELS)


def test_every_byte_value_becomes_its_255th_in_float32(tmp_path):
    images = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1)
    path = save(tmp_path / "a.npz", images=images, labels=np.array([0, 1]))
    loaded, _ = open_data(f"npz:{path}").samples("test").batch([0, 1])
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    assert loaded.shape == (2, 1, 8, 16)
    assert np.array_equal(loaded.numpy().ravel(), expected)
    assert (loaded.min(), loaded.max()) == (0, 1)


def test_images_arrive_channels_first_in_file_order(good):
    samples = open_data(f"npz:{good}").samples("test")
    images, labels = samples.batch([4, 1])
    assert samples.shape == (3, 5, 4)
    assert images.is_contiguous()
    assert torch.equal(images, torch.from_numpy(IMAGES[[4, 1]]).permute(0, 3, 1, 2) / 255)
    assert labels.tolist() == [2, 2]
    assert samples.ids[:2] == ("good/test/0000", "good/test/0001")


def test_volumes_arrive_channels_first_and_are_not_resized(tmp_path):
    volumes = RNG.integers(0, 256, (3, 2, 4, 5, 1), dtype=np.uint8)
    source = open_data(f"npz:{save(tmp_path / 'v.npz', images=volumes, labels=np.array([0, 1, 1]))}")
    samples = source.samples("test")
    assert samples.shape == (1, 2, 4, 5)
    assert torch.equal(samples.batch([2])[0][0, 0], torch.from_numpy(volumes[2, ..., 0]) / 255)
    assert (source.native_size, source.uniform, source.channels) == (None, True, 1)
    with pytest.raises(UsageError, match="volumes are not resized"):
        source.samples("test", Resize(4))


def test_a_training_file_adds_the_training_split_and_its_classes(tmp_path, good):
    train = save(tmp_path / "t.npz", images=IMAGES[:2], labels=np.array([0, 4]))
    source = open_data(f"npz:{good},train={train}")
    assert source.splits == ("train", "test")
    assert source.classes == ("0", "1", "2", "3", "4")
    assert source.samples("train").labels.tolist() == [0, 4]
    assert source.samples("train").ids == ("good/train/0000", "good/train/0001")
    assert len(source.samples("test")) == 6


def test_without_a_training_file_the_missing_split_is_explained(good):
    source = open_data(f"npz:{good}")
    assert source.splits == ("test",)
    with pytest.raises(UsageError, match="no split 'train'; name a training file: npz:PATH,train=PATH"):
        source.samples("train")


def test_a_path_may_hold_colons_and_commas(tmp_path):
    folder = tmp_path / "a:b,train=c"
    folder.mkdir()
    path = save(folder / "x,y.npz", images=IMAGES, labels=LABELS)
    other = save(tmp_path / "t,u.npz", images=IMAGES, labels=LABELS)
    assert open_data(f"npz:{path},train={other}").splits == ("train", "test")


def test_tilde_is_the_home_folder(good, monkeypatch):
    monkeypatch.setenv("HOME", str(good.parent))
    assert open_data("npz:~/good.npz").name == "npz:good.npz"


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, ">i4"])
def test_other_whole_numbers_in_range_are_the_same_samples(tmp_path, good, dtype):
    path = save(tmp_path / "wide.npz", images=IMAGES.astype(dtype), labels=LABELS.astype(np.uint8))
    wide, plain = (open_data(f"npz:{p}").samples("test") for p in (path, good))
    assert wide.sha256() == plain.sha256()
    assert torch.equal(wide.batch(range(6))[0], plain.batch(range(6))[0])


def test_class_names_come_from_the_file_and_may_outnumber_the_labels(tmp_path):
    path = save(tmp_path / "n.npz", images=IMAGES, labels=LABELS, classes=["cat", "dog", "eel", "fox"])
    assert open_data(f"npz:{path}").classes == ("cat", "dog", "eel", "fox")


def test_native_size_is_the_side_of_square_images_only(tmp_path, good):
    square = save(tmp_path / "s.npz", images=IMAGES[:, :4], labels=LABELS)
    assert open_data(f"npz:{square}").native_size == 4
    assert open_data(f"npz:{good}").native_size is None
    both = open_data(f"npz:{square},train={good}")
    assert (both.native_size, both.uniform) == (None, False)
    with pytest.raises(UsageError, match="differ in size; give --image-size"):
        both.samples("test")
    assert both.samples("train", Resize(4)).shape == (3, 4, 4)


def test_opening_does_not_read_the_pixels(tmp_path):
    images = RNG.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    data = bytearray(save(tmp_path / "large.npz", images=images, labels=LABELS).read_bytes())
    data[data.index(images.tobytes()) + images.size - 1] ^= 1  # their checksum no longer holds
    broken = tmp_path / "flipped.npz"
    broken.write_bytes(data)
    source = open_data(f"npz:{broken}")
    with pytest.raises(UsageError, match=r"flipped\.npz: damaged or not readable \(Bad CRC"):
        source.samples("test")


BAD_ARRAYS = {
    "complex numbers": ({"images": IMAGES * 1j}, "`images` is complex128; store whole numbers from 0 to 255 as uint8"),
    "above 255": (
        {"images": IMAGES.astype(int) + 1},
        "`images` has values from .* to 256; store them as uint8",
    ),
    "below 0": ({"images": IMAGES.astype(int) - 9}, "`images` has values from -9 to"),
    "exchanged with the labels": (
        {"images": LABELS, "labels": IMAGES},
        "`images` is 6, and the labels are 6×5×4×3: exchange the two",
    ),
    "one value that is not finite": (
        {"images": np.concatenate([[np.nan], IMAGES.ravel()[1:] / 255]).reshape(IMAGES.shape)},
        "`images` has 1 value that is NaN or infinite; replace them",
    ),
    "rank 2": ({"images": IMAGES.reshape(6, -1)}, "`images` is 6×60; N×H×W×C .* is needed; reshape rows of pixels"),
    "rank 6": ({"images": IMAGES[None, None]}, "`images` is 1×1×6×5×4×3; N×H×W×C"),
    "empty": ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"`images` is empty \(0×5×4×3\)"),
    "objects": (
        {"images": IMAGES.astype(object)},
        "`images` is object: Python objects, which are not unpickled; store whole numbers",
    ),
    "object labels": (
        {"labels": LABELS.astype(object)},
        "`labels` is object; store class indices as whole numbers, or names with .astype",
    ),
    "float labels": ({"labels": LABELS / 2}, "`labels` is float64; store class indices as whole numbers"),
    "too few labels": ({"labels": LABELS[:5]}, "`labels` is 5, but there are 6 images; give one label per image"),
    "label maps": ({"labels": IMAGES[..., 0]}, "`labels` is 6×5×4, but there are 6 images; give one label per image"),
    "negative labels": ({"labels": LABELS - 1}, "`labels` has the value -1; class indices start at 0"),
    "huge labels": (
        {"labels": LABELS.astype(np.uint64) + np.uint64(2**63)},
        f"`labels` has the value {2**63 + 2}; class indices",
    ),
    "label too large": (
        {"classes": ["a", "b"]},
        "`labels` has the value 2, but `classes` names 2; labels go from 0 to 1",
    ),
    "numbered classes": ({"classes": np.arange(3)}, "`classes` is int64 3; store a list of names as strings"),
    "repeated classes": ({"classes": ["a", "b", "a"]}, "`classes` names a class twice"),
    "one class": ({"labels": LABELS * 0}, "has only one class"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_by_file_and_reason(tmp_path, case):
    arrays, reason = BAD_ARRAYS[case]
    path = save(tmp_path / "bad.npz", **({"images": IMAGES, "labels": LABELS} | arrays))
    message = refusal(path)
    assert re.search(reason, message), message
    assert str(path) in message


def test_missing_keys_are_named_beside_those_that_are_there(tmp_path):
    assert "lacks `images` and `labels`; it holds a (6×5×4×3, uint8), b (6, int64); name them: " in (
        message := refusal(save(tmp_path / "k.npz", a=IMAGES, b=LABELS))
    )
    assert message.endswith("; name them: ,images=a,labels=b")
    assert "lacks `labels`; it holds images (6×5×4×3, uint8)" in refusal(save(tmp_path / "l.npz", images=IMAGES))
    assert "it holds nothing" in refusal(save(tmp_path / "m.npz"))


def test_files_that_are_no_npz_are_refused(tmp_path, good):
    assert "no such file" in refusal(tmp_path / "none.npz")
    assert "not a file; npz data is written npz:PATH" in refusal(tmp_path)
    for name, content in (
        ("text.npz", b"hello"),
        ("empty.npz", b""),
    ):
        (tmp_path / name).write_bytes(content)
        assert f"{name}: not an .npz file" in refusal(tmp_path / name)
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:200])
    assert "cut.npz: cut off or damaged (a zip archive without its end)" in refusal(tmp_path / "cut.npz")
    np.save(tmp_path / "single.npy", IMAGES)
    assert "not an .npz file" in refusal(tmp_path / "single.npy")


def test_a_damaged_member_is_refused(tmp_path, good):
    data = good.read_bytes()
    broken = tmp_path / "broken.npz"
    broken.write_bytes(data.replace(b"\x93NUMPY", b"\x93NVMPY", 1))
    assert "broken.npz: damaged or not readable" in refusal(broken)


def test_training_and_test_file_must_go_together(tmp_path, good):
    gray = save(tmp_path / "gray.npz", images=IMAGES[..., :1], labels=LABELS)
    assert "need the same number of axes and channels" in refusal(f"{good},train={gray}")
    assert "`images` is 6×5×4×1 and in" in refusal(f"{good},train={gray}")
    assert "names the test file itself" in refusal(f"{good},train={good}")
    one = save(tmp_path / "one.npz", images=IMAGES, labels=LABELS, classes=["a", "b", "c"])
    two = save(tmp_path / "two.npz", images=IMAGES, labels=LABELS, classes=["a", "c", "b"])
    assert "`classes` differs; use the same names" in refusal(f"{one},train={two}")
    wide = save(tmp_path / "wide.npz", images=IMAGES, labels=LABELS + 1)
    message = refusal(f"{one},train={wide}")
    assert f"{wide}: `labels` has the value 3, but `classes` names 3" in message


@pytest.mark.parametrize("spec", ["npz", "npz:", "npz:,train=a.npz", "npz:a.npz,train="])
def test_a_missing_path_is_said(spec):
    with pytest.raises(UsageError, match="npz needs a path: npz:PATH or npz:PATH,train=PATH"):
        open_data(spec)

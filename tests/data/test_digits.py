"""The embedded digits: what is in the file, and what models are given."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest
import torch

from stein_bench.data import Resize, open_data
from stein_bench.errors import UsageError

STORED = files("stein_bench.data") / "digits.npz"


@pytest.fixture
def stored():
    with STORED.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def test_embedded_file_is_the_one_that_was_published():
    digest = hashlib.sha256(STORED.read_bytes()).hexdigest()
    assert digest == "c26edd9d945fe37250bbcd6f38da47bd0a0cab609a40603541e79841af88d24d"


def test_embedded_file_holds_all_images_in_their_original_order(stored):
    assert stored["images"].shape == (1797, 8, 8)
    assert (stored["images"].min(), stored["images"].max()) == (0, 16)
    assert stored["labels"][:20].tolist() == [*range(10), *range(10)]
    assert stored["images"][0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # first line of UCI's optdigits.tes


def test_split_is_stratified_by_class(stored):
    assert np.bincount(stored["labels"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    in_test = np.bincount(stored["labels"][stored["test"]])
    assert in_test.tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]
    assert np.abs(in_test - np.bincount(stored["labels"]) * 500 / 1797).max() < 1


def test_splits_are_disjoint_and_complete():
    source = open_data("digits")
    train, test = (source.samples(split) for split in source.splits)
    assert (len(train), len(test)) == (1297, 500)
    assert not set(train.ids) & set(test.ids)
    assert (test.ids[0], test.ids[17]) == ("digits/test/0000", "digits/test/0017")
    assert len(set(train.ids)) == 1297


def test_metadata_agrees_with_the_samples():
    source = open_data("digits")
    samples = source.samples("test")
    assert (source.name, source.task, source.label_space) == ("digits", "classification", "own")
    assert source.classes == samples.classes == tuple("0123456789")
    assert samples.shape == (source.channels, source.native_size, source.native_size) == (3, 32, 32)
    assert source.uniform


def test_pixels_are_sixteenths_in_blocks_of_four_by_four_and_grey(stored):
    images, labels = open_data("digits").samples("test").batch(range(500))
    originals = stored["images"][stored["test"]]
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    for dy in range(4):
        for dx in range(4):
            assert np.array_equal(images[:, 0, dy::4, dx::4].double().numpy() * 16, originals)
    assert labels.dtype == torch.int64
    assert np.array_equal(labels.numpy(), stored["labels"][stored["test"]])


def test_resize_applies_to_the_delivered_images():
    samples = open_data("digits").samples("test", Resize(8, interpolation="nearest"))
    plain = open_data("digits").samples("test")
    assert samples.shape == (3, 8, 8)
    assert torch.equal(samples.batch([3])[0], plain.batch([3])[0][..., ::4, ::4])


def test_unknown_split_and_a_path_are_refused():
    with pytest.raises(UsageError, match="digits has no split 'val'; it has train and test"):
        open_data("digits").samples("val")
    with pytest.raises(UsageError, match="takes no path: write digits"):
        open_data("digits:/somewhere")

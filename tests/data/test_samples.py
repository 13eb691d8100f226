"""Samples and batches: order, limits, identity, reading ahead, resizing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from stein_bench.data import Resize, Samples, batches
from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import resize_image, resize_tensor
from stein_bench.errors import UsageError

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (7, 6, 9, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 1])


def make(images=IMAGES, labels=LABELS, resize=None):
    ids = tuple(f"toy/test/{i:04d}" for i in range(len(labels)))
    return Samples("toy", "test", ("a", "b", "c"), labels, ids, ArrayStore(images, resize))


def test_hash_is_the_same_for_the_same_samples_and_changes_with_each_part_of_them():
    pixel, label = IMAGES.copy(), LABELS.copy()
    pixel[3, 2, 1, 0] ^= 1
    label[3] = 1
    swap = np.array([1, 0, 2, 3, 4, 5, 6])
    variants = [
        make(),
        make(images=pixel),
        make(labels=label),
        make(images=IMAGES[swap], labels=LABELS[swap]),
        make(images=IMAGES.reshape(7, 9, 6, 3)),
        make(resize=Resize(5)),
        make(resize=Resize(5, crop_pct=0.9)),
        make(resize=Resize(5, interpolation="bicubic")),
        make().first(6),
    ]
    assert len({samples.sha256() for samples in variants}) == len(variants)
    assert make().sha256() == make(images=IMAGES.copy(order="F")).sha256()
    assert len(make().sha256()) == 64


def test_hash_of_the_first_samples_is_that_of_a_data_set_with_only_those():
    assert make().first(4).sha256() == make(IMAGES[:4], LABELS[:4]).sha256()


def test_a_limit_on_samples_in_the_order_of_their_classes_is_said():
    """The accuracy on them says nothing about the other classes."""
    ordered = make(labels=np.array([0, 0, 0, 1, 1, 2, 2]))
    assert ordered.first(2).notes() == (
        "the data set's own order is kept, and it is sorted by class: the first 2 samples are from 1 of 3 classes",
    )
    assert ordered.notes() == ordered.first(7).notes() == make().first(2).notes() == ()
    assert make(IMAGES[:3], np.array([1, 0, 2])).first(2).notes() == ()  # one of each class is no order


def test_hash_is_computed_once():
    images = IMAGES.copy()
    samples = make(images)
    before = samples.sha256()
    images[0] = 0
    assert samples.sha256() == before


def test_limit_keeps_the_first_samples_in_order():
    samples = make().first(3)
    assert len(samples) == 3
    assert samples.ids == ("toy/test/0000", "toy/test/0001", "toy/test/0002")
    assert torch.equal(samples.batch([0, 1, 2])[0], make().batch([0, 1, 2])[0])
    with pytest.raises(IndexError, match="outside 0 … 2"):
        samples.batch([3])


def test_limit_of_none_or_more_than_there_are_keeps_all():
    samples = make()
    assert samples.first(None) is samples.first(7) is samples.first(100) is samples
    for limit in (0, -1):
        with pytest.raises(UsageError, match=f"at least 1, not {limit}"):
            samples.first(limit)


def test_negative_indices_are_no_way_to_count_from_the_end():
    with pytest.raises(IndexError, match="outside 0 … 6"):
        make().batch([-1])


def test_labels_cannot_be_changed_from_outside():
    labels = LABELS.copy()
    samples = make(labels=labels)
    labels[0] = 2
    assert samples.labels[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        samples.labels[0] = 2
    samples.batch([0])[1][0] = 2
    assert samples.labels[0] == 0


class Maps:
    """Label maps in memory."""

    def __init__(self, maps):
        self.maps = maps

    def load(self, indices):
        return torch.from_numpy(self.maps[list(indices)])

    def update_hash(self, digest, count):
        digest.update(self.maps[:count].tobytes())


def test_the_labels_of_a_dense_task_are_maps_read_with_the_images_and_part_of_the_identity():
    maps = RNG.integers(0, 3, (7, 6, 9))
    dense = replace(make(), labels=np.empty(0), maps=Maps(maps))
    assert (len(dense), len(dense.first(3)), dense.largest_label) == (7, 3, 2)
    assert make().largest_label == 2
    parts = [labels for _, _, labels in batches(dense, 2)]
    assert torch.equal(torch.cat(parts), torch.from_numpy(maps))
    changed = maps.copy()
    changed[6, 5, 8] += 1
    other = replace(dense, maps=Maps(changed))
    assert other.sha256() != dense.sha256() != make().sha256()
    assert other.first(6).sha256() == dense.first(6).sha256()


@pytest.mark.integration
@given(size=st.integers(1, 9), workers=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_batches_partition_the_samples_in_order_whatever_the_workers(size, workers):
    samples = make(resize=Resize(4))
    parts = list(batches(samples, size, workers=workers))
    assert [len(indices) for indices, _, _ in parts] == [min(size, 7 - start) for start in range(0, 7, size)]
    images, labels = samples.batch(range(7))
    assert np.concatenate([indices for indices, _, _ in parts]).tolist() == list(range(7))
    assert torch.equal(torch.cat([part for _, part, _ in parts]), images)
    assert torch.equal(torch.cat([part for _, _, part in parts]), labels)


@pytest.mark.parametrize(("size", "workers", "reason"), [(0, 0, "batch size"), (4, -1, "workers")])
def test_senseless_batching_is_refused_before_anything_is_read(size, workers, reason):
    with pytest.raises(UsageError, match=reason):
        batches(make(), size, workers=workers)


class BrokenStore(ArrayStore):
    def load(self, indices):
        if 4 in indices:
            raise UsageError("sample 4 is broken")
        return super().load(indices)


def test_a_reading_error_arrives_as_it_was_after_the_batches_before_it():
    samples = Samples("toy", "test", ("a", "b", "c"), LABELS, tuple("abcdefg"), BrokenStore(IMAGES))
    seen = []
    with pytest.raises(UsageError, match=r"^sample 4 is broken$"):
        seen.extend(indices.tolist() for indices, _, _ in batches(samples, 2))
    assert seen == [[0, 1], [2, 3]]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "crop_pct"), [(4, 1.0), (12, 0.875), (6, 1.0), (5, 0.8)])
def test_resizing_agrees_with_torchvision(size, crop_pct, interpolation):
    resize = Resize(size, crop_pct, interpolation)
    for images in (IMAGES, IMAGES.transpose(0, 2, 1, 3).copy()):
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        short = round(size / crop_pct)
        expected = reference.center_crop(
            reference.resize(tensor, [short], InterpolationMode(interpolation), antialias=True), [size, size]
        )
        assert torch.allclose(resize_tensor(tensor, resize), expected.clamp(0, 1), atol=1e-6)
        picture = Image.fromarray(images[0])
        expected_picture = reference.center_crop(
            reference.resize(picture, [short], InterpolationMode(interpolation)), [size, size]
        )
        assert np.array_equal(np.asarray(resize_image(picture, resize)), np.asarray(expected_picture))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_files_and_arrays_are_resized_alike_up_to_rounding_to_8_bits(interpolation):
    # Middle values only: Pillow clips bicubic overshoot between its two passes, torch after both.
    image = np.kron(RNG.integers(90, 166, (4, 5), dtype=np.uint8), np.ones((9, 9), np.uint8))
    resize = Resize(16, 0.9, interpolation)
    as_file = np.asarray(resize_image(Image.fromarray(image), resize))
    as_array = resize_tensor(torch.from_numpy(image)[None, None] / 255, resize)[0, 0]
    assert np.abs(as_array.numpy() * 255 - as_file).max() < 1.1


def test_crop_without_scaling_takes_the_center_exactly():
    images = torch.arange(6 * 10).reshape(1, 1, 6, 10) / 60
    assert torch.equal(resize_tensor(images, Resize(6)), images[..., 2:8])


def test_bicubic_overshoot_is_clamped():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[:, :, 4:] = 255
    resized, _ = make(image, LABELS[:1], Resize(32, interpolation="bicubic")).batch([0])
    assert (resized.min(), resized.max()) == (0, 1)


@pytest.mark.parametrize("resize", [None, Resize(4), Resize(6), Resize(11, interpolation="nearest")])
def test_a_sample_looks_the_same_in_every_batch(resize):
    samples = make(resize=resize)
    together, _ = samples.batch(range(7))
    assert together.shape == (7, *samples.shape)
    assert together.is_contiguous()
    assert together.dtype == torch.float32
    for index in range(7):
        assert torch.equal(samples.batch([index])[0][0], together[index])


def test_an_empty_batch_has_the_shape_of_one():
    for resize in (None, Resize(4)):
        images, labels = make(resize=resize).batch([])
        assert images.shape == (0, *make(resize=resize).shape)
        assert labels.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0,), "at least 1 pixel, not 0"),
        ((8, 0.0), "crop_pct must be above 0 and at most 1, not 0.0"),
        ((8, 1.5), "not 1.5"),
        ((8, float("nan")), "not nan"),
        ((8, 1.0, "bicubical"), "unknown interpolation 'bicubical'. Did you mean 'bicubic'"),
    ],
)
def test_senseless_resizing_is_refused(arguments, reason):
    with pytest.raises(UsageError, match=reason):
        Resize(*arguments)

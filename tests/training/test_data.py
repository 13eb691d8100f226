"""Validation splits and augmentation: determined by seeds, with label maps augmented like images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import random_split

from stein_bench.errors import UsageError
from stein_bench.seeds import derive_seed
from stein_bench.tasks import IGNORE
from stein_bench.training.augment import augment, draw
from stein_bench.training.splits import epoch_batches, split_indices

SEEDS = [derive_seed("test", i) for i in range(400)]


@pytest.mark.parametrize("count", [10, 14, 1437, 12000])
def test_a_plain_split_matches_torch(count):
    train, validation = split_indices(count, 0.2, 6)
    first, second = random_split(range(count), [0.8, 0.2], generator=torch.Generator().manual_seed(6))
    assert train.tolist() == sorted(first.indices)
    assert validation.tolist() == sorted(second.indices)


@given(st.lists(st.integers(0, 4), min_size=10, max_size=60), st.floats(0.1, 0.9), st.integers(0, 5))
def test_a_stratified_split_keeps_the_share_of_every_class(labels, share, seed):
    labels = np.array(labels)
    train, validation = split_indices(len(labels), share, seed, labels)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    for label in np.unique(labels):
        expected = share * (labels == label).sum()
        assert abs((labels[validation] == label).sum() - expected) <= 1
    assert abs(len(validation) - share * len(labels)) <= 0.5 + 1e-9


def test_a_stratified_split_is_drawn_at_random():
    labels = np.repeat(np.arange(2), 50)
    chosen = [set(split_indices(100, 0.2, seed, labels)[1].tolist()) for seed in range(40)]
    assert len({frozenset(part) for part in chosen}) == 40
    assert set.union(*chosen) == set(range(100))


def test_no_share_and_impossible_shares():
    train, validation = split_indices(5, 0.0, 0, np.zeros(5))
    assert (train.tolist(), validation.tolist()) == ([0, 1, 2, 3, 4], [])
    with pytest.raises(UsageError, match="leaves one part empty"):
        split_indices(3, 0.1, 0)


def test_batches_of_an_epoch_are_a_permutation_that_changes_with_it():
    first, again, second = (np.concatenate(epoch_batches(100, 32, epoch, 0)) for epoch in (0, 0, 1))
    assert sorted(first) == list(range(100))
    assert (first == again).all()
    assert (first != second).any()


@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 4, 5, 6)])
def test_an_augmented_sample_is_a_crop_of_the_padded_sample_perhaps_flipped(shape):
    inputs = torch.rand(len(SEEDS), *shape)
    labels = torch.arange(len(SEEDS))
    moved, same = augment(inputs, labels, SEEDS, crop_padding=2, horizontal_flip=True)
    assert torch.equal(same, labels)
    for i, seed in enumerate(SEEDS[:20]):
        corner, mirrored = draw(seed, len(shape) - 1, 2, True)
        padded = np.pad(inputs[i].numpy(), [(0, 0), *[(2, 2)] * (len(shape) - 1)])
        window = padded[(slice(None), *(slice(a, a + n) for a, n in zip(corner, shape[1:], strict=True)))]
        np.testing.assert_array_equal(moved[i].numpy(), window[..., ::-1] if mirrored else window)


def test_draws_are_uniform():
    draws = [draw(seed, 2, 2, True) for seed in SEEDS]
    for axis in range(2):
        counts = np.bincount([corner[axis] for corner, _ in draws], minlength=5)
        assert counts.min() > 50  # 80 expected, deviation 8
    assert 150 < sum(mirrored for _, mirrored in draws) < 250


def test_per_pixel_labels_move_with_the_pixels():
    labels = torch.randint(0, 19, (50, 6, 8))
    inputs = (labels[:, None] + 1) / 20.0  # 0 is outside
    moved, moved_labels = augment(inputs, labels, SEEDS[:50], crop_padding=3, horizontal_flip=True)
    inside = moved[:, 0] > 0
    assert torch.equal((moved[:, 0] * 20).round().long()[inside] - 1, moved_labels[inside])
    assert (moved_labels[~inside] == IGNORE).all()
    assert (~inside).any()


def test_augmentation_of_a_sample_does_not_depend_on_the_others():
    inputs, labels = torch.rand(6, 3, 5, 5), torch.zeros(6)
    whole, _ = augment(inputs, labels, SEEDS[:6], crop_padding=1, horizontal_flip=True)
    alone, _ = augment(inputs[4:5], labels[4:5], SEEDS[4:5], crop_padding=1, horizontal_flip=True)
    assert torch.equal(whole[4:5], alone)
    assert augment(inputs, labels, (), crop_padding=0, horizontal_flip=False)[0] is inputs

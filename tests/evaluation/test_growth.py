"""Memory that stays with every sample and every batch of a run: bytes of outcomes, not texts, inputs or lists."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
import torch

from stein_bench.config import make_config
from stein_bench.evaluation.replay import Kept
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.spool import IN_MEMORY, RowSpool
from stein_bench.memory import give_back

NETWORK = """
from torch import nn


def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
"""
BATCH = 10


@pytest.fixture
def held(tmp_path, monkeypatch, unchecked):
    """Return a function: samples → bytes at the peak of a run over so many."""
    (tmp_path / "net.py").write_text(NETWORK)
    monkeypatch.setattr("stein_bench.data.npzrows.SMALL", 0)
    monkeypatch.setattr("stein_bench.data.npzrows._PART_BYTES", 2**15)
    monkeypatch.setattr("stein_bench.data.arrays.PART_BYTES", 2**15)

    def peak(count, *, traced=True):
        images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / "set.npz", images=images, labels=np.arange(count) % 3)
        del images
        options = {
            "model": f"{tmp_path / 'net.py'}:make", "data": f"npz:{tmp_path / 'set.npz'}", "weights": "none",
            "attack": ["fgsm"], "batch_size": str(BATCH),
        }  # fmt: skip
        config = make_config(options, None)
        gc.collect()
        if traced:
            tracemalloc.start()
        try:
            run_evaluation(config)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()  # nothing if it was not started

    return peak


@pytest.mark.integration
def test_a_batch_leaves_a_bounded_number_of_bytes_behind(held):
    held(20, traced=False)  # what is imported and cached on the way
    few, many = held(100), held(900)
    # Two units a batch with a handful of columns: 8 bytes for each index and some 130 for each array, which for batches
    # of ten are most of it. An image has 192 bytes, an input 768.
    assert (many - few) / 800 < 400


def test_rows_put_aside_are_the_same_from_memory_and_from_the_disk(monkeypatch):
    rows = torch.rand(30, 2, 3)
    for limit in (IN_MEMORY, 100):
        monkeypatch.setattr("stein_bench.evaluation.spool.IN_MEMORY", limit)
        spool = RowSpool()
        assert [spool.append(rows[:10]), spool.append(rows[10:10]), spool.append(rows[10:])] == [
            range(10), range(10, 10), range(10, 30),
        ]  # fmt: skip
        assert torch.equal(spool.rows([29, 0, 0, 12]), rows[[29, 0, 0, 12]])
        assert spool.rows([]).shape == (0, 2, 3)
        spool.close()


def test_adversarial_inputs_for_replays_are_not_held_in_memory(monkeypatch):
    monkeypatch.setattr("stein_bench.evaluation.spool.IN_MEMORY", 2**12)
    kept, inputs = Kept(), torch.rand(100, 3, 32, 32)
    tracemalloc.start()
    try:
        for number in range(20):
            kept.add(number, np.arange(100) + 100 * number, inputs, 1 - inputs, torch.zeros(100))
        traced = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert traced < 2**20
    assert [batch.inputs is None for batch in kept.batches] == [False, *[True] * 19]
    assert torch.equal(kept.batches[19].adv_inputs, 1 - inputs)


def test_giving_memory_back_is_harmless_everywhere(monkeypatch):
    give_back()
    monkeypatch.setattr("stein_bench.memory._malloc_trim", lambda: None)
    give_back()

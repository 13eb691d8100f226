"""Two processes give the result of one, up to rounding, however a batch is split."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from stein_bench.distributed import (
    is_main,
    own_part,
    process_group,
    rank,
    sum_over_processes,
    wait_for_all,
    world_size,
)
from tests.training.small import CPU, parts, recipe, stripes, training, write_net

CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("sample", None, {}),
    ("stein", None, {"optimizer": "adamw", "learning_rate": 1e-3, "clip_norm": 1.0}),
    ("james-stein", "pgd:eps=8/255,steps=2", {"crop_padding": 1, "horizontal_flip": True}),
]
RUN = {"epochs": 2, "limit": 200, "batch_size": 33, "bn": "stein", "recipe": "cifar10"}


def run_case(bn: str, attack: str | None, changes: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Train the small network, without dropout, on 7 batches of 29 or 28 samples; return state and history."""
    from stein_bench.attacks.attack import resolve_attack
    from stein_bench.normalization.convert import convert_batchnorm
    from stein_bench.training.loop import Adversary

    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 3),
    )  # fmt: skip
    if bn != "sample":
        convert_batchnorm(model, bn)
    adversary = Adversary(resolve_attack(attack), 3) if attack else None
    chosen = recipe(batch_size=29, epochs=2, learning_rate=0.05) if not changes else recipe(batch_size=29, **changes)
    made = training(chosen, model=model, data=parts(stripes(), validated=41), adversary=adversary)
    made.run()
    return model.state_dict(), [record.model_dump(exclude={"seconds"}, exclude_none=True) for record in made.history]


def run_whole(net: str, output: Path) -> str:
    """Train by `run_training` and return the name of the weights."""
    from stein_bench.training.config import make_train_config
    from stein_bench.training.run import run_training

    return run_training(make_train_config({"model": net, "output": str(output), **RUN})).card.weights


def work(number: int, port: int, folder: str) -> None:
    """Be one of two processes."""
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    with process_group(CPU):
        found = [run_case(*case) for case in CASES]
        sums = sum_over_processes([number + 1.0, 10.0], CPU)
        torch.save((found, sums, rank(), is_main(), world_size()), Path(folder) / f"{number}.pt")
        run_whole(f"{folder}/net.py:make", Path(folder) / "two.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    write_net(folder)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, str(folder)), nprocs=2)
    return folder


needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


@needs_gloo
@pytest.mark.slow
def test_two_processes_give_the_result_of_one(folder: Path) -> None:
    first, second = (torch.load(folder / f"{number}.pt", weights_only=True) for number in (0, 1))
    assert [first[1:], second[1:]] == [([3.0, 20.0], 0, True, 2), ([3.0, 20.0], 1, False, 2)]
    for i, case in enumerate(CASES):
        state, history = run_case(*case)
        for other, other_history in (first[0][i], second[0][i]):
            assert list(other) == list(state)
            for name, tensor in state.items():
                torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)
            for record, expected in zip(other_history, history, strict=True):
                assert record == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert all(torch.equal(first[0][i][0][name], second[0][i][0][name]) for name in state)


@needs_gloo
@pytest.mark.slow
def test_one_process_writes_and_the_card_records_their_number(folder: Path) -> None:
    from stein_bench.models.weights import read_weights
    from stein_bench.training.card import read_training_card

    card = read_training_card(folder / "two.json")
    assert (card.processes, card.identity["processes"], len(card.epochs)) == (2, 2, 2)
    run_whole(f"{folder}/net.py:make", folder / "one.safetensors")
    one, two = (read_weights(folder / f"{name}.safetensors") for name in ("one", "two"))
    assert list(one.state) == list(two.state)
    assert one.card == two.card
    assert int(one.state["1.count"]) == int(two.state["1.count"])
    assert sorted(path.name for path in folder.glob("*two*")) == ["two.json", "two.safetensors"]


def test_with_one_process_everything_is_the_identity() -> None:
    import numpy as np

    with process_group(CPU):
        assert (world_size(), rank(), is_main()) == (1, 0, True)
        assert sum_over_processes([1.0, 2.0], CPU) == [1.0, 2.0]
        assert own_part(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
        wait_for_all()

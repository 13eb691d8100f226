"""Fitted networks in the cache: any damage is noticed and mended, and processes at once train a network once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stein_bench.config import make_config
from stein_bench.evaluation import fitted, networks
from stein_bench.evaluation.fitted import FittedNetworks
from stein_bench.evaluation.run import run_evaluation
from stein_bench.files import locks
from stein_bench.files.locks import take
from stein_bench.models.card import WeightsCard
from stein_bench.progress import Silent
from stein_bench.report.document import Report
from tests.evaluation.test_memory import Notes
from tests.fits import FitsOnce

pytestmark = pytest.mark.usefixtures("unchecked")
CARD = WeightsCard(
    model="m",
    bn="sample",
    num_classes=2,
    mean=(0.5, 0.5, 0.5),
    std=(1.0, 1.0, 1.0),
    input_shape=(3, 8, 8),
    data="d",
    recipe={},
    seed=0,
)


def tiny() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))


@pytest.fixture
def run(model: str, data: str) -> Callable[..., tuple[Report, list[str]]]:
    """Evaluate a network that is fitted; return the report and the notes."""

    def evaluate(**options: Any) -> tuple[Report, list[str]]:
        notes = Notes()
        report = run_evaluation(
            make_config({"model": model, "data": data, "attack": "fgsm", **options}), progress=notes
        )
        return report, notes.notes

    return evaluate


def entry(cache: Path) -> Path:
    (path,) = (cache / "fits").iterdir()
    return path


def damaged(path: Path, position: int) -> bytes:
    """Flip a bit of a file, and return what was in it."""
    whole = path.read_bytes()
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
    return whole


def test_a_changed_byte_anywhere_in_the_file_is_noticed(own_cache: Path) -> None:
    (own_cache / "fits").mkdir(parents=True)
    fits, network = FittedNetworks("k"), tiny()
    nn.init.ones_(network[1].weight)
    fits.keep(network, CARD, Silent())
    path = entry(own_cache)
    assert fits.load(tiny())
    size = path.stat().st_size
    for position in {*range(0, size, 7), *range(16), *range(size - 60, size, 2)}:
        whole, loaded = damaged(path, position), tiny()
        before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
        assert not fits.load(loaded), position
        assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())
        path.write_bytes(whole)
    for content in (b"", whole[:-1], whole + b"\0"):
        path.write_bytes(content)
        assert not fits.load(tiny())
    path.write_bytes(whole)
    loaded = tiny()
    assert fits.load(loaded)
    assert bool((loaded[1].weight == 1).all())


@pytest.mark.integration
def test_a_damaged_network_is_set_aside_and_trained_again(
    run: Callable[..., tuple[Report, list[str]]], own_cache: Path, fits_once: FitsOnce
) -> None:
    first, _ = run()
    path = entry(own_cache)
    whole = damaged(path, path.stat().st_size // 2)
    again, notes = run()
    aside = path.with_name(f"{path.name}.damaged")
    assert f"the fitted network {path} is damaged, is set aside as {aside}, and is trained again" in notes
    assert path.read_bytes() == whole
    assert sorted((own_cache / "fits").iterdir()) == [path, aside]
    last, notes = run()
    assert "fit sample: found in the cache" in notes
    assert first.variants[0].outcomes == again.variants[0].outcomes == last.variants[0].outcomes


def test_whoever_only_looks_leaves_a_damaged_network_where_it_is(
    run: Callable[..., tuple[Report, list[str]]], invoke: Any, model: str, data: str, own_cache: Path
) -> None:
    run()
    path = entry(own_cache)
    damaged(path, 20)
    content = path.read_bytes()
    assert invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--dry-run").exit_code == 0
    assert entry(own_cache).read_bytes() == content


def test_a_network_that_another_process_is_fitting_is_waited_for_and_used(
    run: Callable[..., tuple[Report, list[str]]], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run()
    path = entry(own_cache)
    finished = path.rename(own_cache / path.name)
    lock = take(path.with_name(f"{path.name.partition('.')[0]}.lock"))

    def other_finishes(seconds: float) -> None:
        if seconds == locks.POLL_SECONDS and finished.exists():
            finished.rename(path)
            lock.release()

    monkeypatch.setattr(locks.time, "sleep", other_finishes)
    monkeypatch.setattr(networks, "fit", None)
    again, notes = run()
    here = f"process {os.getpid()} on {locks.socket.gethostname()}"
    assert notes[-2:] == [
        f"another process ({here}) is fitting this network: waiting.", "fit sample: found in the cache",
    ]  # fmt: skip
    assert again.variants[0].outcomes == first.variants[0].outcomes
    assert entry(own_cache) == path


def test_ctrl_c_ends_the_waiting_for_another_process(
    run: Callable[..., tuple[Report, list[str]]], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    path = entry(own_cache)
    path.unlink()
    lock = take(path.with_name(f"{path.name.partition('.')[0]}.lock"))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(locks.time, "sleep", lambda seconds: seconds < locks.POLL_SECONDS or interrupt(seconds))
    with pytest.raises(KeyboardInterrupt):
        run()
    lock.release()


@pytest.mark.parametrize("unusable", ["no folder", "full disk"])
def test_a_cache_that_cannot_be_written_costs_a_note(
    run: Callable[..., tuple[Report, list[str]]], own_cache: Path, monkeypatch: pytest.MonkeyPatch, unusable: str
) -> None:
    if unusable == "no folder":
        own_cache.mkdir()
        (own_cache / "fits").write_text("a file")
    else:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(fitted.os, "replace", full)
    report, notes = run()
    assert report.variants[0].attacks[0].status == "ok"
    assert sum(note.startswith("the fitted network could not be cached: ") for note in notes) == 1
    assert unusable == "no folder" or list((own_cache / "fits").iterdir()) == []


@pytest.mark.slow
def test_two_commands_at_once_train_a_network_once(model: str, data: str, tmp_path: Path, own_cache: Path) -> None:
    arguments = ["evaluate", model, "--data", data, "--attack", "fgsm", "--limit", "9", "--format", "json"]
    command = [sys.executable, "-m", "stein_bench", *arguments]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("found in the cache" in stderr for _, stderr in said) == 2
    assert len({Report.model_validate_json(stdout).variants[0].weights.sha256 for stdout, _ in said}) == 1
    entry(own_cache)

"""Reading ahead in processes: the same samples, the same errors, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.config import make_config
from stein_bench.data import ahead, open_data
from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import Resize
from stein_bench.data.samples import FEW_FILES, Samples, batches, read_chunks, to_device
from stein_bench.errors import RunError, UsageError
from tests.interrupts import commands_of, popen_interruptible
from tests.street import write_tree

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (9, 6, 6, 3), dtype=np.uint8)


def toy(store: ArrayStore) -> Samples:
    return Samples("toy", "test", ("a", "b"), np.arange(len(IMAGES)) % 2, tuple("abcdefghi"), store)


def write_jpegs(root: Path, count: int = 8) -> str:
    """Write photographs of several sizes, as JPEG in color and in gray; return their data spec."""
    for index in range(count):
        size = (40 + 3 * index, 30 + index)
        coarse = Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size)
        folder = root / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (coarse.convert("L") if index == 3 else coarse).save(folder / f"{index}.jpg", quality=80 + index)
    return f"imagefolder:{root}"


def jpegs(folder: Path) -> Samples:
    return open_data(write_jpegs(folder)).samples("test", Resize(24, 0.875, "bicubic"))


def volumes(folder: Path) -> Samples:
    rows = ["path,label,split"]
    for index in range(6):
        values = nibabel.Nifti1Image(RNG.normal(0.5, 0.4, (6, 5, 4)), np.diag([2.0, -2.0, 3.0, 1.0]))
        nibabel.save(values, folder / f"{index}.nii{'.gz' if index % 2 else ''}")
        rows.append(f"{index}.nii{'.gz' if index % 2 else ''},{index % 2},test")
    (folder / "table.csv").write_text("\n".join(rows))
    return open_data(f"nifti:{folder / 'table.csv'},shape=5x5x5,scaling=0:1").samples("test")


def npz(folder: Path) -> Samples:
    np.savez(folder / "own.npz", images=IMAGES, labels=np.arange(9) % 3)
    return open_data(f"npz:{folder / 'own.npz'}").samples("test", Resize(11))


SOURCES: dict[str, Callable[[Path], Samples]] = {
    "JPEG files": jpegs,
    "label maps": lambda folder: open_data(f"cityscapes:{write_tree(folder)}").samples("test", Resize(32)),
    "volumes": volumes,
    "npz": npz,
    "array": lambda _: toy(ArrayStore(IMAGES)),  # as CIFAR's
    "digits": lambda _: open_data("digits").samples("test").first(20),
}


@pytest.mark.parametrize("source", SOURCES)
def test_processes_read_what_this_process_reads(tmp_path: Path, source: str) -> None:
    samples, torch_state = SOURCES[source](tmp_path), torch.get_rng_state()
    chunks = np.array_split(np.random.default_rng(0).permutation(len(samples)), 3)
    here, there = (list(read_chunks(samples, chunks, workers=workers)) for workers in (0, 2))
    for expected, found in zip(here, there, strict=True):
        assert np.array_equal(expected[0], found[0])
        for one, other in zip(expected[1:], found[1:], strict=True):
            assert (one.dtype, one.shape, one.is_contiguous()) == (other.dtype, other.shape, other.is_contiguous())
            assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), torch_state)  # a draw would change dropout in training
    assert multiprocessing.active_children() == []


def test_scaling_is_recorded_whoever_reads(tmp_path: Path) -> None:
    plain, read = volumes(tmp_path), volumes(tmp_path / ".." / tmp_path.name)
    list(batches(read, 2, workers=2))
    assert read.scaling() == plain.scaling()
    assert read.scaling().clipped_samples > 0


@pytest.mark.integration
def test_the_user_gets_the_same_note_on_a_damaged_file(tmp_path: Path, invoke, net) -> None:
    data = write_jpegs(tmp_path / "jpegs")
    path = tmp_path / "jpegs" / "b" / "5.jpg"
    path.write_bytes(path.read_bytes()[:300])
    command = ["evaluate", net, "--data", data, "--weights", "none", "--image-size", 16, "--attack", "fgsm"]
    here, there = (invoke(*command, "--batch-size", 2, "--workers", workers) for workers in (0, 2))
    for result in (here, there):
        assert result.exit_code == 0
        assert "1 of 8 files is damaged and left out: b/5.jpg" in result.stderr
        assert "7 samples of" in result.stdout


class Fatal(ArrayStore):
    """Ends the process that loads sample 4, as the system does when memory runs out."""

    def load(self, indices):
        if 4 in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load(indices)


class Broken(ArrayStore):
    """Has an unreadable sample."""

    def load(self, indices):
        if 4 in indices:
            raise UsageError("sample 4 is broken")
        return super().load(indices)


class Wrong(ArrayStore):
    """Has a mistake in its code."""

    def load(self, indices):
        raise RuntimeError("a mistake")


def test_an_error_arrives_as_it_was_after_the_batches_before_it() -> None:
    seen = []
    with pytest.raises(UsageError, match=r"^sample 4 is broken$"):
        seen.extend(indices.tolist() for indices, _, _ in batches(toy(Broken(IMAGES)), 2, workers=2))
    assert seen == [[0, 1], [2, 3]]
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_one_clear_line() -> None:
    seen = []
    with pytest.raises(RunError) as caught:
        seen.extend(indices.tolist() for indices, _, _ in batches(toy(Fatal(IMAGES)), 2, workers=1))
    assert seen in ([], [[0, 1]], [[0, 1], [2, 3]])  # batches that it had not handed over are lost with it
    assert "a process that reads data was killed" in str(caught.value)
    assert "--workers" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []


def test_a_mistake_is_not_taken_for_a_killed_process() -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        list(batches(toy(Wrong(IMAGES)), 2, workers=1))
    assert multiprocessing.active_children() == []


def test_processes_that_cannot_be_started_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ahead, "_context", fail)
    with pytest.raises(RunError, match=r"could not be started \(.*unavailable\): give fewer --workers"):
        next(batches(toy(ArrayStore(IMAGES)), 2, workers=1))


def test_there_are_no_more_processes_than_batches_and_none_after_the_reader_is_closed() -> None:
    reader = batches(toy(ArrayStore(IMAGES)), 5, workers=3)
    assert multiprocessing.active_children() == []
    next(reader)
    assert len(multiprocessing.active_children()) == 2
    reader.close()
    assert multiprocessing.active_children() == []
    assert list(read_chunks(toy(ArrayStore(IMAGES)), [], workers=3)) == []


def test_what_is_kept_is_not_in_shared_memory() -> None:
    samples = toy(ArrayStore(IMAGES))
    for workers in (0, 1):
        for _, images, labels in to_device(batches(samples, 4, workers=workers), CPU):
            assert not images.is_shared()
            assert not labels.is_shared()
    batch = next(batches(samples, 4))
    assert next(to_device([batch], CPU))[1] is batch[1]


class Device:
    """Stands for `torch.cuda`: a log of what is asked of its streams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        device = self

        class Event:
            def record(self, stream):
                assert stream is device.copies
                self.number = sum(entry.startswith("send") for entry in device.log) - 1

        class Stream:
            def wait_event(self, event):
                device.log.append(f"wait {event.number}")

        class Inside:
            def __init__(self, stream):
                assert stream is device.copies

            def __enter__(self):
                device.inside = True

            def __exit__(self, *_):
                device.inside = False

        def send(tensor, to):
            assert device.inside == (to == CUDA)
            if tensor.ndim == 4:
                device.log.append(f"send {int(tensor[0, 0, 0, 0])}")
            return tensor

        self.copies, self.inside, computing = Stream(), False, Stream()
        monkeypatch.setattr(ahead, "_sent", send)
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: self.copies)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", Inside)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: computing)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda _, stream: self.log.append(f"use {stream is computing}")
        )

    def run(self, batches) -> list[str]:
        for _, images, _ in to_device(batches, CUDA):
            self.log.append(f"compute {int(images[0, 0, 0, 0])}")
        return [entry for entry in self.log if not entry.startswith("use")]


def numbered(count: int, fails: bool = False):
    for number in range(count):
        yield np.array([number]), torch.full((1, 1, 1, 1), number), torch.tensor([0])
    if fails:
        raise UsageError("unreadable")


def test_each_batch_is_sent_before_the_one_before_it_is_computed_and_waits_for_itself_alone(monkeypatch) -> None:
    device = Device(monkeypatch)
    order = "send 0, send 1, wait 0, compute 0, send 2, wait 1, compute 1, wait 2, compute 2"
    assert ", ".join(device.run(numbered(3))) == order
    assert [entry for entry in device.log if entry.startswith("use")] == ["use True"] * 6


def test_what_was_read_before_an_error_is_computed(monkeypatch) -> None:
    device = Device(monkeypatch)
    with pytest.raises(UsageError, match="unreadable"):
        device.run(numbered(2, fails=True))
    assert [entry for entry in device.log if entry.startswith("compute")] == ["compute 0", "compute 1"]


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_on_the_device_as_they_are(workers: int) -> None:
    samples = open_data("digits").samples("test")
    sent = list(to_device(batches(samples, 64, workers=workers), CUDA))
    for (_, images, labels), (_, one, other) in zip(batches(samples, 64), sent, strict=True):
        assert one.is_cuda
        assert other.is_cuda
        assert torch.equal(images, one.cpu())
        assert torch.equal(labels, other.cpu())


def test_auto_starts_processes_for_files_that_are_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("stein_bench.data.samples.load_ahead", lambda *args: started.append(args[2]))
    few, many = (open_data(write_jpegs(tmp_path / str(n), n)).samples("test", Resize(8)) for n in (3, FEW_FILES))
    for samples in (few, many, open_data("digits").samples("test")):
        batches(samples, 10, workers="auto")
    assert started == [5]
    assert make_config({"model": "resnet18", "workers": "auto"}).workers == "auto"


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (128, 8)])
def test_one_core_is_left_to_the_program(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert ahead.usable_workers() == workers


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


@pytest.fixture
def endless(tmp_path: Path, net: str) -> Iterator[subprocess.Popen[str]]:
    """Start an evaluation without an end, whose data two processes read, in a process group of its own."""
    data = write_jpegs(tmp_path / "jpegs")
    command = [sys.executable, "-m", "stein_bench", "evaluate", net, "--data", data, "--weights", "none"]
    command += ["--image-size", "16", "--batch-size", "2", "--workers", "2", "--attack", "pgd:steps=1000000"]
    process = popen_interruptible(command, group=True)
    yield process
    if commands_of(process.pid):
        os.killpg(process.pid, signal.SIGKILL)


def servers(process: subprocess.Popen[str]) -> int:
    """Count the server and the workers forked from it."""
    return sum("forkserver" in command for command in commands_of(process.pid))


MOMENTS = {"the server starts": 1, "the workers run": 3}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
@pytest.mark.parametrize("moment", [pytest.param(m, marks=pytest.mark.slow) if MOMENTS[m] == 1 else m for m in MOMENTS])
def test_an_interrupt_ends_all_processes_without_a_word_of_theirs(endless: subprocess.Popen[str], moment: str) -> None:
    assert wait_for(lambda: servers(endless) >= MOMENTS[moment])
    os.killpg(endless.pid, signal.SIGINT)  # as a terminal does
    _, stderr = endless.communicate(timeout=60)
    assert endless.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("stein-bench: interrupted")
    assert wait_for(lambda: not commands_of(endless.pid))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
def test_no_process_outlives_a_killed_program(endless: subprocess.Popen[str]) -> None:
    assert wait_for(lambda: servers(endless) == 3)
    endless.kill()
    endless.communicate(timeout=60)
    assert wait_for(lambda: not commands_of(endless.pid))

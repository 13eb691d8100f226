"""Two runs on one output: the second is refused at once, and what a killed run has left is no obstacle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import Result

from stein_bench.errors import UsageError
from stein_bench.files import locks
from stein_bench.files.locks import HeldError, Holder, lock_path, sole_writer, take, taking_turns

Invoke = Callable[..., Result]

HERE = socket.gethostname()
ENDED = {"pid": 2**22 + 1, "host": HERE, "started": time.time()}
"""What a lock file says of a process that has ended: no process has a number that large."""


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""
    monkeypatch.setattr(locks, "_flock", lambda _: None)


def other(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start another process that runs this code after importing what it needs."""
    start = "import sys, time; from pathlib import Path; from stein_bench.files.locks import *\n"
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Start a process that takes a lock and keeps it until it is killed."""
    started = []

    def hold(path: Path) -> subprocess.Popen[str]:
        process = other("take(Path(sys.argv[1])); print('taken', flush=True); time.sleep(60)", path)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


COMMANDS = {
    "evaluate": (["evaluate", "no.py:net", "--data", "npz:no.npz", "--output", "out"], "out.lock"),
    "train": (["train", "no.py:net", "--data", "npz:no.npz", "--output", "out.safetensors"], "out.safetensors.lock"),
    "reproduce": (["reproduce", "cifar10", "--data", "npz:no.npz", "--output", "out"], "out.lock"),
    "sweep": (["evaluate", "no.py:net", "no.py:other", "--output", "runs/"], "runs/sweep.json.lock"),
    "shard": (["evaluate", "no.py:a", "no.py:b", "--output", "runs/", "--shard", "1/2"], "runs/sweep.json.1-of-2.lock"),
    "whole": (["evaluate", "no.py:a", "no.py:b", "--output", "runs/", "--shard", "1/2"], "runs/sweep.json.lock"),
    "part": (["evaluate", "no.py:a", "no.py:b", "--output", "runs/"], "runs/sweep.json.2-of-3.lock"),
}


@pytest.mark.parametrize(("arguments", "file"), COMMANDS.values(), ids=COMMANDS)
def test_a_second_run_on_an_output_is_refused_before_model_and_data_are_looked_for(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "no.py").write_text("raise AssertionError('it has been imported')")
    held = take(tmp_path / file)
    before = sorted(tmp_path.rglob("*"))
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    output = arguments[arguments.index("--output") + 1].rstrip("/")
    said = f"--output {output} is being written by another run (process {os.getpid()} on {HERE}): wait for it"
    assert said in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    held.release()
    assert "is being written" not in invoke(*arguments).stderr
    assert not list(tmp_path.rglob("*.lock"))


def test_jobs_with_other_parts_of_a_sweep_are_at_work_side_by_side(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    held = take(tmp_path / "runs/sweep.json.2-of-4.lock")
    options = ["evaluate", "no.py:a", "no.py:b", "--output", "runs/", "--shard"]
    for shard, refused in (("1/4", False), ("1/2", False), ("2/2", True), ("2/4", True), ("1/3", True)):
        assert ("is being written" in invoke(*options, shard).stderr) is refused, shard
    held.release()


@pytest.mark.integration
def test_a_model_of_a_sweep_that_another_run_evaluates_is_left_to_it(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    held = take(tmp_path / "runs/no.py-a.json.lock")
    arguments = ["evaluate", "no.py:a", "no.py:b", "--output", "runs/"]
    result = invoke(*arguments)
    assert result.exit_code == 3
    said = "no.py:a: failed: the report runs/no.py-a.json is being written by another run (process "
    assert said in result.stderr
    held.release()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["no.py-b.failed.json", "sweep.json"]
    assert said not in invoke(*arguments, "--resume").stderr


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_file_says_who_writes_and_is_removed_however_the_run_ends(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    with nullcontext() if error is None else pytest.raises(error), sole_writer("--output", tmp_path / "r.json", silent):
        found = json.loads((tmp_path / "r.json.lock").read_text())
        assert (found["pid"], found["host"]) == (os.getpid(), HERE)
        assert found["started"] <= time.time()
        if error is not None:
            raise error
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_no_obstacle(tmp_path: Path, holding: Callable[[Path], subprocess.Popen[str]]) -> None:
    path = lock_path(tmp_path / "r.json")
    process = holding(path)
    with pytest.raises(HeldError) as caught:
        take(path)
    assert caught.value.holder is not None
    assert caught.value.holder.pid == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    with sole_writer("--output", tmp_path / "r.json", silent):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_child_of_the_process_leaves_the_lock_to_it(tmp_path: Path) -> None:
    lock = take(tmp_path / "l")
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(HeldError):
        take(tmp_path / "l")
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_its_owner_removes_just_then_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock, removed = tmp_path / "l", locks._flock, []

    def late(handle: int) -> bool | None:
        if len(removed) < 2:
            path.unlink()
            removed.append(path)
        return flock(handle)

    path.touch()
    monkeypatch.setattr(locks, "_flock", late)
    lock = take(path)
    assert path.exists()
    with pytest.raises(HeldError):
        take(path)
    lock.release()


def test_where_no_lock_can_be_made_the_present_messages_stay(
    invoke: Invoke, model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/nowhere/x")

    monkeypatch.setattr(locks.os, "open", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    result = invoke("evaluate", model, "--data", data, "--output", tmp_path / "r.json")
    assert f"--output {tmp_path / 'r.json'}: cannot write into {tmp_path}: Permission denied" in result.stderr
    with sole_writer("--output", tmp_path / "r.json", silent), taking_turns(tmp_path / "l", "waiting", silent):
        pass


OF_OTHERS = {
    "ended here": (ENDED, True),
    "its number was given to another process": ({"pid": os.getpid(), "host": HERE, "started": 1e9}, True),
    "lives": ({"pid": os.getpid(), "host": HERE, "started": time.time() + 60}, False),
    "elsewhere": ({**ENDED, "host": "elsewhere"}, False),
    "unknown": ("damaged", False),
    "of no process": ({"pid": "x"}, False),
}


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize(("content", "ended"), OF_OTHERS.values(), ids=OF_OTHERS)
def test_without_locks_in_the_file_system_the_file_tells(tmp_path: Path, content: object, ended: bool) -> None:
    output, said = tmp_path / "r.json", []
    lock_path(output).write_text(json.dumps(content))
    if ended:
        with sole_writer("--output", output, said.append):
            assert json.loads(lock_path(output).read_text())["pid"] == os.getpid()
        (line,) = said
        assert line.startswith(f"{output}.lock was left behind by process ")
        assert list(tmp_path.iterdir()) == []
        return
    with pytest.raises(UsageError) as caught, sole_writer("--output", output, said.append):
        pass
    message = str(caught.value)
    certain = isinstance(content, dict) and content["pid"] == os.getpid()
    assert (f"If that process is gone, delete {output}.lock." in message) is not certain
    assert "\n" not in message
    assert json.loads(lock_path(output).read_text()) == content


def test_whoever_waits_says_so_once_and_goes_on_when_the_other_is_killed(
    tmp_path: Path, holding: Callable[[Path], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, said = holding(tmp_path / "l"), []
    naps = iter([None, None, None])
    monkeypatch.setattr(locks.time, "sleep", lambda _: next(naps, 0) is None or (process.kill(), process.wait()))
    with taking_turns(tmp_path / "l", "fitting this network", said.append):
        assert process.poll() is not None
    assert said == [f"another process (process {process.pid} on {HERE}) is fitting this network: waiting."]


def test_ctrl_c_ends_the_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    lock = take(tmp_path / "l")
    with pytest.raises(KeyboardInterrupt), taking_turns(tmp_path / "l", "waiting", interrupt):
        pass
    lock.release()


def test_a_holder_is_named_by_number_and_machine() -> None:
    assert str(Holder(7, "node3", 0.0)) == "process 7 on node3"


@pytest.mark.slow
@pytest.mark.parametrize("flock", [True, False])
def test_processes_take_turns(tmp_path: Path, flock: bool) -> None:
    """Eight processes add one to a number 25 times each; none is lost."""
    (tmp_path / "n").write_text("0")
    code = """
from stein_bench.files import locks
locks.POLL_SECONDS = 0.01
if sys.argv[2] == "False":
    locks._flock = lambda _: None
for _ in range(25):
    with taking_turns(Path(sys.argv[1]) / "l", "counting", lambda _: None):
        number = int((Path(sys.argv[1]) / "n").read_text())
        time.sleep(0.001)
        (Path(sys.argv[1]) / "n").write_text(str(number + 1))
"""
    processes = [other(code, tmp_path, flock) for _ in range(8)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 8
    assert (tmp_path / "n").read_text() == "200"
    assert [path.name for path in tmp_path.iterdir()] == ["n"]

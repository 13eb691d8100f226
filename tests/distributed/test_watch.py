"""Processes that watch each other, here several views of one store in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from stein_bench.distributed import alone, check_same, dealt, exchanged, from_main, gathered, watch
from stein_bench.distributed.group import host
from stein_bench.distributed.watch import PeerError, Watch
from stein_bench.errors import UsageError
from stein_bench.exit_codes import FAILED, INTERRUPTED, USAGE


class Memory:
    """A key-value store like torch's, without waiting; `gone` makes it one whose host has died."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.gone = False
        self._lock = threading.Lock()

    def _there(self) -> None:
        if self.gone:
            raise RuntimeError("Connection was likely closed")

    def set(self, key: str, value: str) -> None:
        self._there()
        self.values[key] = value

    def get(self, key: str) -> str:
        self._there()
        return self.values[key]

    def add(self, key: str, amount: int) -> int:
        self._there()
        with self._lock:
            self.values[key] = str(int(self.values.get(key, "0")) + amount)
            return int(self.values[key])

    def check(self, keys: list[str]) -> bool:
        self._there()
        return all(key in self.values for key in keys)

    def compare_set(self, key: str, expected: str, desired: str) -> str:
        self._there()
        return self.values.setdefault(key, desired)


def views(size: int, interrupts: list[int] | None = None) -> tuple[Memory, list[Watch]]:
    store, noted = Memory(), interrupts if interrupts is not None else []
    return store, [Watch(store, rank, size, lambda rank=rank: noted.append(rank)) for rank in range(size)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let signs of life come 50 times a second, and a process be silent after half a second."""
    monkeypatch.setattr(watch, "BEAT", 0.02)
    monkeypatch.setenv("STEIN_BENCH_SILENCE", "0.5")


def test_a_meeting_ends_when_the_last_has_come() -> None:
    _, (first, second) = views(2)
    came: list[str] = []

    def late() -> None:
        time.sleep(0.2)
        came.append("second")
        second.wait()

    thread = threading.Thread(target=late)
    thread.start()
    first.wait()
    came.append("first goes on")
    thread.join()
    assert came[0] == "second"
    assert len(came) == 2


def test_what_one_records_ends_the_others_where_they_wait_and_the_first_record_stays() -> None:
    _, (first, second, third) = views(3)
    assert first.failure() is None
    assert second.own("no such file.", USAGE).line == f"rank 1 on {host()}: no such file."
    third.own("later.", FAILED)
    for one in (first, third):
        with pytest.raises(PeerError, match=r"rank 1 on .*: no such file\."):
            one.wait()
        found = one.failure()
        assert found is not None
        assert (found.rank, found.code, found.gone) == (1, USAGE, False)
    assert first.speaks(found)
    assert not second.speaks(found)


def test_the_others_are_interrupted_once(quick: None) -> None:
    interrupts: list[int] = []
    _, both = views(2, interrupts)
    for one in both:
        one.start()
    both[1].own("interrupted.", INTERRUPTED)
    time.sleep(0.3)
    for one in both:
        one.stop()
    assert sorted(interrupts) == [0, 1]


def test_a_process_that_falls_silent_is_reported_with_its_machine(quick: None) -> None:
    interrupts: list[int] = []
    _, (first, second) = views(2, interrupts)
    first.start()
    second.start()
    time.sleep(0.2)
    assert first.failure() is None
    second.stop()  # gives no more signs of life, without having left
    deadline = time.monotonic() + 20
    while not interrupts and time.monotonic() < deadline:
        time.sleep(0.02)
    first.stop()
    found = first.failure()
    assert found is not None
    assert (found.rank, found.code, found.gone, found.where) == (1, FAILED, True, host())
    assert "no sign of life" in found.message
    assert interrupts == [0]


def test_a_process_of_this_machine_that_has_ended_without_leaving_is_found() -> None:
    store, (first, _) = views(2)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    store.set("who/1", json.dumps([host(), ended.pid]))
    ended.wait()
    found = first.died()
    assert found is not None
    assert (found.rank, found.code, found.gone) == (1, FAILED, True)
    store, (first, second) = views(2)
    store.set("who/1", json.dumps([host(), ended.pid]))
    store.set("left/1", "1")
    assert first.died() is None
    store.set("who/0", json.dumps([host(), ended.pid]))
    found = second.died()
    assert found is not None
    assert second.speaks(found)  # the first cannot
    assert not first.speaks(found)


def test_a_process_that_runs_has_not_died_nor_has_one_elsewhere() -> None:
    store, (first, _) = views(2)
    for where, pid in ((host(), os.getpid()), ("elsewhere", 2**22 + 1)):
        store.set("who/1", json.dumps([where, pid]))
        assert first.died() is None


def test_a_lost_store_is_the_end_of_the_first_node() -> None:
    store, (_, second) = views(2)
    store.gone = True
    with pytest.raises(PeerError, match="connection to it is lost"):
        second.wait()
    found = second.failure()
    assert found is not None
    assert (found.rank, found.gone) == (0, True)
    second.leave()  # does not wait for anybody


def test_pieces_are_taken_once_each() -> None:
    _, (first, second) = views(2)
    assert [first.take("a"), second.take("a"), first.take("a"), second.take("b")] == [0, 1, 2, 0]


def test_in_one_process_everything_is_the_identity() -> None:
    assert (exchanged(3), gathered("x"), from_main([1]), list(dealt("abc"))) == ([3], ["x"], [1], ["a", "b", "c"])
    check_same({"the data": 1}, "Never said.")
    with alone():
        assert exchanged(3) == [3]


def test_what_differs_is_named_whichever_process_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from stein_bench.distributed import group

    for others, named in (([{"data": 1}, {"data": 2}], "data"), ([{"data": 1}, {"data": 1, "network": 5}], "network")):
        monkeypatch.setattr(group, "exchanged", lambda _, found=others: [("a", found[0]), ("b", found[1])])
        with pytest.raises(UsageError, match=rf"^rank 1 on b differs from rank 0 on a in {named}\. Do this\.$"):
            check_same(others[0], "Do this.")

"""Which memory format is faster: decided from times, by a clear margin, and only once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.evaluation import memory_format
from stein_bench.evaluation.memory_format import REPEATS, WARM_UPS, MemoryFormat, faster_format, remembered_format

MATTERS = {"device": "cuda (fast)", "inputs": [100, 3, 32, 32]}


def timer(channels_last: float, contiguous: float = 1.0, *, slow: dict[int, float] | None = None):
    """A clock that knows how long a pass takes, and what it was asked; `slow` are factors by the number of the pass."""
    asked: list[MemoryFormat] = []

    def seconds(name: MemoryFormat) -> float:
        asked.append(name)
        return {"contiguous": contiguous, "channels_last": channels_last}[name] * (slow or {}).get(len(asked) - 1, 1)

    return seconds, asked


@pytest.mark.parametrize(
    ("took", "expected"),
    [(0.5, "channels_last"), (0.97, "channels_last"), (0.98, "contiguous"), (1.0, "contiguous"), (2.0, "contiguous")],
)
def test_the_other_format_must_be_faster_by_a_clear_margin(took: float, expected: str) -> None:
    assert faster_format(timer(took)[0]) == expected


def test_both_formats_warm_up_and_are_then_timed_in_turn_each_as_often_first() -> None:
    seconds, asked = timer(0.5)
    faster_format(seconds)
    assert asked[: 2 * WARM_UPS] == ["contiguous", "channels_last"] * WARM_UPS
    timed = asked[2 * WARM_UPS :]
    assert len(timed) == 2 * REPEATS
    assert timed[:4] == ["contiguous", "channels_last", "channels_last", "contiguous"]
    assert sorted(timed[::2]) != sorted(timed[1::2][:1] * REPEATS)


def test_slow_first_passes_and_a_disturbance_do_not_decide() -> None:
    first, disturbed = dict.fromkeys(range(2 * WARM_UPS), 100.0), {2 * WARM_UPS: 50.0, 2 * WARM_UPS + 3: 50.0}
    assert faster_format(timer(1.0, slow=first | disturbed)[0]) == "contiguous"
    assert faster_format(timer(0.8, slow={2 * WARM_UPS + 1: 50.0})[0]) == "channels_last"


def test_a_choice_is_measured_once_for_the_same_circumstances() -> None:
    measured: list[MemoryFormat] = []

    def choose(answer: MemoryFormat):
        return lambda: measured.append(answer) or answer

    assert remembered_format(MATTERS, choose("channels_last")) == "channels_last"
    assert remembered_format(dict(reversed(MATTERS.items())), choose("contiguous")) == "channels_last"
    assert remembered_format({**MATTERS, "device": "cuda (slow)"}, choose("contiguous")) == "contiguous"
    assert measured == ["channels_last", "contiguous"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"memory_format": "sideways"}'])
def test_a_damaged_memory_is_measured_anew(own_cache: Path, content: str) -> None:
    remembered_format(MATTERS, lambda: "channels_last")
    (file,) = (own_cache / "memory-formats").iterdir()
    file.write_text(content)
    assert remembered_format(MATTERS, lambda: "contiguous") == "contiguous"
    assert remembered_format(MATTERS, lambda: "channels_last") == "contiguous"


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(memory_format, "write_text", refuse)
    assert remembered_format(MATTERS, lambda: "channels_last") == "channels_last"
    assert remembered_format(MATTERS, lambda: "contiguous") == "contiguous"

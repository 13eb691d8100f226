"""A small coverage-guided fuzzer.

An input that takes a way through the code which none before has taken joins the corpus, and is mutated in turn. Ways
are pairs of lines that follow one another, in the files that a target names. Atheris would run more inputs in a second,
but has no wheels for every Python and machine that the tests run on; this one needs nothing.
"""

from __future__ import annotations

import hashlib
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from stein_bench.errors import SteinBenchError

SECONDS = 5
"""An input that takes longer is a finding."""
MEMORY = 2**29
"""Bytes beyond those in use at the start; an input that needs more is a finding."""
LONGEST = 200_000
"""Bytes of an input."""


@dataclass(frozen=True)
class Target:
    """A reader of files.

    Attributes:
        read: reads the file at a path; what it returns is of no interest.
        seeds: valid files to begin with.
        mutate: makes an input from another one, keeping its form as far as the format is known.
        watched: parts of the names of the files whose lines are followed.
        suffix: of the file.
    """

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[random.Random, bytes, Sequence[bytes]], bytes]
    watched: tuple[str, ...]
    suffix: str


@dataclass
class Finding:
    """An input after which something other than a value or a `SteinBenchError` came out; those alike are counted."""

    kind: str
    trace: str
    content: bytes
    times: int = 1

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:12]


@dataclass
class Result:
    """What a run of the fuzzer did."""

    target: str
    executions: int = 0
    values: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    corpus: list[bytes] = field(default_factory=list)
    ways: set[Any] = field(default_factory=set)
    lines: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    def summary(self) -> str:
        return (
            f"{self.target}: {self.executions:,} inputs in {self.seconds:.0f} s ({self.values:,} read, "
            f"{self.refused:,} refused), corpus {len(self.corpus):,}, {len(self.ways):,} pairs of lines and messages "
            f"({self.lines:,} lines), slowest {self.slowest:.2f} s, {len(self.findings)} findings"
        )


class _SlowError(Exception):
    """An input took longer than `SECONDS`."""


class _Ways:
    """Follows the lines of the watched files."""

    def __init__(self, watched: tuple[str, ...]) -> None:
        self._watched = watched
        self._known: dict[Any, bool] = {}
        self.found: set[Any] = set()

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        follow = self._known.get(code)
        if follow is None:
            follow = self._known[code] = any(part in code.co_filename for part in self._watched)
        if not follow:
            return None
        last = 0
        found = self.found

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            found.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    @contextmanager
    def followed(self) -> Iterator[None]:
        self.found = set()
        before = sys.gettrace()  # coverage's, if the tests are measured
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)


@contextmanager
def limits(memory: int = MEMORY) -> Iterator[None]:
    """Limit the memory of this process, and make a long call end with `_SlowError`."""

    def late(*_: object) -> None:
        raise _SlowError

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before, timer = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, late)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, timer)


def fuzz(target: Target, seconds: float, *, seed: int = 0, corpus: Path | None = None) -> Result:
    """Run inputs for some seconds and return what happened."""
    draw = random.Random(seed)
    result = Result(target.name)
    begun = time.monotonic()
    kept = sorted(corpus.iterdir()) if corpus is not None and corpus.is_dir() else []
    waiting = [*target.seeds(), *(path.read_bytes() for path in kept)]
    with tempfile.TemporaryDirectory() as folder, limits():
        path = Path(folder) / f"input{target.suffix}"
        while time.monotonic() - begun < seconds or waiting:
            content = waiting.pop() if waiting else _next(draw, target, result.corpus)
            new = run(target, content, path, result)
            if new - result.ways or result.executions == 1:
                result.ways |= new
                result.corpus.append(content)
                if corpus is not None:
                    corpus.mkdir(parents=True, exist_ok=True)
                    (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    result.seconds = time.monotonic() - begun
    result.lines = len({(way[0], way[2]) for way in result.ways if isinstance(way, tuple)})
    return result


def _next(draw: random.Random, target: Target, corpus: Sequence[bytes]) -> bytes:
    # Newer inputs are drawn more often: what lies behind them is less known.
    chosen = corpus[int(len(corpus) * draw.random() ** 0.5)]
    for _ in range(1 + int(draw.expovariate(1))):
        changed = target.mutate(draw, chosen, corpus)
        chosen = changed if len(changed) <= LONGEST else chosen
    return chosen


def run(target: Target, content: bytes, path: Path, result: Result) -> set[Any]:
    """Run one input and return the ways that it took; a finding is added to the result."""
    path.write_bytes(content)
    ways = _Ways(target.watched)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    begun = time.monotonic()
    try:
        with ways.followed():
            target.read(path)
        result.values += 1
    except SteinBenchError as error:
        result.refused += 1
        ways.found.add(re.sub(r"'.*'|\".*\"|\d+|(?<=got ).*", "", str(error)))  # much is checked where no line is seen
        if "\n" in str(error):
            _found(result, "an error of several lines", error, content)
    except _SlowError as error:
        if _is_slow(target, path):
            _found(result, f"longer than {SECONDS} s", error, content)
    except MemoryError as error:
        _found(result, f"more than {MEMORY // 2**20} MiB", error, content)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        _found(result, type(error).__name__, error, content)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    result.executions += 1
    result.slowest = max(result.slowest, time.monotonic() - begun)
    return ways.found


def _is_slow(target: Target, path: Path) -> bool:
    """Return whether an input takes too long without being followed as well."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        target.read(path)
    except _SlowError:
        return True
    except Exception:  # noqa: BLE001  (an input of this kind will be found again)
        return False
    return False


def _found(result: Result, kind: str, error: BaseException, content: bytes) -> None:
    """Add a finding; two are alike if they are of a kind and come from the same line of this project."""
    places = [place for place in traceback.extract_tb(error.__traceback__) if "stein_bench" in place.filename]
    where = f"{kind} {places[-1].filename}:{places[-1].lineno}" if places else kind
    if where in result.findings:
        found = result.findings[where]
        found.times += 1
        if len(content) < len(found.content):
            found.content = content
        return
    result.findings[where] = Finding(kind, "".join(traceback.format_exception(error)[-6:]), content)

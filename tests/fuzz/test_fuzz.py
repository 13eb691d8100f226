"""The fuzzer itself, and a short run of each target: ``python -m tests.fuzz TARGET --minutes 10`` is a long one."""

from __future__ import annotations

import random

import pytest

from stein_bench.errors import UsageError
from tests.fuzz.engine import Result, Target, fuzz, run
from tests.fuzz.targets import TARGETS


def careless(path):
    """Reads numbers, and has a fault that no seed shows."""
    text = path.read_bytes()
    if not text.isdigit():
        raise UsageError("no number")
    if text.startswith(b"77"):
        return [][0]
    return int(text)


def digits(draw, content, corpus):
    return bytes(draw.choice(b"0123456789x") for _ in range(draw.randint(1, 3)))


def test_a_fault_is_found_and_counted_and_the_rest_is_told_apart(tmp_path):
    target = Target("careless", careless, lambda: [b"12"], digits, (__file__,), ".txt")
    result = fuzz(target, 1.0, corpus=tmp_path / "corpus")
    (finding,) = result.findings.values()
    assert finding.kind == "IndexError"
    assert finding.content.startswith(b"77")
    assert result.values > 0 < result.refused
    assert result.executions == result.values + result.refused + finding.times
    assert {path.read_bytes() for path in (tmp_path / "corpus").iterdir()} == set(result.corpus)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_seed_is_read_or_refused_and_mutations_make_inputs(tmp_path, target):
    draw, seeds, result = random.Random(0), list(target.seeds()), Result(target.name)
    for content in [*seeds, *(target.mutate(draw, draw.choice(seeds), seeds) for _ in range(40))]:
        run(target, content, tmp_path / f"input{target.suffix}", result)
    assert result.values > 0
    assert not result.findings, next(iter(result.findings.values())).trace


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_nothing_but_values_and_errors_comes_out(target):
    result = fuzz(target, 30)
    told = "\n".join(f"{found.kind}: {found.content[:200]!r}\n{found.trace}" for found in result.findings.values())
    assert not result.findings, told

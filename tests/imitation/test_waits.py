"""Budgets of the host's waits for the device, counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.imitation.waits import STATS, STEPS, SUBJECTS, UNBREAKABLE, Bench

SMALL = (3, 4)
"""BN layers and samples of a batch."""
ATTACKS = [name for name in SUBJECTS if name != "noise"]
COMPOSED = ("autoattack",)
"""Attacks whose members are subjects too."""
SHRINKING = ("pgd", "mifgsm", "apgd-ce", "fab-t")
SIZED = ("pgd", "square", "noise")
"""Subjects for which sizes are compared; the others are made of the same parts."""
BESIDES = 8
"""Most waits for a batch besides the steps of its attack: inputs, labels, random start and verdicts, clean and not."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("waits"))


def besides_steps(bench: Bench, name: str, stats: str, layers: int, samples: int) -> Counter[str]:
    """Return the waits per batch but those of steps, whose number depends on how a run fills its batches."""
    found = bench.per_batch(name, stats, layers, samples)
    return Counter({line: count for line, count in found.items() if not line.startswith("attacks/refill.py:")})


@pytest.mark.integration
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_step_waits_at_most_once(bench: Bench, name: str) -> None:
    found = bench.per_step(name, "running", *SMALL)
    assert found.total() <= 1, found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in COMPOSED else ()) for name in ATTACKS]
)
def test_a_step_never_waits_where_the_batch_cannot_shrink(bench: Bench, name: str) -> None:
    found = bench.per_step(name, "batch", *SMALL)
    assert not found, found


@pytest.mark.integration
@pytest.mark.parametrize("name", SHRINKING)
def test_a_shrinking_batch_waits_no_more_often(bench: Bench, name: str) -> None:
    """Half of the samples break, so that all steps are taken, on fewer and fewer samples."""
    spec = SUBJECTS[name].of(2 * STEPS)
    kept, broken = (bench.run(spec, "running", 3, 12, 1, eps=eps) for eps in (UNBREAKABLE, 11 / 255))
    assert broken.total() <= kept.total(), broken - kept


@pytest.mark.slow
@pytest.mark.parametrize("stats", STATS)
@pytest.mark.parametrize("name", SIZED)
def test_waits_do_not_grow_with_the_layers(bench: Bench, name: str, stats: str) -> None:
    few, many = (besides_steps(bench, name, stats, layers, SMALL[1]) for layers in (3, 9))
    assert few == many


@pytest.mark.slow
@pytest.mark.parametrize("stats", STATS)
@pytest.mark.parametrize("name", SIZED)
def test_waits_do_not_grow_with_the_samples(bench: Bench, name: str, stats: str) -> None:
    """Replays under batch statistics too: each of their passes takes inputs that are on the device."""
    few, many = (besides_steps(bench, name, stats, SMALL[0], samples) for samples in (4, 12))
    assert few == many


@pytest.mark.integration
@pytest.mark.parametrize("name", ["pgd"])
def test_a_batch_waits_a_few_times_besides(bench: Bench, name: str) -> None:
    found = bench.per_batch(name, "running", *SMALL)
    assert found.total() <= BESIDES, found


@pytest.mark.integration
def test_waits_are_seen_by_line(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait in every step, put into an attack, shows in the count."""
    from stein_bench.attacks import gradient

    before = bench.per_step("pgd", "batch", *SMALL).total()
    real = gradient.project
    monkeypatch.setattr(gradient, "project", lambda points, *rest: (points.sum().item(), real(points, *rest))[1])
    assert Bench(tmp_path).per_step("pgd", "batch", *SMALL).total() == before + 1

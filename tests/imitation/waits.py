"""How often the host waits for the device in an evaluation: per attack step, per batch besides, and per run besides.

Waits are counted in whole runs without the checks of the model, and what is asked for are differences of runs, so that
it depends only on options of the command line:

- per step: of runs that differ in the number of steps; no sample breaks in them.
- per batch: of runs with one and with two batches, less what belongs to the steps.
- per run: the rest.

`python -m tests.imitation.waits` prints them by line, for networks with 3 and 9 BN layers and batches of 4 and 12.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from stein_bench.evaluation import checks
from stein_bench.report.document import Report
from tests.imitation import count_waits, imitation_cuda
from tests.imitation.compare import assert_complete, evaluate
from tests.imitation.device import Event
from tests.imitation.problems import write_problem

UNBREAKABLE = 1e-6
"""A budget within which no sample breaks, so that every step is taken."""
STEPS = 4
LAYERS = {3: "three", 9: "nine"}
BATCHES = (4, 12)
STATS = ("running", "batch")


@dataclass(frozen=True)
class Subject:
    """An attack with a number of steps, which the spec has as ``{steps}``, taken `turns` times each."""

    spec: str
    turns: int = 1

    def of(self, steps: int) -> str:
        """Return the spec with that number of steps."""
        return self.spec.format(steps=steps)


SUBJECTS = {
    "pgd": Subject("pgd:steps={steps}"),
    "mifgsm": Subject("mifgsm:steps={steps}"),
    "apgd-ce": Subject("apgd-ce:steps={steps}"),
    "fab-t": Subject("fab-t:steps={steps}", turns=3),
    "square": Subject("square:queries={steps}"),
    "autoattack": Subject("autoattack:steps={steps},queries=4", turns=7),  # APGD, and APGD-T and FAB-T to 3 classes
    "noise": Subject("noise-gaussian:seeds={steps}"),  # a draw is a step; per batch there is the clean pass besides
}


class Bench:
    """Measures one problem, written to `folder`. All results are waits by line."""

    def __init__(self, folder: Path) -> None:
        self._problem = write_problem(folder, count=2 * max(BATCHES), least=20)
        self._folder = folder
        self.run = cache(self._run)

    def per_step(self, name: str, stats: str, layers: int, batch: int) -> Counter[str]:
        """Return the waits for each step of an attack, or draw of noise."""
        steps, taken = self._steps(name, stats, layers, batch), STEPS * SUBJECTS[name].turns
        return Counter({line: count / taken for line, count in steps.items()})  # type: ignore[misc]

    def per_batch(self, name: str, stats: str, layers: int, batch: int) -> Counter[str]:
        """Return the waits for each batch besides those of the steps."""
        spec = SUBJECTS[name].of(STEPS)
        two, one = (self.run(spec, stats, layers, batch, batches) for batches in (2, 1))
        return _less(_less(two, one), self._steps(name, stats, layers, batch))

    def per_run(self, name: str, stats: str, layers: int, batch: int) -> Counter[str]:
        """Return the other waits of a run."""
        whole = self.run(SUBJECTS[name].of(STEPS), stats, layers, batch, 1)
        of_steps = self._steps(name, stats, layers, batch)
        return _less(_less(whole, self.per_batch(name, stats, layers, batch)), of_steps)

    def _steps(self, name: str, stats: str, layers: int, batch: int) -> Counter[str]:
        more, fewer = (self.run(SUBJECTS[name].of(steps), stats, layers, batch, 1) for steps in (2 * STEPS, STEPS))
        return _less(more, fewer)

    def _run(
        self, spec: str, stats: str, layers: int, batch: int, batches: int, eps: float = UNBREAKABLE
    ) -> Counter[str]:
        """Return the waits of a whole run."""
        options = {**self._problem, "model": f"{self._folder / 'networks.py'}:{LAYERS[layers]}", "eps": eps}
        options |= {"stats": stats, "batch_size": batch, "limit": batch * batches, "attack": spec}
        with imitation_cuda(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "diagnose", lambda *_: iter(()))
            return count_waits(lambda: _complete(evaluate("cuda", **options), eps))


def _complete(report: Report, eps: float) -> None:
    """Check that everything ran and, where steps are counted, that every sample took them all."""
    assert_complete(report)
    if eps == UNBREAKABLE:
        assert {attack.robust_accuracy for attack in report.variants[0].attacks} <= {1}, "a sample broke"


def _less(more: Mapping[str, int], less: Mapping[str, int]) -> Counter[str]:
    """Return the difference by line; what is saved (a first step without a proposal) is left out."""
    return Counter({line: more[line] - less.get(line, 0) for line in more if more[line] > less.get(line, 0)})


def tables(bench: Bench) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    for stats in STATS:
        for kind in ("per_step", "per_batch", "per_run"):
            size = f"{max(LAYERS)} BN, n = {max(BATCHES)}"
            yield f"\n### {kind.replace('_', ' ')}, {stats} statistics, by line ({size})\n"
            yield from _by_line(getattr(bench, kind), stats)
        yield f"\n### per batch besides the steps, {stats} statistics, by size\n"
        yield from _by_size(bench, stats)


def _by_line(measure: Callable[..., Counter[str]], stats: str) -> Iterator[str]:
    found = {name: measure(name, stats, max(LAYERS), max(BATCHES)) for name in SUBJECTS}
    yield _row("line", SUBJECTS, "source")
    yield f"|---|{'--:|' * len(SUBJECTS)}---|"
    for line in sorted({line for counts in found.values() for line in counts}):
        yield _row(line, [f"{counts[line]:g}" for counts in found.values()], f"`{Event(line, '').source[:80]}`")
    yield _row("**all**", [f"{counts.total():g}" for counts in found.values()], "")


def _by_size(bench: Bench, stats: str) -> Iterator[str]:
    yield _row("network, batch", SUBJECTS, "")
    yield f"|---|{'--:|' * len(SUBJECTS)}---|"
    for layers in LAYERS:
        for batch in BATCHES:
            counts = [bench.per_batch(name, stats, layers, batch).total() for name in SUBJECTS]
            yield _row(f"{layers} BN, n = {batch}", [f"{count:g}" for count in counts], "")


def _row(head: str, cells: Iterable[str], last: str) -> str:
    return f"| {head} | {' | '.join(cells)} | {last} |"


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        for line in tables(Bench(Path(folder))):
            print(line)  # noqa: T201


if __name__ == "__main__":
    main()

"""Section 3: attacks by `stein-bench evaluate`, against a bare loop of the same passes and against torchattacks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.device.bare import Bare
from benchmarks.device.peak import Peak
from benchmarks.device.record import NOT_RUN, Deadline, Job, NotRunError, Row
from benchmarks.device.scale import Scale, Subject
from benchmarks.device.subjects import EPS, MEAN, STD, STEPS, Prepared, Workshop
from benchmarks.device.verdict import at_least
from stein_bench.config import make_config
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.evaluation.run import run_evaluation
from stein_bench.guard import repeatable_backends
from stein_bench.progress import Silent

OF_BARE, OF_TORCHATTACKS = 0.95, 2.5
"""Goals: least share of the bare loop's throughput, and least multiple of torchattacks' images per second."""
RIVAL = "torchattacks"
Runs = dict[str, Callable[[], list[Row]]]
"""What runs in turn, by name; each returns a row per budget."""


@dataclass(frozen=True)
class Way:
    """A way to run `stein-bench evaluate`.

    Attributes:
        name: in the tables.
        options: fields of `RunConfig`.
        judged: whether the goals are for this one.
        compiles: whether its first attack also compiles, so that another one is run before those that count.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    judged: bool = False
    compiles: bool = False


DEFAULT = Way("default", judged=True)
REFILL, NO_REFILL = Way("--refill", {"refill": True}), Way("--no-refill", {"refill": False})
COMPILE = Way("--compile", {"compile": True}, compiles=True)
LOWER = Way("--attack-precision bf16", {"attack_precision": "bf16"})


def jobs(workshop: Workshop) -> list[Job]:
    """Return the comparisons, those with goals first and compilation, which takes longest, late."""
    scale = workshop.scale
    # By default the loop refills on CUDA only: compare with the other choice.
    other = NO_REFILL if scale.device == "cuda" else REFILL
    plan: list[tuple[str, Callable[..., list[Row]], list[Way], float]] = [
        ("pgd", pgd_rows, [DEFAULT, other], scale.least_attack),
        ("autoattack", battery_rows, [DEFAULT], scale.least_attack),
        ("pgd bf16", pgd_rows, [LOWER], scale.least_attack),
        ("autoattack other", battery_rows, [other], scale.least_attack),
        ("pgd compile", pgd_rows, [COMPILE], scale.least_compile),
    ]
    return [
        Job(f"{subject.name} {name}", partial(rows, workshop, subject, ways), least)
        for name, rows, ways, least in plan
        for subject in scale.subjects
    ]


def pgd_rows(workshop: Workshop, subject: Subject, ways: Sequence[Way], deadline: Deadline) -> list[Row]:
    """Compare ways of running `pgd` at both budgets; with the judged one also torchattacks' PGD."""
    made, scale = workshop.get(subject), workshop.scale
    specs = {budget: f"pgd:eps={eps!r},steps={STEPS}" for budget, eps in EPS.items()}
    runs = runs_of(scale, made, ways, specs, len(made.inputs))
    if any(way.judged for way in ways):
        runs[RIVAL] = partial(rival_run, scale, made, "pgd", min(len(made.inputs), 4 * subject.batch_size))
    return compared("pgd", scale, made, ways, runs, scale.attack_rounds, deadline)


def battery_rows(workshop: Workshop, subject: Subject, ways: Sequence[Way], deadline: Deadline) -> list[Row]:
    """Compare ways of running AutoAttack on few samples, with few steps and queries, in one round."""
    made, scale = workshop.get(subject), workshop.scale
    count = min(scale.battery_samples, len(made.inputs))
    size = f"steps={scale.battery_steps},queries={scale.battery_queries}"
    runs = runs_of(scale, made, ways, {"stands": f"autoattack:eps={EPS['stands']!r},{size}"}, count)
    if any(way.judged for way in ways):
        runs[RIVAL] = partial(rival_run, scale, made, "autoattack", count)
    return compared("autoattack", scale, made, ways, runs, 1, deadline)


def runs_of(scale: Scale, made: Prepared, ways: Sequence[Way], specs: dict[str, str], count: int) -> Runs:
    """Return a run per way, each of all attacks in `specs` on the first `count` images."""
    return {way.name: partial(evaluated, scale, made, way, specs, count) for way in ways}


def compared(
    kind: str, scale: Scale, made: Prepared, ways: Sequence[Way], runs: Runs, rounds: int, deadline: Deadline
) -> list[Row]:
    """Run everything in alternating rounds, the bare loop before and after each, and return a row for each run.

    Raises:
        NotRunError: a smoke test does not compile.
    """
    if scale.note and all(way.compiles for way in ways):
        raise NotRunError("compiling takes longer than all else in a smoke test")
    found: dict[tuple[str, str], list[Row]] = {}
    missing: list[Row] = []
    bare = [Bare.measured(scale, made)]
    for number in range(rounds):
        started = time.monotonic()
        for name in list(runs) if number % 2 == 0 else list(reversed(runs)):
            try:
                rows = runs[name]()
            except NotRunError as reason:
                missing.append({"way": name, "missing": f"{NOT_RUN}: {reason}"})
                del runs[name]
                continue
            for row in rows:
                found.setdefault((name, row["budget"]), []).append(row)
        bare.append(Bare.measured(scale, made))
        if deadline.left() < time.monotonic() - started:
            break
    about = {"kind": kind, "network": made.subject.name, "batch_size": made.subject.batch_size}
    return [{**about, **row} for row in [*summaries(found, bare, {way.name for way in ways if way.judged}), *missing]]


def summaries(found: dict[tuple[str, str], list[Row]], bare: Sequence[Bare], judged: Collection[str]) -> Iterator[Row]:
    """Yield the summary of every run at every budget, see `summary`."""
    again = bare[-1].both / bare[0].both
    rivals = [row["images_per_s"] for row in found.get((RIVAL, "stands"), [])]
    rival = statistics.median(rivals) if rivals else None
    for (name, _), times in found.items():
        yield summary(times, bare, again, None if name == RIVAL else rival, judged=name in judged)


def summary(times: Sequence[Row], bare: Sequence[Bare], again: float, rival: float | None, *, judged: bool) -> Row:
    """Return the median over rounds of one run, compared with the bare loop and with torchattacks.

    Args:
        times: the run's rows, one per round.
        bare: the bare loop before the first round and after each.
        again: the bare loop's last time over its first: the noise.
        rival: torchattacks' images per second, if it was run and is another run than this.
        judged: whether the goals are for this run.
    """
    middle = sorted(times, key=lambda row: row["seconds"])[len(times) // 2]
    nearest = [(bare[n].seconds(row) + bare[n + 1].seconds(row)) / 2 / row["seconds"] for n, row in enumerate(times)]
    of_bare = statistics.median(nearest)
    row = {**middle, "rounds": len(times), "of_bare": of_bare, "again": again, "of_torchattacks": None, "verdicts": {}}
    if rival is not None:
        row["of_torchattacks"] = middle["images_per_s"] / rival
    if judged:
        row["verdicts"] = {f"≥ {OF_BARE} of bare": at_least(of_bare, OF_BARE, again)}
        # Where half of the samples take all steps, no implementation can take 2.5 times fewer passes.
        if rival is not None and (middle["budget"] == "falls" or middle["attack"] == "autoattack"):
            faster = at_least(row["of_torchattacks"], OF_TORCHATTACKS, again)
            row["verdicts"][f"≥ {OF_TORCHATTACKS} × torchattacks"] = faster
    return row


class Stopwatch(Silent):
    """Takes time and peak memory of every phase of an evaluation."""

    def __init__(self, device: str) -> None:
        self.phases: list[tuple[str, float, int | None]] = []
        self._device = device

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase."""
        del total, done
        self._name, self._peak = phase, Peak(self._device).__enter__()
        self._started = time.perf_counter()

    def finish(self) -> None:
        """End the phase."""
        self._peak.__exit__(None, None, None)  # waits for the device
        self.phases.append((self._name, time.perf_counter() - self._started, self._peak.bytes))


def evaluated(scale: Scale, made: Prepared, way: Way, specs: dict[str, str], count: int) -> list[Row]:
    """Run `stein-bench evaluate` with these attacks and return a row for each.

    The time is that of the attack's phase: loading the images, attack and verification, not building the model.
    """
    given = dict(specs)
    if way.compiles:
        given = {"first": f"pgd:eps={1.01 * EPS['falls']!r},steps={STEPS}", **specs}
    config = make_config({
        "model": f"benchmarks.device.networks:{made.subject.factory}", "weights": str(made.weights),
        "data": f"npz:{made.data}", "mean": list(MEAN), "std": list(STD), "bn": ["sample"],
        "attack": list(given.values()), "batch_size": made.subject.batch_size, "limit": count,
        "device": scale.device, **way.options,
    })  # fmt: skip
    watch = Stopwatch(scale.device)
    report = run_evaluation(config, progress=watch)
    [variant] = report.variants
    names = [attack.name for attack in variant.attacks]
    phases = [phase for phase in watch.phases if phase[0].split()[0] in names]
    rows = []
    for (budget, _), attack, (_, seconds, peak) in zip(given.items(), variant.attacks, phases, strict=True):
        if attack.status != "ok":
            raise RuntimeError(f"{attack.label}: {attack.status}: {attack.message}")
        passes = {"forward": attack.forward_passes + count, "backward": attack.backward_passes}  # with verification
        rows.append({
            **measured(attack.name, way.name, budget, attack.eps, count, seconds, passes, peak),
            "clean": variant.clean.accuracy, "robust": attack.robust_accuracy,
        })  # fmt: skip
    if way.compiles:
        first, *rows = rows
        rows = [{**row, "first_seconds": first["seconds"]} for row in rows]
    return rows


def measured(
    attack: str, way: str, budget: str, eps: float, count: int, seconds: float, passes: dict[str, int], peak: int | None
) -> Row:
    """Return the figures of one run of an attack on `count` images."""
    return {
        "attack": attack, "way": way, "budget": budget, "eps": eps, "images": count, "seconds": seconds, **passes,
        "images_per_s": count / seconds, "passes_per_s": sum(passes.values()) / seconds, "peak_bytes": peak,
    }  # fmt: skip


def rival_run(scale: Scale, made: Prepared, attack: str, count: int) -> list[Row]:
    """Run torchattacks on the first `count` images, which are on the device already, and without verification.

    Raises:
        NotRunError: torchattacks is missing.
    """
    try:
        from benchmarks import rivals
    except ModuleNotFoundError as error:
        raise NotRunError(f"the package {error.name} is missing; install it or put it on PYTHONPATH") from error
    eps = EPS["stands"]  # its PGD takes all steps at any budget
    counting = CountingModel(made.model)
    batches = list(
        zip(*(part[:count].split(made.subject.batch_size) for part in (made.inputs, made.labels)), strict=True)
    )
    batches = [(inputs.to(scale.device), labels.to(scale.device)) for inputs, labels in batches]
    with repeatable_backends(), Peak(scale.device) as peak:
        started = time.perf_counter()
        found = [_rival(rivals, scale, attack, counting, inputs, labels, eps) for inputs, labels in batches]
        if scale.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    passes = {"forward": counting.forward_passes, "backward": counting.backward_passes}
    row = measured(attack, RIVAL, "stands", eps, count, seconds, passes, peak.bytes)
    return [{**row, "clean": 1.0, "robust": share_right(made.model, batches, found)}]


def _rival(
    rivals: Any, scale: Scale, attack: str, model: nn.Module, inputs: Tensor, labels: Tensor, eps: float
) -> Tensor:
    torch.manual_seed(0)
    if attack == "pgd":
        return rivals.torchattacks_pgd(model, inputs, labels, eps)
    return rivals.reference_autoattack(
        model, inputs, labels, eps, steps=scale.battery_steps, queries=scale.battery_queries
    )


@torch.no_grad()
def share_right(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], found: Sequence[Tensor]) -> float:
    """Return the share of samples that are right on what was found."""
    right: Iterator[Tensor] = (
        (model(adv).argmax(dim=1) == labels).float() for (_, labels), adv in zip(batches, found, strict=True)
    )
    return float(torch.cat(list(right)).mean())

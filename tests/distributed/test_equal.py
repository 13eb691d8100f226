"""However many processes share an evaluation, its report is that of one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from stein_bench.evaluation.journal import journal_paths, remove_journals
from stein_bench.report.adversarials import adversarials_path
from stein_bench.report.document import Report, read_report
from tests.distributed.cases import CASES, Job, evaluated, killed, run_together, write_inputs
from tests.journals import units_in

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)

QUICK = ("every kind", "batch statistics", "failing", "failing once", "segmentation", "volumes", "random")


def results(report: Report) -> dict[str, Any]:
    """Everything in a report but times, its identity, and what it says of the processes."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(part) for key, part in value.items() if key not in ("seconds", "file")}
        return [strip(part) for part in value] if isinstance(value, list) else value

    document = strip(report.model_dump(mode="json"))
    for key in ("id", "created", "wall_seconds", "processes"):
        document["run"].pop(key, None)
    document["run"]["environment"].pop("git_commit")  # somebody may be working on this very code
    for key in ("output", "resume"):
        document["run"]["config"].pop(key, None)
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of all cases."""
    folder = tmp_path_factory.mktemp("shared")
    write_inputs(folder)
    return folder


@pytest.fixture(autouse=True)
def one_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all processes find the networks that one has trained."""
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(folder / "cache"))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Compute as the processes do, since sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rounded(value: Any) -> Any:
    """The same, with numbers that may differ in their last digits: refilling changes which samples share a pass."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


ALONE: dict[str, dict[str, Any]] = {}


def alone(folder: Path, case: str) -> dict[str, Any]:
    """Return the results of a case in one process."""
    if case not in ALONE:
        output = str(folder / f"alone {case}.json")
        ALONE[case] = results(evaluated(folder, Job(case, output)))
        remove_journals(output)
    return ALONE[case]


def check(folder: Path, size: int, cases: tuple[str, ...]) -> None:
    jobs = [Job(case, str(folder / f"{size} {case}.json")) for case in cases]
    run_together(folder, size, jobs)
    for job in jobs:
        report = read_report(job.output)
        expected = alone(folder, job.case)
        assert results(report) == (rounded(expected) if job.case == "refilled" else expected), job.case
        assert report.run.processes is not None
        assert (report.run.processes.count, report.run.processes.nodes) == (size, 1)
        if report.adversarials is not None:
            examples = adversarials_path(job.output).read_bytes()
            assert examples == adversarials_path(folder / f"alone {job.case}.json").read_bytes()
        assert len(journal_paths(job.output)) == size
        remove_journals(job.output)


@pytest.mark.integration
def test_three_processes_give_the_report_of_one(folder: Path) -> None:
    check(folder, 3, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_processes_gives_the_report_of_one(folder: Path, size: int) -> None:
    check(folder, size, tuple(CASES))


@pytest.mark.parametrize("case", ["batch statistics", pytest.param("every kind", marks=pytest.mark.slow)])
def test_a_run_interrupted_in_three_processes_goes_on_in_two_and_ends_in_one(folder: Path, case: str) -> None:
    output = str(folder / f"resumed {case}.json")
    run_together(folder, 3, [Job(case, output, stop_after=(4, 2, 7))])
    assert len(journal_paths(output)) > 1
    run_together(folder, 2, [Job(case, output, resume=True, stop_after=(9, 5))])
    run_together(folder, 1, [Job(case, output, resume=True)])
    assert results(read_report(output)) == alone(folder, case)
    remove_journals(output)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["every kind", "batch statistics"])
def test_ten_kills_at_random_moments_lose_nothing_but_time(folder: Path, case: str) -> None:
    generator, output = np.random.default_rng(0), str(folder / f"killed {case}.json")
    started = time.monotonic()
    run_together(folder, 2, [Job(case, output)])
    usual, kills, units = time.monotonic() - started, 0, 0
    remove_journals(output)
    while kills < 10:
        resume = bool(journal_paths(output))
        if not killed(
            folder, 2, Job(case, output, resume=resume), int(generator.integers(2)), generator.random() * usual
        ):
            remove_journals(output)  # it was finished before
            continue
        kills += 1
        units += sum(len(units_in(path)) for path in journal_paths(output))
        run_together(folder, 2, [Job(case, output, resume=True)])
        assert results(read_report(output)) == alone(folder, case)
        remove_journals(output)
    assert units > 0  # some were killed while they were attacking

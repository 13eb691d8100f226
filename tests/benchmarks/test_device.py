"""The parts of `benchmarks/device.sh` that decide what is measured, kept and judged; CI runs the whole of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.device import __main__ as main_module
from benchmarks.device import markdown, networks, subjects, suite, verdict
from benchmarks.device.__main__ import SECTIONS, table
from benchmarks.device.attacks import DEFAULT, NO_REFILL, summary
from benchmarks.device.bare import Bare
from benchmarks.device.memory import largest_that_fits
from benchmarks.device.record import Deadline, Job, NotRunError, Record, read, run_jobs
from benchmarks.device.scale import FULL, SMOKE, NoDeviceError, scale_for
from benchmarks.device.subjects import samples_for

MACHINE = {"device": "cpu", "driver": None, "processor": "a processor", "cores": 2, "threads": 1}
VERSIONS = {"python": "3", "torch": "2", "torchvision": "0", "torchattacks": "3", "cuda": None, "cudnn": None}
IDENTITY = {"machine": MACHINE, "versions": VERSIONS, "commit": "abc", "code_sha256": "0", "settings": {"rounds": 3}}


def never(deadline: Deadline) -> list[dict[str, object]]:
    pytest.fail("it was measured before")


def raising(error: Exception):
    def run(deadline: Deadline) -> list[dict[str, object]]:
        raise error

    return run


def run(folder: Path, jobs: list[Job], *, seconds: float = 60, earlier: Path | None = None, **changes: object) -> bool:
    record = Record("layers", folder, {**IDENTITY, **changes}, "the command", earlier=earlier)
    return run_jobs(jobs, record, Deadline(seconds), lambda _: None)


def states(folder: Path) -> dict[str, str]:
    return {key: job["state"] for key, job in read(folder, "layers")["jobs"].items()}


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    assert run(tmp_path, [Job("one", lambda _: [{"ratio": 1.0}])])
    assert run(tmp_path, [Job("one", never), Job("two", lambda _: [])])
    found = read(tmp_path, "layers")
    assert found["jobs"]["one"]["rows"] == [{"ratio": 1.0}]
    assert states(tmp_path) == {"one": "measured", "two": "measured"}


def test_results_of_an_earlier_run_are_taken_over_from_another_folder(tmp_path: Path) -> None:
    run(tmp_path / "earlier", [Job("one", lambda _: [{"ratio": 1.0}])])
    assert run(tmp_path / "now", [Job("one", never)], earlier=tmp_path / "earlier")
    assert read(tmp_path / "now", "layers")["jobs"]["one"]["rows"] == [{"ratio": 1.0}]


@pytest.mark.parametrize("changed", [{"commit": "def"}, {"settings": {"rounds": 4}}, {"code_sha256": "1"}])
def test_results_of_other_code_or_settings_do_not_count(changed: dict[str, object], tmp_path: Path) -> None:
    run(tmp_path, [Job("one", lambda _: [{"ratio": 1.0}])])
    again: list[int] = []
    run(tmp_path, [Job("one", lambda _: again.append(1) or [])], **changed)
    assert again == [1]


def test_a_comparison_that_fails_or_cannot_be_made_costs_no_other(tmp_path: Path) -> None:
    jobs = [
        Job("broken", raising(RuntimeError("out of luck"))),
        Job("no package", raising(NotRunError("no package"))),
        Job("fine", lambda _: []),
    ]
    assert not run(tmp_path, jobs)
    assert states(tmp_path) == {
        "broken": "failed", "no package": "not run", "fine": "measured",
    }  # fmt: skip
    assert read(tmp_path, "layers")["jobs"]["broken"]["message"] == "RuntimeError: out of luck"
    assert run(tmp_path, [Job("broken", lambda _: []), jobs[1], Job("fine", never)])


def test_a_section_is_cut_short_and_says_so(tmp_path: Path) -> None:
    assert run(tmp_path, [Job("late", never)], seconds=0)
    assert run(tmp_path, [Job("long", never, least_seconds=100)], seconds=60)
    assert states(tmp_path) == {"long": "cut short"}


def test_a_killed_section_keeps_what_it_measured(tmp_path: Path) -> None:
    jobs = [Job("one", lambda _: []), Job("two", raising(KeyboardInterrupt())), Job("three", never)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, jobs)
    assert states(tmp_path) == {"one": "measured", "two": "cut short", "three": "cut short"}


def test_rounds_are_as_many_as_there_is_time_for() -> None:
    deadline = Deadline(100)
    assert [deadline.rounds(20, seconds) for seconds in (1, 9.9, 1000)] == [20, 10, 1]


@pytest.mark.parametrize(
    ("ratio", "again", "expected"),
    [(1.10, 1.0, "met"), (1.20, 1.0, "missed"), (1.10, 0.9, "noise"), (1.2, 1.02, "missed")],
)
def test_a_ratio_nearer_to_its_goal_than_the_noise_is_no_verdict(ratio: float, again: float, expected: str) -> None:
    assert verdict.at_most(ratio, 1.15, again) == expected


def test_at_least_is_the_other_way_round() -> None:
    assert [verdict.at_least(ratio, 0.95, 1.0) for ratio in (0.99, 0.9)] == ["met", "missed"]


@pytest.mark.parametrize("limit", [0, 1, 37, 64, 1000])
@pytest.mark.parametrize("start", [1, 48, 512])
def test_the_largest_that_fits_is_found_from_either_side(limit: int, start: int) -> None:
    found, whole = largest_that_fits(lambda size: size <= limit, start, lambda: False)
    assert whole
    assert limit / 1.05 - 1 <= found <= limit


def test_a_stopped_search_says_so() -> None:
    assert largest_that_fits(lambda size: True, 8, iter([False, False, True]).__next__) == (16, False)


def test_the_bare_loop_is_given_the_same_passes() -> None:
    """Two seconds for forward and backward of a sample, half a second for a forward pass alone."""
    bare = Bare(both=2.0, forward=0.5, layout="contiguous")
    row = {"forward": 30, "backward": 10, "seconds": 50.0, "images_per_s": 6.0, "budget": "falls", "attack": "pgd"}
    assert bare.seconds(row) == 10 * 2.0 + 20 * 0.5
    judged = summary([row], [bare, bare], 1.0, 2.0, judged=True)
    assert judged["of_bare"] == 30 / 50
    assert judged["of_torchattacks"] == 3.0
    assert judged["verdicts"] == {"≥ 0.95 of bare": "missed", "≥ 2.5 × torchattacks": "met"}
    assert summary([row], [bare, bare], 1.0, 2.0, judged=False)["verdicts"] == {}


def test_only_the_default_is_judged() -> None:
    assert DEFAULT.judged
    assert not NO_REFILL.judged


@pytest.mark.parametrize(("seconds", "batches"), [(0.01, 12), (0.1, 4), (10, 2)])
def test_the_number_of_samples_follows_the_device(seconds: float, batches: int) -> None:
    assert samples_for(seconds, FULL.subjects[0], FULL) == 128 * batches


def test_the_wide_network_is_that_of_the_paper() -> None:
    """36.5 million parameters, table 4."""
    with torch.device("meta"):
        network = networks.wide_resnet_28_10()
    assert sum(parameter.numel() for parameter in network.parameters()) == 36_479_194
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


@pytest.mark.integration
def test_half_of_the_samples_survive_once_the_head_is_scaled() -> None:
    torch.manual_seed(0)
    model, inputs = networks.small_wide_resnet(), subjects.images(64, 8)
    networks.settle(model, [inputs])
    model.requires_grad_(False)
    subjects.soften(model, model.linear, inputs)
    labels = model(inputs).argmax(dim=1)
    stands, falls = (subjects.surviving(model, inputs, labels, subjects.EPS[name]) for name in ("stands", "falls"))
    assert 0.4 <= stands <= 0.6
    assert falls < 0.2


def test_settled_statistics_are_the_averages_over_the_batches() -> None:
    layer = torch.nn.BatchNorm2d(2)
    batches = [torch.full((4, 2, 3, 3), value) for value in (1.0, 3.0)]
    networks.settle(layer, batches)
    assert layer.running_mean.tolist() == [2.0, 2.0]
    assert (layer.training, layer.momentum) == (False, 0.1)


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.gpu.a" name="one"/>
<testcase classname="tests.gpu.a" name="two"><skipped message="x"/></testcase>
<testcase classname="tests.gpu.a" name="three[a|b]"><failure message="assert 1 ==&#10;2">text</failure></testcase>
</testsuite></testsuites>"""


def test_failures_of_the_tests_are_named(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(JUNIT)
    row = suite.counted(tmp_path / "results.xml")
    assert (row["passed"], row["failed"], row["skipped"]) == (1, 1, 1)
    assert row["failures"] == [{"test": "tests.gpu.a::three[a|b]", "message": "assert 1 == 2"}]


def finish(folder: Path, failed: int = 0) -> None:
    """Store results of all sections, of which only the tests have a row."""
    for section in SECTIONS:
        rows = [{"kind": "tests", "passed": 5, "failed": failed, "skipped": 0, "failures": [], "note": ""}]
        record = Record(section, folder, IDENTITY, "the command")
        record.add("job", "measured", rows if section == "tests" else [])


def test_the_exit_status_tells_of_failed_tests_and_missing_sections(tmp_path: Path) -> None:
    finish(tmp_path)
    assert table(tmp_path) == 0
    finish(tmp_path, failed=1)
    assert table(tmp_path) == 1
    finish(tmp_path)
    (tmp_path / "memory.json").unlink()
    assert table(tmp_path) == 1


def test_the_file_names_machine_commit_and_command_and_says_what_is_missing(tmp_path: Path) -> None:
    finish(tmp_path)
    record = Record("layers", tmp_path, IDENTITY, "the command", "smoke test: no measurement")
    record.add("layer x", "cut short", message="no time")
    text = "\n".join(markdown.document(tmp_path))
    assert text.count("2 cores of a processor; Python 3, torch 2") == 4
    assert "commit abc. Command: `the command`." in text
    assert "layer x: cut short: no time." in text
    assert "**smoke test: no measurement.**" in text


def test_a_smoke_test_gives_no_verdicts() -> None:
    row = {"verdict": "met", "verdicts": {"goal": "met"}, "ratio": 1.0}
    assert markdown.judged(row, "a note") == {"verdict": "—", "verdicts": {}, "ratio": 1.0}
    assert markdown.judged(row, "") == row


def test_a_measurement_needs_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert scale_for(smoke=True) is SMOKE
    with pytest.raises(NoDeviceError, match="no CUDA device"):
        scale_for(smoke=False)


def test_the_settings_are_json() -> None:
    assert json.loads(json.dumps(FULL.document()))["device"] == "cuda"


def test_the_files_with_tests_for_a_device_are_found() -> None:
    """Also the one that is not in `tests/gpu`."""
    found = suite.marked_files()
    assert {"tests/gpu/test_attacks.py", "tests/normalization/test_fused.py"} <= set(found)
    assert "tests/attacks/test_native.py" not in found


def test_all_missing_packages_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "find_spec", lambda name: None if name in ("pydantic", "yaml") else name)
    assert main_module.check(smoke=True) == 2
    assert capsys.readouterr().err == "missing: pydantic, yaml. Install them, or put them on PYTHONPATH.\n"


def test_without_torchattacks_only_what_needs_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "find_spec", lambda name: None if name == "torchattacks" else name)
    assert main_module.check(smoke=True) == 0
    assert "torchattacks is missing: what needs it is not run" in capsys.readouterr().out
    assert "torchattacks" not in main_module.NEEDED

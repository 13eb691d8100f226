"""An attack that takes too long for a batch costs its own row; one that cannot be stopped ends the run, all kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import stein_bench
from stein_bench.attacks import native
from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation import records, time_limit
from stein_bench.evaluation.batches import Evaluated, Pending
from stein_bench.evaluation.journal import journal_path
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.time_limit import TimedOutError, check_time_limit, hanging_message, hangs_within, limited
from stein_bench.evaluation.together import failed_units
from stein_bench.report.document import Report
from tests.evaluation.test_memory import Notes
from tests.journals import units_in

Invoke = Callable[..., Result]

ATTACKS = '''
"""Attacks that do not end while there is a file ``hang`` beside this one."""

import hashlib
import time
from pathlib import Path

HANG = Path(__file__).with_name("hang")


def busy(model, inputs, labels, *, eps):
    """Ends, except on the second batch of sixteen."""
    if HANG.exists() and len(inputs) < 16:
        while HANG.exists():
            pass
    return (inputs + eps).clamp(0, 1)


def stubborn(model, inputs, labels, *, eps):
    """Catches what it can."""
    model.train()
    while HANG.exists():
        try:
            time.sleep(60)
        except Exception:
            pass
    model.eval()
    return (inputs + eps).clamp(0, 1)


def native(model, inputs, labels, *, eps):
    """Does not return to Python."""
    if HANG.exists():
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    return (inputs + eps).clamp(0, 1)
'''


@pytest.fixture
def hang(tmp_path: Path) -> Path:
    """The file that lets attacks of ``slow.py`` hang."""
    (tmp_path / "slow.py").write_text(ATTACKS)
    path = tmp_path / "hang"
    path.touch()
    return path


@pytest.fixture
def options(model: str, data: str, hang: Path) -> dict[str, Any]:
    """Those of a run on 24 samples, of which the second batch has 8."""
    return {
        "model": model, "data": data, "weights": "none", "limit": 24, "batch_size": 16, "eps": "0.1",
        "timeout_per_batch": 0.3, "attack": [f"{hang.with_name('slow.py')}:busy", "fgsm"],
    }  # fmt: skip


def run(options: dict[str, Any], **more: Any) -> Report:
    return run_evaluation(make_config({**options, **more}))


def command(options: dict[str, Any]) -> list[str]:
    """Return the command line with these options."""
    one = {key: value for key, value in options.items() if key not in ("model", "attack")}
    given = [word for key, value in one.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    attacks = [word for spec in options["attack"] for word in ("--attack", spec)]
    return ["evaluate", options["model"], *given, *attacks]


def rows(report: Report) -> list[str]:
    return [attack.status for variant in report.variants for attack in variant.attacks]


def timeless(report: Report) -> Any:
    return json.loads(
        json.dumps([v.model_dump(mode="json") for v in report.variants]), object_pairs_hook=_without_seconds
    )


def _without_seconds(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key != "seconds"}


# The limit itself.


def endless() -> None:
    while True:
        pass


def sleeping() -> None:
    time.sleep(60)


def catching() -> None:
    while True:
        try:  # noqa: SIM105
            time.sleep(60)
        except Exception:  # noqa: BLE001
            pass


def swallowing() -> None:
    for _ in range(3):
        try:  # noqa: SIM105
            endless()
        except:  # noqa: E722
            pass


def answering() -> None:
    try:
        endless()
    except BaseException as error:
        raise ValueError("stopped") from error


def late() -> str:
    try:
        endless()
    except:  # noqa: E722
        return "a result"


@pytest.mark.parametrize("work", [endless, sleeping, catching, swallowing, answering, late])
def test_work_that_takes_longer_is_stopped_whatever_it_catches(
    work: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "AGAIN", 0.02)
    with pytest.raises(TimedOutError, match=r"^it took longer than 0\.03 s for one batch and was stopped \(--timeout-"):
        limited(0.03, work)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_of_the_work_stays_what_it_is(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("own")

    with pytest.raises(error, match="own"):
        limited(60, fail)
    assert limited(60, lambda: "done") == limited(None, lambda: "done") == "done"


def test_what_puts_something_back_in_order_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "AGAIN", 0.01)
    order = []

    class Restoring:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass
            order.append("restored")

    def work() -> None:
        with Restoring():
            endless()

    with pytest.raises(TimedOutError):
        limited(0.01, work)
    assert order == ["restored"]


def test_the_timer_of_the_process_and_its_handler_are_left_as_they_were() -> None:
    def own(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGALRM, own)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1000, 7)
        limited(60, lambda: None)
        with pytest.raises(TimedOutError):
            limited(0.01, endless)
        assert signal.getsignal(signal.SIGALRM) is own
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert (900 < left < 1000, interval) == (True, 7)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_limit_that_ends_with_the_work_never_interrupts_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "AGAIN", 0.002)
    handler, ends = signal.getsignal(signal.SIGALRM), set()
    for number in range(400):
        try:
            ends.add(limited(1e-6 * (number + 1), lambda: sum(range(2000))))
        except TimedOutError:
            ends.add("stopped")
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert ends == {sum(range(2000)), "stopped"}


def test_where_it_cannot_work_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def check() -> None:
        try:
            check_time_limit(1.0)
        except UsageError as error:
            found.append(str(error))

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    monkeypatch.delattr(signal, "setitimer")
    check()
    assert "in the main thread alone" in found[0]
    assert "needs the timers of Unix" in found[1]
    check_time_limit(None)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_a_wrong_limit_is_one_line(invoke: Invoke, value: str) -> None:
    result = invoke("evaluate", "no.py:net", "--timeout-per-batch", value)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "--timeout-per-batch" in result.stderr


# In a run.


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "stats"), [("busy", "running"), ("stubborn", "running"), ("stubborn", "batch")])
def test_an_attack_that_takes_too_long_costs_its_row_in_every_variant_and_is_resumed(
    options: dict[str, Any], hang: Path, tmp_path: Path, name: str, stats: str
) -> None:
    options |= {"attack": [f"{hang.with_name('slow.py')}:{name}", "fgsm"], "bn": ["sample", "stein"], "stats": stats}
    options["output"] = str(tmp_path / "r.json")
    report = run(options)
    assert rows(report) == ["failed", "ok"] * 2
    assert report.variants[0].attacks[0].message == (
        "it took longer than 0.3 s for one batch and was stopped (--timeout-per-batch)."
    )
    assert report.run.config["timeout-per-batch"] == 0.3
    assert len(report.dishonest()) == 2
    hang.unlink()
    resumed = run(options, resume=True, timeout_per_batch=60)
    journal_path(options["output"]).unlink()
    assert rows(resumed) == ["ok"] * 4
    assert timeless(resumed) == timeless(run(options, timeout_per_batch=None))


@pytest.mark.usefixtures("unchecked")
def test_refilled_attacks_are_stopped_as_well(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = native.refill

    def slow(*args: Any, **kwargs: Any) -> Any:
        if len(calls := [*calls_made, 1]) == 1:
            calls_made.extend(calls)
            next(iter(args[2]))
            endless()
        yield from real(*args, **kwargs)

    calls_made: list[int] = []
    monkeypatch.setattr(native, "refill", slow)
    report = run(options, attack=["pgd", "fgsm"], refill=True)
    assert rows(report) == ["failed", "ok"]


@pytest.mark.usefixtures("unchecked")
def test_from_python_it_is_an_argument(options: dict[str, Any]) -> None:
    attacks = options.pop("attack")
    report = stein_bench.evaluate(**options, attacks=attacks, strict=False, progress=False)
    assert rows(report) == ["failed", "ok"]


@pytest.mark.usefixtures("unchecked")
def test_on_the_command_line_the_others_are_printed_and_the_exit_code_is_3(
    invoke: Invoke, options: dict[str, Any]
) -> None:
    result = invoke(*command(options))
    assert result.exit_code == 3
    assert "busy failed: it took longer than 0.3 s for one batch and was stopped" in result.stderr
    assert "fgsm" in result.stdout


# Attacks that cannot be stopped.


def test_why_an_attack_hangs_says_within_which_limit() -> None:
    message = hanging_message(0.5)
    limits = [(None, False), (0.1, True), (0.5, True), (0.6, False)]
    assert [hangs_within(message, limit) for limit, _ in limits] == [tried for _, tried in limits]
    assert not hangs_within(str(TimedOutError(0.5)), 0.5)


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_an_attack_that_cannot_be_stopped_is_kept_as_failed_and_not_tried_again(
    options: dict[str, Any], hang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if no signal came through; instead of the end of the process the attack ends."""
    options |= {"output": str(tmp_path / "r.json"), "save_adversarials": 2}
    said = []

    def ended(message: str, code: int) -> None:
        said.append((message, code))
        hang.unlink()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(records, "end_at_once", ended)
        patched.setattr(time_limit, "GRACE", 0.1)
        patched.setattr(time_limit, "AGAIN", 0.0)
        patched.setattr(time_limit.signal, "setitimer", lambda *_: (0.0, 0.0))
        patched.setattr("stein_bench.evaluation.loop.judged", lambda *a: interrupted() if said else judged(*a))
        from stein_bench.evaluation.outcomes import judged

        with pytest.raises(KeyboardInterrupt):
            run_evaluation(make_config(options), hanging_ends_process=True)
    label = f"{hang.with_name('slow.py')}:busy"
    path = journal_path(options["output"])
    ((message, code),) = said
    assert code == 3
    assert message.startswith("sample/running, ")
    assert "batch 2: it did not end, nor could it be stopped, within 0.3 s for one batch (--timeout-" in message
    assert message.endswith(f"It is kept as failed in {path}: --resume goes on with the others.")
    assert [unit.failed for _, unit in units_in(path)] == [False, False, False, True]
    hang.touch()  # it would hang again
    notes = Notes()
    kept = path.read_bytes()
    report = run_evaluation(make_config({**options, "resume": True}), progress=notes)
    assert rows(report) == ["failed", "ok"]
    assert "did not end, nor could it be stopped" in report.variants[0].attacks[0].message
    assert any("is not tried again: it did not end" in note for note in notes.notes), label
    hang.unlink()
    path.write_bytes(kept)
    assert rows(run(options, resume=True, timeout_per_batch=60)) == ["ok", "ok"]


@pytest.mark.slow
def test_a_call_that_never_returns_ends_the_process_with_everything_kept(
    options: dict[str, Any], hang: Path, tmp_path: Path
) -> None:
    options |= {"attack": ["fgsm", f"{hang.with_name('slow.py')}:native", "pgd"], "output": str(tmp_path / "r.json")}
    start = (
        "import sys; from stein_bench.evaluation import time_limit; time_limit.GRACE = 0.5\n"
        "from stein_bench.cli.commands import app; app(sys.argv[1:])"
    )
    words = [sys.executable, "-c", start, *command(options)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("stein-bench: ")]
    assert "batch 1: it did not end, nor could it be stopped, within 0.3 s" in line
    assert "Traceback" not in ended.stderr
    words += ["--resume", "--format", "json"]
    resumed = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert resumed.returncode == 3, resumed.stderr
    assert rows(Report.model_validate_json(resumed.stdout)) == ["ok", "failed", "ok"]
    assert not list(tmp_path.glob("r.json.*"))


def test_giving_up_where_everything_is_finished_ends_the_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def end(message: str, code: int) -> None:
        ended.append(f"{code} {message}")
        raise SystemExit

    monkeypatch.setattr(records, "end_at_once", end)
    with pytest.raises(SystemExit):
        records.Records(None, [], None, True).give_up([])
    assert ended == ["3 an attack that was run again for its examples could not be stopped: leave them out."]


def test_a_failure_of_a_batch_that_is_finished_is_that_of_the_next_one_that_is_not() -> None:
    setting = SimpleNamespace(own=range(4), rows=lambda number: np.arange(5 * number, 5 * number + 5))
    evaluated = Evaluated.__new__(Evaluated)
    done = {("sample/running", "pgd", number) for number in (0, 1)}
    for name, value in {"setting": setting, "variant": "sample/running", "done": done}.items():
        object.__setattr__(evaluated, name, value)
    batch = SimpleNamespace(indices=np.arange(5))
    (unit,) = failed_units(evaluated, ["pgd"], Pending(0, batch, ()), "no gradient")
    assert (unit.batch, unit.indices.tolist()) == (2, [10, 11, 12, 13, 14])

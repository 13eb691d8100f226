"""Commands in several processes, as torchrun starts them: what is printed, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stein_bench.evaluation.journal import journal_paths
from stein_bench.report.document import read_report
from tests.tiny import write_data, write_model


def start(size: int, *arguments: str, by_rank: Sequence[Sequence[str]] = (), folders: Sequence[Path] = ()):
    """Start a command in several processes, with further arguments and a working directory for each rank if given."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(size):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "COLUMNS": "100",
        }  # fmt: skip
        command = [sys.executable, "-m", "stein_bench", *arguments, *(by_rank[rank] if by_rank else ())]
        processes.append(
            subprocess.Popen(
                command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=folders[rank] if folders else None,
            )
        )  # fmt: skip
    return processes


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait, and return exit code, stdout and stderr by rank; the lines of torch itself are left out."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        lines = [line for line in err.splitlines() if line.startswith("stein-bench: ") or "Traceback" in line]
        found.append((process.returncode, out, "\n".join(lines)))
    return found


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """An evaluation of a tiny network with the weights that it is built with."""
    return ["evaluate", write_model(tmp_path), "--data", write_data(tmp_path), "--weights", "none", "--eps", "0.1"]


@pytest.mark.integration
def test_processes_with_other_arguments_end_with_one_line(command: list[str]) -> None:
    found = ended(start(2, *command, by_rank=[["--seed", "1"], ["--seed", "2"]]))
    assert [(code, out) for code, out, _ in found] == [(2, "")] * 2
    assert found[0][2].startswith("stein-bench: rank 1 on ")
    assert "differs from rank 0" in found[0][2]
    assert "its arguments" in found[0][2]
    assert found[1][2] == ""


@pytest.mark.slow
def test_more_processes_than_batches_and_a_node_without_the_data_end_with_one_line(
    command: list[str], tmp_path: Path
) -> None:
    found = ended(start(3, *command, "--batch-size", "30"))
    assert [code for code, _, _ in found] == [2] * 3
    assert "3 processes, but 60 samples are only 2 batches of up to 30" in found[0][2]
    assert [err for _, _, err in found[1:]] == ["", ""]
    nodes = [tmp_path / "first", tmp_path / "second"]
    for node in nodes:
        node.mkdir()
    (nodes[0] / "test.npz").write_bytes((tmp_path / "test.npz").read_bytes())
    found = ended(start(2, *command, "--data", "npz:test.npz", "--batch-size", "30", folders=nodes))
    assert [code for code, _, _ in found] == [2] * 2
    assert "rank 1 on " in found[0][2]
    assert "test.npz: no such file" in found[0][2]
    write_data(nodes[1], seed=1)
    found = ended(start(2, *command, "--data", "npz:test.npz", "--batch-size", "30", folders=nodes))
    assert [code for code, _, _ in found] == [2] * 2
    assert "differs from rank 0" in found[0][2]
    assert "in the data." in found[0][2]


LONG = ("--attack", "square:queries=1500", "--batch-size", "5")


def wait_for_journals(output: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(journal_paths(output)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(journal_paths(output)) == count


@pytest.mark.slow
@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_that_is_killed_ends_all_with_a_message_and_the_run_goes_on(
    command: list[str], tmp_path: Path, dead: int
) -> None:
    output = tmp_path / "report.json"
    processes = start(2, *command, *LONG, "--output", str(output))
    wait_for_journals(output, 2)
    processes[dead].kill()
    processes[dead].wait()
    processes[1 - dead].send_signal(signal.SIGTERM)  # as torchrun does
    found = ended(processes)
    assert found[1 - dead][0] == 3
    assert f"rank {dead} on " in found[1 - dead][2]
    assert "ended without a message" in found[1 - dead][2] or "connection to it is lost" in found[1 - dead][2]
    assert not output.exists()
    arguments = [*command, *LONG, "--output", str(output), "--resume"]
    assert [code for code, _, _ in ended(start(2, *arguments))] == [0, 0]
    assert read_report(output).variants[0].attacks[0].status == "ok"
    assert journal_paths(output) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_signal_ends_all_with_everything_kept(
    command: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "report.json"
    processes = start(2, *command, *LONG, "--output", str(output))
    wait_for_journals(output, 2)
    for process in processes:
        process.send_signal(number)
    found = ended(processes)
    assert [code for code, _, _ in found] == [130, 130]
    assert found[0][2] == (
        f"stein-bench: interrupted; finished batches are in {output}.partial: add --resume to continue."
    )
    assert found[1][2] == ""
    assert len(journal_paths(output)) == 2


@pytest.mark.slow
def test_a_silent_process_ends_the_others(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEIN_BENCH_SILENCE", "10")
    output = tmp_path / "report.json"
    processes = start(2, *command, *LONG, "--output", str(output))
    wait_for_journals(output, 2)
    processes[1].send_signal(signal.SIGSTOP)
    _, err = processes[0].communicate(timeout=240)
    assert processes[0].returncode == 3
    assert "no sign of life for 10 s" in err
    processes[1].kill()
    processes[1].communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_schedulers_signal_ends_one_process_like_an_interrupt(
    command: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "report.json"
    arguments = [sys.executable, "-m", "stein_bench", *command, *LONG, "--output", str(output)]
    process = subprocess.Popen(arguments, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_journals(output, 1)
    process.send_signal(number)
    ((code, out, err),) = ended([process])
    assert (code, out) == (130, "")
    assert err == f"stein-bench: interrupted; finished batches are in {output}.partial: add --resume to continue."


@pytest.mark.slow
def test_what_is_wrong_in_all_processes_is_said_once(command: list[str], tmp_path: Path) -> None:
    wrong = ["train", command[1], "--bn", "stien", "--output", str(tmp_path / "w.safetensors")]
    found = ended(start(2, *wrong))
    assert [code for code, _, _ in found] == [2, 2]
    assert found[0][2] == "stein-bench: unknown estimator 'stien'. Did you mean 'stein'? See stein-bench list bn."
    assert found[1][2] == ""


@pytest.mark.slow
def test_the_first_process_logs_and_a_tracker_that_fails_ends_all_with_its_exit_code(
    command: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    more = ["--attack", "fgsm", "--batch-size", "15"]
    found = ended(start(2, *command, *more, "--log", f"tensorboard:dir={tmp_path / 'tb'}"))
    assert len(list(tmp_path.glob("tb/*/*/events*"))) == 1
    (tmp_path / "file").write_text("no folder")
    failed = ended(start(2, *command, *more, "--log", f"tensorboard:dir={tmp_path / 'file'}"))
    assert [code for code, _, _ in failed] == [3, 3]
    assert failed[0][1].splitlines()[0] == found[0][1].splitlines()[0]
    assert "stein-bench: --log tensorboard failed: NotADirectoryError" in failed[0][2]
    assert failed[1][1:] == ("", "")


@pytest.mark.slow
def test_the_models_of_a_sweep_are_dealt(command: list[str], tmp_path: Path) -> None:
    models = [command[1], command[1].replace(":make", ":no_bn"), f"{tmp_path / 'net.py'}:missing"]
    options = [*command[2:], "--attack", "fgsm", "--limit", "20"]
    for name, size in (("one", 1), ("two", 2)):
        found = ended(start(size, "evaluate", *models, *options, "--output", f"{tmp_path / name}/"))
        assert [code for code, _, _ in found] == [3] * size
        assert "net.py-no_bn" in found[0][1]
        assert [out for _, out, _ in found[1:]] == [""] * (size - 1)
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]
    assert len(names[0]) == 4
    for report in ("net.py-make.json", "net.py-no_bn.json"):
        one, two = (read_report(tmp_path / name / report) for name in ("one", "two"))
        assert one.variants[0].outcomes == two.variants[0].outcomes


@pytest.mark.slow
def test_the_networks_of_an_experiment_are_dealt(tmp_path: Path) -> None:
    model, data = write_model(tmp_path), write_data(tmp_path)
    options = [
        "reproduce",
        "cifar10",
        "--model",
        model,
        "--data",
        data,
        "--epochs",
        "1",
        "--seeds",
        "2",
        "--bn",
        "sample",
    ]
    options += ["--bn", "stein", "--part", "standard", "--attack", "fgsm", "--mean", "0.5", "--std", "0.2"]
    found = []
    for size in (1, 2):
        output = tmp_path / f"{size}.json"
        ends = ended(start(size, *options, "--output", str(output)))
        assert {code for code, _, _ in ends} <= {0, 3}
        assert len({code for code, _, _ in ends}) == 1
        document = json.loads(output.read_text())
        found.append([(cell["bn"], cell["stats"], cell["seed"], cell["weights_sha256"]) for cell in document["cells"]])
        found[-1] += [document["rows"]]
    assert found[0] == found[1]

"""A soak: commands that are killed at random moments, resumed, and held against the same commands undisturbed.

    python -m tests.soak --evaluate 200 --train 50 --reproduce 20 --sweep 20 --jobs 2

Every run is a process of its own, forked from one that has loaded the libraries, as loading them takes longer than a
run does. It gets up to three signals, SIGKILL, SIGTERM and SIGINT in turn, each at a random moment of the time that an
undisturbed run takes, and is started again with the same command and ``--resume``. Then what it has written (reports,
weights, documents) must equal what the undisturbed run wrote in everything but times, and nothing else must be left in
its folder. A run ends the soak with an error if it ends with a code that the command line does not promise.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import stein_bench.cli
from stein_bench.exit_codes import INTERRUPTED
from tests.tiny import write_data, write_model

LOADED = (
    "matplotlib.backends.backend_agg", "scipy.stats", "timm", "torchattacks", "stein_bench.cli.commands",
    "stein_bench.evaluation.run", "stein_bench.reproduction.run", "stein_bench.sweep.run", "stein_bench.training.run",
)  # fmt: skip
"""What the runs would load, each for itself."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: INTERRUPTED, signal.SIGINT: INTERRUPTED}
"""The exit code that a signal leads to, unless the run was over before."""
VARYING = (
    "created",
    "seconds",
    "wall_seconds",
    "command",
    "git_commit",
    "resume",
    "output",
    "id",
    "file",
    "report_sha256",
)
"""What differs between two undisturbed runs of one command."""
LOG = "log.txt"
"""What a run prints."""
DATA = "npz:test.npz,train=train.npz"
BROKEN = '''
import torch


def broken(model, images, labels):
    """Fail on the second batch."""
    if labels[0] == 2:
        raise RuntimeError("no gradient")
    return images
'''
EXPERIMENT = """
name: tiny
preset: controlled
summary: a tiny network on a tiny problem
model: test_resnet
data: {data}
bn: [sample, stein]
seeds: 2
parts:
  - name: standard
    recipe: fit
    train: {{epochs: 2}}
    batch-size: 20
    attack: [fgsm:eps=4/255, noise-gaussian]
"""
EVALUATIONS = (
    ["--attack", "pgd:steps=40", "--attack", "fgsm", "--eps", "0.1", "--batch-size", "10"],
    [
        "--bn",
        "sample",
        "--bn",
        "stein",
        "--stats",
        "running",
        "--stats",
        "batch",
        "--attack",
        "pgd:steps=20",
        "--eps",
        "0.05",
    ],
    ["--attack", "square:queries=400", "--attack", "apgd-ce:steps=6", "--eps", "0.1", "--batch-size", "7"],
    ["--attack", "noise-gaussian:std=0.1,seeds=20", "--attack", "fog:severity=3", "--batch-size", "12"],
    ["--attack", "pgd:steps=3", "--attack", "broken.py:broken", "--eps", "0.1", "--batch-size", "10"],
    ["--attack", "torchattacks.FGSM", "--attack", "ddn:steps=60", "--save-adversarials", "5", "--batch-size", "10"],
    ["--weights", "none", "--attack", "pgd:steps=60", "--eps", "0.1", "--controls", "--batch-size", "6"],
    ["--attack", "adaptive:steps=2,queries=3", "--attack", "pgd:steps=2", "--eps", "0.1"],
)
TRAININGS = (
    ["--epochs", "4", "--limit", "600"],
    ["--epochs", "3", "--bn", "stein", "--limit", "400"],
    ["--epochs", "3", "--recipe", "cifar10", "--limit", "300"],
)


def command_of(kind: str, number: int) -> list[str]:
    """Return the arguments of a run: of each kind there are several, taken in turn."""
    if kind == "evaluate":
        options = EVALUATIONS[number % len(EVALUATIONS)]
        return ["evaluate", "net.py:make", "--data", DATA, *options, "--output", "report.json"]
    if kind == "train":
        options = TRAININGS[number % len(TRAININGS)]
        return ["train", "net.py:make", "--data", DATA, *options, "--output", "weights.safetensors"]
    if kind == "reproduce":
        return ["reproduce", "tiny.yaml", "--model", "net.py:make", "--output", "document.json"]
    models = ["test_resnet", "timm:test_vit3", "test_efficientnet"]  # the second fails: it rejects images of digits
    return ["evaluate", *models, "--weights", "none", "--limit", "12", "--batch-size", "4", "--attack", "pgd:steps=2",
            "--output", "runs/"]  # fmt: skip


def write_inputs(folder: Path) -> None:
    """Write what the commands read into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder)
    write_data(folder)
    (folder / "broken.py").write_text(BROKEN)
    (folder / "tiny.yaml").write_text(EXPERIMENT.format(data=DATA))


def start(arguments: Sequence[str], folder: Path, cache: Path) -> int:
    """Start a command in a process of its own, with its output in a log, and return the number of the process."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.chdir(folder)
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.environ["STEIN_BENCH_CACHE"] = str(cache)
        for number in SIGNALS[1:]:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        sys.argv = ["stein-bench", *arguments]
        stein_bench.cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 the log says what the command line failed to handle
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(process: int) -> int:
    """Wait for a process, and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def written(folder: Path) -> dict[str, Any]:
    """Return what a run has left in its folder, by name, without what differs between two undisturbed runs."""
    return {
        str(path.relative_to(folder)): json.dumps(_stripped(json.loads(path.read_text())), sort_keys=True)
        if path.suffix == ".json"
        else path.read_bytes() if path.suffix != ".png" else b""
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LOG and "__pycache__" not in path.parts
    }  # fmt: skip


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(part) for key, part in value.items() if key not in VARYING}
    return [_stripped(part) for part in value] if isinstance(value, list) else value


@dataclass
class Run:
    """What became of one run.

    Attributes:
        kind, number: which it was.
        signals: names of the signals that ended it.
        at_work: how many of them found files of unfinished work, or left some.
        equal: whether the end result is that of the undisturbed run.
        failures: what went wrong, empty if nothing did.
    """

    kind: str
    number: int
    signals: list[str] = field(default_factory=list)
    at_work: int = 0
    equal: bool = False
    failures: list[str] = field(default_factory=list)


class Soak:
    """Undisturbed runs, each made once, and disturbed ones, in one working folder: it is part of a run's identity."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._work, self._cache = folder / "work", folder / "cache"
        self._usual: dict[str, tuple[dict[str, Any], float, int]] = {}

    def usual(self, arguments: list[str]) -> tuple[dict[str, Any], float, int]:
        """Return what the undisturbed run writes, its seconds and its exit code."""
        key = " ".join(arguments)
        if key not in self._usual:
            self._begin()
            started = time.monotonic()
            code = self._ended(arguments)
            self._usual[key] = written(self._work), time.monotonic() - started, code
        return self._usual[key]

    def run(self, kind: str, number: int) -> Run:
        """Disturb one run up to three times, resume it to its end, and compare."""
        generator = random.Random(f"{self._seed} {kind} {number}")
        arguments, result = command_of(kind, number), Run(kind, number)
        expected, seconds, usual_code = self.usual(arguments)
        given = self._begin()
        code = None
        for attempt in range(generator.randint(1, 3)):
            process = start(_resumed(arguments, attempt), self._work, self._cache)
            time.sleep(generator.uniform(0, seconds))
            sent = SIGNALS[(number + attempt) % len(SIGNALS)]
            os.kill(process, sent)  # one that is over waits to be reaped, and takes signals
            code = ended(process)
            if code == usual_code:
                break
            result.signals.append(sent.name)
            result.at_work += any(path.name not in given for path in self._work.iterdir())
            if code not in (ENDS[sent], -sent):  # before the command line has its handlers, the system ends the process
                result.failures.append(f"exit code {code} after {sent.name}")
            code = None
        if code is None and (code := self._ended(_resumed(arguments, 1))) != usual_code:
            result.failures.append(f"exit code {code} at the end, not {usual_code}")
        found = written(self._work)
        result.equal = found == expected
        result.failures += [
            f"{name} {'is missing' if name not in found else 'is left' if name not in expected else 'differs'}"
            for name in sorted(expected.keys() | found.keys())
            if found.get(name) != expected.get(name)
        ]
        if result.failures:
            kept = self._folder / f"{kind}-{number}"
            self._work.rename(kept)
            print(f"{kept}: {'; '.join(result.failures)}", file=sys.stderr, flush=True)
        return result

    def _begin(self) -> set[str]:
        """Empty the working folder and the cache, write the inputs, and return their names."""
        for folder in (self._work, self._cache):
            shutil.rmtree(folder, ignore_errors=True)
        write_inputs(self._work)
        return {path.name for path in self._work.iterdir()} | {LOG, "__pycache__"}

    def _ended(self, arguments: list[str]) -> int:
        return ended(start(arguments, self._work, self._cache))


def _resumed(arguments: list[str], attempt: int) -> list[str]:
    # `reproduce` goes on by itself.
    return [*arguments, "--resume"] if attempt and arguments[0] != "reproduce" else arguments


def soak(counts: dict[str, int], folder: Path, *, seed: int = 0, jobs: int = 1) -> list[Run]:
    """Make so many disturbed runs of each kind in `folder`, several at a time, and return what became of them."""
    for module in LOADED:
        importlib.import_module(module)
    torch.set_num_threads(1)  # forked processes must not find threads missing that this one has started
    wanted = [(kind, number) for kind, count in counts.items() for number in range(count)]
    workers = []
    for job in range(jobs):
        log = folder / f"runs-{job}.jsonl"
        if process := os.fork():
            workers.append((process, log))
            continue
        code = 1
        try:
            here = Soak(folder / str(job), seed)
            with log.open("w") as stream:
                for kind, number in wanted[job::jobs]:
                    print(json.dumps(asdict(here.run(kind, number))), file=stream, flush=True)
            code = 0
        finally:
            os._exit(code)
    codes = [ended(process) for process, _ in workers]
    runs = [Run(**json.loads(line)) for _, log in workers for line in log.read_text().splitlines()]
    if any(codes) or len(runs) != len(wanted):
        raise RuntimeError(f"a worker of the soak failed: {codes}, {len(runs)} of {len(wanted)} runs")
    return runs


def summary(runs: list[Run]) -> str:
    """Return a Markdown table: for each kind, the runs, what ended them, and how many were equal in the end."""
    lines = ["| command | runs | killed | SIGKILL | SIGTERM | SIGINT | with work under way | equal in the end |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for kind in dict.fromkeys(run.kind for run in runs):
        own = [run for run in runs if run.kind == kind]
        signals = Counter(name for run in own for name in run.signals)
        cells = [kind, len(own), signals.total(), *(signals[number.name] for number in SIGNALS),
                 sum(run.at_work for run in own), sum(run.equal for run in own)]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    """Run the soak of the command line's arguments, print its table, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, count in (("evaluate", 200), ("train", 50), ("reproduce", 20), ("sweep", 20)):
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"runs, by default {count}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, by default 0")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, by default 1")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    counts = {kind: getattr(asked, kind) for kind in ("evaluate", "train", "reproduce", "sweep")}
    runs = soak(counts, folder, seed=asked.seed, jobs=asked.jobs)
    print(summary(runs))
    failed = sum(bool(run.failures) for run in runs)
    print(f"{failed} of {len(runs)} runs failed{f', their folders are in {folder}' if failed else ''}.")
    if not failed:
        shutil.rmtree(folder)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

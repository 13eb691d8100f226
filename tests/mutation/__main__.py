"""Mutation testing: change one spot of the package at a time, and see whether a test notices.

    python -m tests.mutation cover FILE…                    which test runs which line (once, and after new tests)
    python -m tests.mutation run OUT --each 150 --seed 1    a random sample of mutants per package, one JSON line each
    python -m tests.mutation report OUT…                    the share killed per package, and the survivors

Every mutant is run in a forked child by the tests that run its line, quickest first, until one fails. Most mutants
are within a function: their children start with everything imported, and replace the function's code. The others, of
constants, defaults and classes, import the package anew. `cover` needs `coverage`; all needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.mutants import ROOT, SCOPE, Mutant, functions, install, sample

LONGEST = 30.0
"""Seconds of tests for a mutant, by the times they took unchanged. One that survives these counts as survived."""
MEMORY = 6 << 30
"""Bytes that a child may allocate."""
FIRST = 6
"""So many tests are tried by themselves first: they mostly suffice, and few files are collected for them."""
PRELOADED = ("torch", "torchvision", "timm", "torchattacks", "hypothesis", "pydantic", "scipy.stats", "typer.testing")
"""Imported before all children start: what is slow to import, and not stein_bench itself."""
QUIET = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--disable-warnings"]
# Else pytest imports the package itself, to rewrite assertions, since it brings a plugin; then no change has an effect.
QUIET += ["--assert=plain"]


class Selected:
    """A pytest plugin: runs only these tests, in this order, and notes those that fail."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: number for number, test in enumerate(tests)}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def in_child(mutant: Mutant | None, tests: list[str], seconds: float) -> tuple[str, list[str]]:
    """Run the tests in a forked child; return killed, survived, timeout or unusable, and which tests failed."""
    folder = Path(tempfile.mkdtemp())
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 99
        with contextlib.suppress(BaseException):
            os.setsid()
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silent, stream)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            took_effect = install(mutant) if mutant else lambda: True
            status = 1
            plugin, stop = Selected(tests), ["-x"] if mutant else []
            files = sorted({test.split("::")[0] for test in tests})
            status = int(pytest.main([*QUIET, *stop, f"--basetemp={folder}/tests", *files], plugins=[plugin]))
            status = status if took_effect() else 99
            (folder / "failed.json").write_text(json.dumps(plugin.failed))
        os._exit(status)
    end = time.monotonic() + seconds
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    if late := status[0] == 0:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    failed = json.loads(report.read_text()) if (report := folder / "failed.json").exists() else []
    shutil.rmtree(folder, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status[1])  # 5: pytest has found none of the tests
    return ("timeout" if late else {0: "survived", 5: "survived", 99: "unusable"}.get(code, "killed")), failed


def cover(known: Path, files: list[str]) -> None:
    """Write which tests run which line, and how long they take, into the map; what it has of other files stays.

    Tests that do not pass are left out.
    """
    import coverage

    names = sorted(str(path) for patterns in SCOPE.values() for pattern in patterns for path in ROOT.glob(pattern))
    measured = coverage.Coverage(data_file=None, include=names, config_file=False)
    seconds: Counter[str] = Counter()
    bad: set[str] = set()

    class Contexts:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
            measured.switch_context(item.nodeid)
            return (yield)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            seconds[report.nodeid] += report.duration
            if report.outcome != "passed":
                bad.add(report.nodeid)

    measured.start()
    pytest.main([*QUIET, *files], plugins=[Contexts()])
    measured.stop()
    data = measured.get_data()
    old = json.loads(known.read_text()) if known.exists() else {"seconds": {}, "lines": {}}
    again = {test.split("::")[0] for test in seconds}
    kept = {test: took for test, took in old["seconds"].items() if test.split("::")[0] not in again}
    lines: dict[str, dict[str, list[str]]] = {}
    for name in data.measured_files():
        file = str(Path(name).relative_to(ROOT))
        former = old["lines"].get(file, {})
        found = {str(line): tests for line, tests in data.contexts_by_lineno(name).items()}
        lines[file] = {
            line: sorted({t for t in former.get(line, ()) if t in kept} | {t for t in found.get(line, ()) if t} - bad)
            for line in former.keys() | found.keys()
        }
    known.write_text(json.dumps({"seconds": kept | seconds, "lines": {**old["lines"], **lines}}))
    say(f"{len(seconds)} tests, {len(bad)} of them left out; see {known}")


def tests_of(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """Return the tests for a mutant, the quickest first, of `LONGEST` seconds in all."""
    lines, seconds = known["lines"].get(mutant.file, {}), known["seconds"]
    own = {test for line in mutant.lines for test in lines.get(str(line), ())}
    # What is outside functions runs once, at import: any test that uses the module may notice.
    every = own if mutant.in_function else {test for tests in lines.values() for test in tests}
    chosen: list[str] = []
    spent = 0.0
    for test in sorted(every, key=lambda test: (test not in own, seconds[test], test)):
        spent += seconds[test]
        if spent > LONGEST and chosen:
            break
        chosen.append(test)
    return chosen


def run(known: Path, out: Path, each: int, seed: int, only: list[str]) -> None:
    """Run a sample of mutants, then the tests that noticed one on the unchanged package: those must pass."""
    tests_by_line = json.loads(known.read_text())
    seconds = tests_by_line["seconds"]
    os.nice(10)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    counts, drawn = sample(each, seed, only)
    say(f"mutants in all: {counts}")
    noticing: set[str] = set()
    warm = False
    with out.open("a", encoding="utf-8") as lines:
        for mutant in drawn:
            if mutant.in_function and not warm:
                warm = True
                pytest.main([*QUIET, "--collect-only", "-qq", *sorted({test.split("::")[0] for test in seconds})])
                functions()
                gc.freeze()  # else collections of garbage copy all memory in every child
            tests = tests_of(mutant, tests_by_line)
            begun = time.monotonic()
            result, failed = "survived", list[str]()
            for part in (tests[:FIRST], tests[FIRST:]):
                if part and result == "survived":
                    result, failed = in_child(mutant, part, 60 + 10 * sum(seconds[test] for test in part))
            noticing |= set(failed)
            took = round(time.monotonic() - begun, 1)
            entry = {**mutant.__dict__, "result": result, "by": failed, "tests": len(tests), "seconds": took}
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
    say(f"unchanged: {in_child(None, sorted(noticing), 600)}")


def report(files: list[Path]) -> None:
    """Print the share killed per package with its Wilson interval, and the survivors."""
    from stein_bench.statistics.rates import wilson

    entries = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for package in (entry["package"], "all"):
            counts[package][entry["result"]] += 1
    for package, count in counts.items():
        n = count.total() - count["unusable"]
        rate = wilson(n - count["survived"], n)
        say(f"{package}: {rate.successes} of {n}, {rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]; {dict(count)}")
    for entry in sorted(entries, key=lambda entry: (entry["file"], entry["line"])):
        if entry["result"] == "survived":
            say(f"{entry['file']}:{entry['line']}: {entry['change']} ({entry['tests']} tests)")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", type=Path, default=Path("mutation-map.json"), help="written by cover, read by run")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cover").add_argument("files", nargs="+")
    runs = commands.add_parser("run")
    runs.add_argument("out", type=Path)
    runs.add_argument("--each", type=int, default=0, help="mutants per package; 0: all")
    runs.add_argument("--seed", type=int, default=1)
    runs.add_argument("--only", nargs="*", default=[], choices=SCOPE)
    commands.add_parser("report").add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    if given.command == "cover":
        cover(given.map, given.files)
    elif given.command == "run":
        run(given.map, given.out, given.each, given.seed, given.only)
    else:
        report(given.files)

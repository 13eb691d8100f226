"""Section 1: the tests marked `gpu`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.device.machine import ROOT
from benchmarks.device.record import Deadline, Job, Row
from benchmarks.device.scale import Scale

GRACE = 15.0
"""Seconds that pytest gets to write its results after it was interrupted."""
LOG = "tests.log"


def jobs(scale: Scale, folder: Path) -> list[Job]:
    """Return the one job of this section: run the tests, or collect them where there is no CUDA device."""
    run = run_tests if scale.device == "cuda" else collect_tests
    return [Job("pytest -m gpu", partial(run, folder))]


def run_tests(folder: Path, deadline: Deadline) -> list[Row]:
    """Run the tests and return their counts, with the failures by name."""
    with TemporaryDirectory() as name:
        results = Path(name) / "results.xml"
        options = ["-q", "-ra", "--tb=short", f"--junitxml={results}"]
        stopped = _pytest(options, folder / LOG, deadline.left() - GRACE)
        if not results.exists():
            raise RuntimeError(f"pytest wrote no results; see {folder / LOG}")
        row = counted(results)
    note = "stopped: the section's time was used up" if stopped else ""
    return [{"kind": "tests", **row, "note": note}]


def counted(results: Path) -> Row:
    """Return the counts of a JUnit file, with name and message of every test that failed."""
    failures, skips, cases = [], 0, 0
    for case in ElementTree.parse(results).iter("testcase"):
        cases += 1
        skips += case.find("skipped") is not None
        wrong = [part for kind in ("failure", "error") for part in case.findall(kind)]
        if wrong:
            test = f"{case.get('classname', '')}::{case.get('name', '')}"
            failures.append({"test": test, "message": " ".join((wrong[0].get("message") or "").split())[:200]})
    return {"passed": cases - skips - len(failures), "failed": len(failures), "skipped": skips, "failures": failures}


def marked_files() -> list[str]:
    """Return the files with tests marked `gpu`: the others may need packages that the machine lacks."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]


def collect_tests(folder: Path, deadline: Deadline) -> list[Row]:
    """Collect the tests without running them.

    Raises:
        RuntimeError: they cannot be collected.
    """
    _pytest(["--collect-only", "-q"], folder / LOG, deadline.left() - 1)
    found = re.search(r"^(\d+)(?:/\d+)? tests? collected", (folder / LOG).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the tests cannot be collected; see {folder / LOG}")
    note = f"{found[1]} tests collected, none run: there is no CUDA device"
    return [{"kind": "tests", "passed": 0, "failed": 0, "skipped": 0, "failures": [], "note": note}]


def _pytest(options: list[str], log: Path, seconds: float) -> bool:
    """Run pytest on the tests marked `gpu`, its output into `log`; return whether it had to be stopped."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *options, *marked_files()]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest then writes what it has
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return True
    return False

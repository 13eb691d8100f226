"""One section of `benchmarks/device.sh`, or the table of all."""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

SECTIONS = ("tests", "layers", "attacks", "memory")
NEEDED = (
    "numpy", "PIL", "platformdirs", "pydantic", "rich", "safetensors", "scipy", "timm", "torch", "torchvision", "typer",
    "yaml", "hypothesis", "pytest",
)  # fmt: skip
"""Modules without which nothing runs, the last two for the tests."""


def main() -> int:
    """Run a section, or write the Markdown file; return 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("section", choices=(*SECTIONS, "check", "table"))
    parser.add_argument("--folder", type=Path, required=True, help="where the results go")
    parser.add_argument("--earlier", type=Path, help="a folder with results of an earlier run")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for the section")
    parser.add_argument("--smoke", action="store_true", help="a tiny trial run on the CPU")
    parser.add_argument("--command", default="", help="the command line to store with the results")
    options = parser.parse_args()
    if options.section == "check":
        return check(smoke=options.smoke)
    if options.section == "table":
        return table(options.folder)
    return run_section(options)


def check(*, smoke: bool) -> int:
    """Return 0 if all is there that is needed, else 2, and say what is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"missing: {', '.join(missing)}. Install them, or put them on PYTHONPATH.", file=sys.stderr)
        return 2
    from benchmarks.device.scale import NoDeviceError, scale_for

    try:
        scale_for(smoke=smoke)
    except NoDeviceError as error:
        print(error, file=sys.stderr)
        return 2
    if find_spec("torchattacks") is None:
        print("torchattacks is missing: what needs it is not run. To run it, put it on PYTHONPATH.")
    return 0


def table(folder: Path) -> int:
    """Write the Markdown file; return 1 if a test or a comparison failed, or a section is missing."""
    from benchmarks.device.markdown import rows_of, write_markdown
    from benchmarks.device.record import FAILED, read

    print(write_markdown(folder))
    found = [read(folder, section) for section in SECTIONS]
    bad = any(
        document is None
        or any(job["state"] == FAILED for job in document["jobs"].values())
        or any(row.get("failed") for row in rows_of(document))
        for document in found
    )
    return int(bad)


def run_section(options: argparse.Namespace) -> int:
    """Measure what the section lacks; return 1 if a comparison failed."""
    from benchmarks.device import attacks, layers, memory, subjects, suite
    from benchmarks.device.machine import describe
    from benchmarks.device.record import Deadline, Record, run_jobs
    from benchmarks.device.scale import scale_for

    deadline = Deadline(options.seconds)
    warnings.filterwarnings("ignore", category=UserWarning)  # they would hide the lines about progress
    scale = scale_for(smoke=options.smoke)
    measured = ("stein_bench", "tests" if options.section == "tests" else "benchmarks")
    identity = {**describe(scale.device, measured), "settings": scale.document()}
    options.folder.mkdir(parents=True, exist_ok=True)
    record = Record(options.section, options.folder, identity, options.command, scale.note, options.earlier)

    def say(line: str) -> None:
        print(f"{options.section}: {line}", flush=True)

    if options.section == "tests":
        return int(not run_jobs(suite.jobs(scale, options.folder), record, deadline, say))
    if options.section == "layers":
        return int(not run_jobs(layers.jobs(scale), record, deadline, say))
    if options.section == "attacks":
        with subjects.Workshop(scale) as workshop:
            return int(not run_jobs(attacks.jobs(workshop), record, deadline, say))
    with subjects.Workshop(replace(scale, most_batches=2)) as workshop:  # no need for many images
        return int(not run_jobs(memory.jobs(workshop), record, deadline, say))


if __name__ == "__main__":
    sys.exit(main())

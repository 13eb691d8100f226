"""Fuzz one reader for a while, print what was run and found, and keep the inputs that were found at fault."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs at fault")
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with, which new ones are added to")
    given = parser.parse_args()
    result = fuzz(TARGETS[given.target], 60 * given.minutes, seed=given.seed, corpus=given.corpus)
    print(result.summary())  # noqa: T201
    for finding in result.findings.values():
        given.keep.mkdir(parents=True, exist_ok=True)
        path = given.keep / f"{given.target}-{finding.digest}"
        path.write_bytes(finding.content)
        print(f"\n{path}: {finding.kind}, {finding.times} times\n{finding.trace}")  # noqa: T201
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())

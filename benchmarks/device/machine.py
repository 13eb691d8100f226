"""Machine, versions and commit: what every number carries."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.normalization import processor_name
from stein_bench.report.provenance import git_commit, package_versions

ROOT = Path(__file__).resolve().parents[2]


def describe(device: str, measured: Sequence[str]) -> dict[str, Any]:
    """Return machine, versions, commit and a hash of the code.

    Args:
        device: ``cuda`` or ``cpu``.
        measured: the folders whose content decides whether earlier results are still those of this code.
    """
    on_cuda = device == "cuda"
    return {
        "machine": {
            "device": torch.cuda.get_device_name() if on_cuda else "cpu",
            "driver": nvidia_driver() if on_cuda else None,
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "versions": {
            "python": platform.python_version(),
            **package_versions(),
            "cuda": torch.version.cuda if on_cuda else None,
            "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        },
        "commit": git_commit() or os.environ.get("COMMIT") or "unknown",
        "code_sha256": code_sha256(measured),
    }


def nvidia_driver() -> str:
    """Return the driver's version as `nvidia-smi` gives it, or ``unknown``."""
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.split("\n")[0].strip() or "unknown"


def code_sha256(folders: Sequence[str]) -> str:
    """Return the SHA-256 over the Python files in these folders of the repository."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def one_line(identity: dict[str, Any]) -> str:
    """Return machine, versions and commit in a sentence or two."""
    machine, versions = identity["machine"], identity["versions"]
    driver = f", driver {machine['driver']}" if machine["driver"] else ""
    cuda = f", CUDA {versions['cuda']}, cuDNN {versions['cudnn']}" if versions["cuda"] else ""
    return (
        f"{machine['device']}{driver}, {machine['cores']} cores of {machine['processor']}; "
        f"Python {versions['python']}, torch {versions['torch']}{cuda}, torchvision {versions['torchvision']}, "
        f"torchattacks {versions['torchattacks']}; commit {identity['commit']}."
    )

"""Provenance of a run: machine, versions, device."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from stein_bench.report.document import Environment

PACKAGES = ("stein-bench", "torch", "torchvision", "timm", "torchattacks", "numpy")


def environment(device: torch.device, precision: str) -> Environment:
    """Describe the machine, the versions and the device of a run."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=package_versions(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision="bf16" if precision == "bf16" else "fp32",
        git_commit=git_commit(),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that affect the results."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def device_name(device: torch.device) -> str:
    """Return the name of a device, e.g. ``cpu`` or ``cuda (NVIDIA H100 80GB HBM3)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def git_commit() -> str | None:
    """Return the commit of the working directory, marked ``-dirty`` if tracked files differ; None outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

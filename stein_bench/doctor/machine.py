"""The machine: processor, memory, limits of a container, file systems."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "afs", "afpfs",
})  # fmt: skip
"""File systems on other machines, where many small files are slow."""
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What this process may use.

    Attributes:
        processor: its name.
        cores: cores of the machine.
        usable: cores that this process may use, by affinity and a container's limit; may be a fraction.
        memory: bytes of memory; None if unknown.
        available: bytes of it that are free now; None if unknown.
        memory_limit: bytes that a container allows; None without a limit.
        bf16: whether the processor multiplies bfloat16 numbers.
    """

    processor: str
    cores: int
    usable: float
    memory: int | None
    available: int | None
    memory_limit: int | None
    bf16: bool


def this_machine() -> Machine:
    """Return what can be read about this machine."""
    cores = os.cpu_count() or 1
    allowed: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota = _read(_cgroup_file("cpu.max", "cpu/cpu.cfs_quota_us")).split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        allowed = min(allowed, int(quota[0]) / int(quota[1]))
    cpu = _read(Path("/proc/cpuinfo"))
    flags = _field(cpu, "flags").split() + _field(cpu, "Features").split()
    memory = _kib("MemTotal")
    limit = _read(_cgroup_file("memory.max", "memory/memory.limit_in_bytes")).strip()
    bounded = int(limit) if limit.isdigit() and (memory is None or int(limit) < memory) else None
    return Machine(
        _processor(cpu), cores, allowed, memory if memory is not None else _of_system("hw.memsize"),
        _kib("MemAvailable"), bounded, bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags)),
    )  # fmt: skip


def file_system(path: Path) -> str:
    """Return the type of the file system of a path, e.g. ``ext4`` or ``nfs4``; "" if unknown."""
    best, kind = "", ""
    for line in _read(Path("/proc/self/mounts")).splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        mount = parts[1].replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, parts[2]
    return kind


def _processor(cpu: str) -> str:
    named = _field(cpu, "model name") or _field(cpu, "Model")
    if not named and platform.system() == "Darwin":
        named = _sysctl("machdep.cpu.brand_string")
    return named or platform.processor() or platform.machine()


def _field(text: str, name: str) -> str:
    found = (line.partition(":")[2].strip() for line in text.splitlines() if line.partition(":")[0].strip() == name)
    return next(found, "")


def _kib(name: str) -> int | None:
    words = _field(_read(Path("/proc/meminfo")), name).split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None


def _cgroup_file(current: str, older: str) -> Path:
    """Return the file of a limit, in the group of this process if that has one."""
    group = _read(Path("/proc/self/cgroup")).partition("0::")[2].partition("\n")[0].strip()
    own = CGROUPS / group.lstrip("/") / current
    return next((path for path in (own, CGROUPS / current) if path.is_file()), CGROUPS / older)


def _of_system(name: str) -> int | None:
    found = _sysctl(name) if platform.system() == "Darwin" else ""
    return int(found) if found.isdigit() else None


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

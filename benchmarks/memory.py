"""Peak memory of `stein-bench evaluate` on few and on many samples, for every kind of data and every output.

    python -m benchmarks.memory
    python -m benchmarks.memory --only npz hf --large 20000

Each row is one command with a tiny network on images of 32×32 pixels, run in a process of its own on data sets of two
sizes. The figure is the largest resident set of that process (VmHWM, on Linux), without those of its workers. It should
not depend on the number of samples. One thread computes, since every further one has memory of its own. Data sets of a
library that is missing are left out.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10
NETWORK = """
from torch import nn


def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, num_classes),
    )
"""
COMMAND = (sys.executable, "-m", "stein_bench")
ONE_PASS = ("--attack", "gaussian:std=0.1,seeds=1")
ATTACKS = ("--attack", "pgd:steps=2", "--attack", "apgd-ce:steps=2", "--attack", "gaussian:std=0.1,seeds=2")
JOURNAL, KEPT = "report.json.partial", "journal.kept"
OUTPUT = (*ATTACKS, "--output", "{out}/report.json", "--save-adversarials", "8")

ROWS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("npz", "npz", ONE_PASS),
    ("npz, compressed", "npz-compressed", ONE_PASS),
    ("npz, floats", "npz-floats", ONE_PASS),
    ("npy", "npy", ONE_PASS),
    ("imagefolder", "imagefolder", ONE_PASS),
    ("csv", "csv", ONE_PASS),
    ("hf", "hf", ONE_PASS),
    ("wds", "wds", ONE_PASS),
    ("npz, 2 workers", "npz", (*ONE_PASS, "--workers", "2")),
    ("imagefolder, 2 workers", "imagefolder", (*ONE_PASS, "--workers", "2")),
    ("attacks", "npz", ATTACKS),
    ("attacks, --refill", "npz", (*ATTACKS, "--refill")),
    ("attacks, --stats batch", "npz", (*ATTACKS, "--stats", "batch")),
    ("--output, --save-adversarials", "npz", OUTPUT),
    ("--resume of a finished journal", "npz", (*OUTPUT, "--resume")),
    ("--format json", "npz", (*ONE_PASS, "--format", "json")),
)
"""Name, data set and options of each row; a row with ``--resume`` continues from what the row before it has done."""


def main() -> None:
    """Print one row per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--large", type=int, default=50_000)
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="rows whose name contains one of these")
    parser.add_argument("--smoke", action="store_true", help="few samples: shows that the script works, nothing else")
    options = parser.parse_args()
    sizes = (40, 80) if options.smoke else (options.small, options.large)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(NETWORK)
        print(f"| path | {sizes[0]:,} | {sizes[1]:,} | ratio | time |\n|---|---|---|---|---|")
        for name, kind, given in ROWS:
            if (options.only and not any(text in name for text in options.only)) or not _available(kind):
                continue
            started = time.monotonic()
            peaks = [peak(Path(folder), _data(Path(folder), kind, size), given, size) for size in sizes]
            ratio, seconds = peaks[1] / peaks[0], time.monotonic() - started
            print(f"| {name} | {peaks[0]:.0f} MiB | {peaks[1]:.0f} MiB | {ratio:.3f} | {seconds:.0f} s |", flush=True)


def peak(folder: Path, data: str, given: Sequence[str], size: int) -> float:
    """Return the largest resident set of an evaluation in MiB; SystemExit, with its messages, if it fails."""
    out = folder / f"out-{size}"
    out.mkdir(exist_ok=True)
    options = [option.format(out=out) for option in given]
    if "--output" in options:
        _prepare(out, resume="--resume" in options)
    command = ["evaluate", f"{folder / 'net.py'}:make", "--weights", "none", "--data", data, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STEIN_BENCH_CACHE": str(folder / "cache")}
    with tempfile.TemporaryFile() as messages:
        child = subprocess.Popen([*COMMAND, *command], stdout=subprocess.DEVNULL, stderr=messages, env=environment)
        largest = _largest(child, out)
        if child.returncode not in (0, 3):  # 3: an untrained network may give a report that is not to be believed
            messages.seek(0)
            raise SystemExit(messages.read().decode())
    return largest / 1024


def _largest(child: subprocess.Popen[bytes], out: Path) -> int:
    """Wait for the `child`, keeping its journal under another name, and return its largest resident set in KiB.

    Read from the running process: the usage that the system reports at its end begins with that of this one.
    """
    largest, status = 0, Path(f"/proc/{child.pid}/status")
    while child.poll() is None:
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            largest = int(
                status.read_text().split("VmHWM:")[1].split()[0]
            )  # of the program, once it has replaced the forked copy
        if (out / JOURNAL).exists() and not (out / KEPT).exists():
            (out / KEPT).hardlink_to(out / JOURNAL)
        time.sleep(0.02)
    return largest


def _prepare(out: Path, *, resume: bool) -> None:
    """Leave a finished journal and no report for a row that resumes, and nothing for others."""
    for name in ("report.json", JOURNAL):
        (out / name).unlink(missing_ok=True)
    if resume:
        (out / KEPT).rename(out / JOURNAL)
    (out / KEPT).unlink(missing_ok=True)


def _available(kind: str) -> bool:
    return kind != "hf" or find_spec("datasets") is not None


def _data(folder: Path, kind: str, size: int) -> str:
    """Return the spec of a data set, which is written unless it is there."""
    path = folder / f"{kind}-{size}"
    if not path.exists():
        path.mkdir()
        WRITERS[kind](path, size)
    spec = {
        "npz": "npz:{}/set.npz", "npz-compressed": "npz:{}/set.npz", "npz-floats": "npz:{}/set.npz",
        "npy": "npy:{0}/images.npy,{0}/labels.npy", "imagefolder": "imagefolder:{}", "csv": "csv:{}/set.csv",
        "hf": "hf:{}/set", "wds": "wds:{}/set-*.tar",
    }  # fmt: skip
    return spec[kind].format(path)


def _pixels(count: int) -> Iterator[np.ndarray]:
    """Yield `count` images with coarse structure, uint8 (32, 32, 3)."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)


def _labels(count: int) -> np.ndarray:
    return np.arange(count) * 7 % CLASSES


def _write_npz(path: Path, count: int) -> None:
    np.savez(path / "set.npz", images=np.stack([*_pixels(count)]), labels=_labels(count))


def _write_compressed(path: Path, count: int) -> None:
    np.savez_compressed(path / "set.npz", images=np.stack([*_pixels(count)]), labels=_labels(count))


def _write_floats(path: Path, count: int) -> None:
    images = np.stack([*_pixels(count)]).astype(np.float32) / 255
    np.savez(path / "set.npz", images=images, labels=_labels(count))


def _write_npy(path: Path, count: int) -> None:
    np.save(path / "images.npy", np.stack([*_pixels(count)]))
    np.save(path / "labels.npy", _labels(count))


def _encoded(count: int) -> Iterator[bytes]:
    for pixels in _pixels(count):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        yield stream.getvalue()


def _write_files(path: Path, count: int) -> None:
    for number, (label, content) in enumerate(zip(_labels(count), _encoded(count), strict=True)):
        file = path / f"class{label}" / f"image_{number:08d}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


def _write_table(path: Path, count: int) -> None:
    _write_files(path, count)
    files = sorted(path.glob("*/*.png"))
    rows = [f"{file.relative_to(path)},{file.parent.name.removeprefix('class')}" for file in files]
    (path / "set.csv").write_text("\n".join(["path,label", *rows]) + "\n")


def _write_hf(path: Path, count: int) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=CLASSES)})
    columns = {"image": [{"bytes": content, "path": None} for content in _encoded(count)], "label": _labels(count)}
    datasets.DatasetDict({"test": datasets.Dataset.from_dict(columns, features=features)}).save_to_disk(path / "set")


def _write_shards(path: Path, count: int) -> None:
    members = [*zip(_labels(count).tolist(), _encoded(count), strict=True)]
    for shard, start in enumerate(range(0, count, 10_000)):
        with tarfile.open(path / f"set-{shard:06d}.tar", "w") as tar:
            for number, (label, content) in enumerate(members[start : start + 10_000], start):
                for name, held in ((f"{number:08d}.png", content), (f"{number:08d}.cls", str(label).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(held)
                    tar.addfile(info, io.BytesIO(held))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "npz": _write_npz, "npz-compressed": _write_compressed, "npz-floats": _write_floats, "npy": _write_npy,
    "imagefolder": _write_files, "csv": _write_table, "hf": _write_hf, "wds": _write_shards,
}  # fmt: skip


if __name__ == "__main__":
    main()

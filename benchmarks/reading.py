"""Images per second read from JPEG files, in this process and by worker processes.

    python -m benchmarks.reading --workers 0 1 2

Writes a folder of 500×375 JPEGs of about 80 kB, like ImageNet's, and reads them resized to 224×224. All settings run in
turn in every round; a ratio is the median of the ratios within rounds. `own time` is the processor time that the
program's own process spends per image: time in which it cannot feed a device.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stein_bench.data import Resize, Samples, batches, open_data
from stein_bench.data.samples import to_device


def main() -> None:
    """Print one row per number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), options.images)
        samples = open_data(f"imagefolder:{folder}").samples("test", Resize(224, 0.875, "bicubic"))
        speed(samples.first(2), 1, 1)  # starts the server that workers are forked from
        rounds = [[speed(samples, options.batch_size, n) for n in options.workers] for _ in range(options.rounds)]
    print("| workers | images/s | ratio | own time |\n|---|---|---|---|")
    for column, workers in enumerate(options.workers):
        rate, own = (statistics.median(row[column][figure] for row in rounds) for figure in (0, 1))
        ratio = statistics.median(row[column][0] / row[0][0] for row in rounds)
        print(f"| {workers} | {rate:.0f} | {ratio:.2f} | {1000 * own:.2f} ms |")


def speed(samples: Samples, batch_size: int, workers: int) -> tuple[float, float]:
    """Return images per second and own processor seconds per image, with the start and the end of the workers."""
    started, own = time.perf_counter(), time.process_time()
    read = batches(samples, batch_size, workers=workers)
    for _ in to_device(read, torch.device("cpu")):
        pass
    seconds, own = time.perf_counter() - started, time.process_time() - own
    return len(samples) / seconds, own / len(samples)


def write_jpegs(folder: Path, count: int) -> None:
    """Write `count` images with coarse structure and noise into two class folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
        noisy = np.asarray(coarse) + rng.normal(0, 12, (375, 500, 3))
        path = folder / f"{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


if __name__ == "__main__":
    main()

"""The results as one Markdown file with a table per section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.device.machine import one_line
from benchmarks.device.record import MEASURED, Row, read
from benchmarks.device.verdict import NOISE
from benchmarks.normalization import size_name

TITLES = {"tests": "Tests", "layers": "Layers", "attacks": "Attacks", "memory": "Memory"}
"""The sections in order."""
DASH = "—"
LEGEND = {
    "layers": (
        "Time of Stein as a ratio to plain BN (`nn.BatchNorm2d`): medians over alternating rounds, by CUDA events. "
        "`again` compares plain BN with itself: its distance from 1 is the noise, and a ratio nearer to its goal than "
        f"that is marked `{NOISE}`. In fp32 training PyTorch's default lets convolutions use TF32."
    ),
    "attacks": (
        "A network with random weights on random images, all of which it predicts as labeled. At the budget `stands` "
        "about half of them survive `pgd`; `falls` is four times as much. `bare`: throughput as a share of a bare loop "
        "that does the same forward and backward passes on full batches already on the device (1 is the upper limit); "
        "`again` is the bare loop against itself, the noise. Times of stein-bench include loading the images and "
        "verification, those of torchattacks do not. `passes`: forward and backward, in samples. AutoAttack is cut to "
        "few steps and queries."
    ),
    "memory": "Peaks are of tensors on the device, beyond what was there before the work began.",
}


def write_markdown(folder: Path) -> Path:
    """Write ``results.md`` from the sections' JSON files in `folder` and return its path."""
    path = folder / "results.md"
    path.write_text("\n".join(document(folder)) + "\n", encoding="utf-8")
    return path


def document(folder: Path) -> Iterator[str]:
    """Yield the lines of the file."""
    yield "# Results on a device"
    for section, title in TITLES.items():
        found = read(folder, section)
        yield f"\n## {title}\n"
        if found is None:
            yield "Not run."
            continue
        if found["note"]:
            yield f"**{found['note']}.**\n"
        yield f"{one_line(found['identity'])} Command: `{found['command']}`.\n"
        yield from TABLES[section]([judged(row, found["note"]) for row in rows_of(found)], folder)
        if section in LEGEND:
            yield f"\n{LEGEND[section]}"
        yield from (
            f"\n{key}: {job['state']}{': ' if job['message'] else ''}{job['message']}."
            for key, job in found["jobs"].items()
            if job["state"] != MEASURED
        )


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Return all rows of a section."""
    return [row for job in found["jobs"].values() for row in job["rows"]]


def judged(row: Row, note: str) -> Row:
    """Return a row as it is; with a note, which says that nothing was measured, without its verdicts."""
    if not note:
        return row
    return {**row, **{name: DASH if name == "verdict" else {} for name in ("verdict", "verdicts") if name in row}}


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def tests_table(rows: list[Row], folder: Path) -> Iterator[str]:
    """Yield the counts, then the failures by name."""
    del folder
    yield from table(
        ["passed", "failed", "skipped", "note"],
        [[str(row["passed"]), str(row["failed"]), str(row["skipped"]), row["note"] or DASH] for row in rows],
    )
    failures = [failure for row in rows for failure in row["failures"]]
    if failures:
        yield ""
        yield from (f"- `{failure['test']}`: {failure['message'].replace('|', '/')}" for failure in failures)


def layers_table(rows: list[Row], folder: Path) -> Iterator[str]:
    """Yield a line per task and input."""
    del folder
    cells = [
        [
            row.get("network", "layer"), size_name(row["shape"]), row["dtype"], row["layout"], row["task"],
            f"{1e3 * row['seconds']:.3f} ms", f"{row['again']:.2f}", f"{row['ratio']:.2f}", f"≤ {row['goal']:.2f}",
            row["verdict"],
        ]
        for row in rows
    ]  # fmt: skip
    yield from table(["what", "shape", "type", "format", "task", "plain BN", "again", "Stein", "goal", "met"], cells)


def attacks_table(rows: list[Row], folder: Path) -> Iterator[str]:
    """Yield a line per network, attack, budget and way to run it."""
    del folder
    cells = [[row["network"], row["kind"], *_attack_cells(row)] for row in rows]
    head = ["network", "attack", "budget", "run as", "images", "survive", "images/s", "passes/s", "bare", "again",
            "× torchattacks", "goals"]  # fmt: skip
    yield from table(head, cells)


def _attack_cells(row: Row) -> list[str]:
    if "missing" in row:
        return [DASH, row["way"], *[DASH] * 7, row["missing"]]
    first = f" (first, with compiling: {row['first_seconds']:.1f} s)" if "first_seconds" in row else ""
    multiple, survive = row["of_torchattacks"], f"{100 * row['robust']:.0f} %"
    goals = [f"{goal}: {verdict}" for goal, verdict in row["verdicts"].items()]
    return [
        f"{row['budget']} ({row['eps']:.2g})", f"{row['way']}{first}", str(row["images"]), survive,
        f"{row['images_per_s']:.1f}", f"{row['passes_per_s']:.0f}", f"{row['of_bare']:.2f}", f"{row['again']:.2f}",
        DASH if multiple is None else f"{multiple:.2f}", "; ".join(goals) or DASH,
    ]  # fmt: skip


def memory_table(rows: list[Row], folder: Path) -> Iterator[str]:
    """Yield the peaks of layers, training steps and attacks, then what `--batch-size auto` chose."""
    yield from table(["layer or network", "plain BN", "Stein"], list(_layer_peaks(folder)))
    yield ""
    yield from table(["attack", "run as", "peak"], list(_attack_peaks(folder)))
    yield ""
    limits = {row["network"]: row for row in rows if row["kind"] == "limit"}
    cells = []
    for row in (row for row in rows if row["kind"] == "auto"):
        limit = limits.get(row["network"])
        found = [DASH, DASH] if limit is None else [_limit(limit), f"{limit['ratio']:.2f}: {limit['verdict']}"]
        cells.append([
            row["network"], str(row["chosen"]), "yes" if row["fits"] else "NO", gigabytes(row["peak_bytes"]), *found,
        ])  # fmt: skip
    yield from table(["network", "auto", "fits", "peak", "largest that fits", "its ratio to auto (1 to 1.5)"], cells)


def _limit(row: Row) -> str:
    return f"{row['limit']}{'' if row['searched_to_the_end'] else ' or more'}"


def _layer_peaks(folder: Path) -> Iterator[list[str]]:
    for row in rows_of(read(folder, "layers") or {"jobs": {}}):
        where = f"{row.get('network', 'layer')} {size_name(row['shape'])} {row['dtype']} {row['layout']} {row['task']}"
        yield [where, *map(gigabytes, row["peak_bytes"])]


def _attack_peaks(folder: Path) -> Iterator[list[str]]:
    for row in rows_of(read(folder, "attacks") or {"jobs": {}}):
        if "missing" not in row:
            name = f"{row['network']} {row['kind']} {row['budget']}, batches of {row['batch_size']}"
            yield [name, row["way"], gigabytes(row["peak_bytes"])]


def gigabytes(size: int | None) -> str:
    """Return a size in GiB as text."""
    return DASH if size is None else f"{size / 2**30:.3f} GiB"


TABLES: dict[str, Callable[[list[Row], Path], Iterator[str]]] = {
    "tests": tests_table,
    "layers": layers_table,
    "attacks": attacks_table,
    "memory": memory_table,
}

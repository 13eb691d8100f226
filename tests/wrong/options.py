"""Every option and argument of every command with values that are wrong."""

from __future__ import annotations

from collections.abc import Iterator

from tests.wrong.evaluate_options import EVALUATE
from tests.wrong.other_options import (
    COMPARE,
    DOCTOR,
    GATE,
    INSPECT,
    LIPSCHITZ,
    LIST,
    REPORT,
    REPRODUCE,
    RISK,
    ROOT,
    SCHEMA,
    TRAIN,
)
from tests.wrong.row import Row

BASE = {
    "evaluate": "evaluate net.py:make --data npz:test.npz --weights none --quiet --format json",
    "train": "train net.py:make --data npz:test.npz,train=train.npz --epochs 1 --output new.safetensors --quiet "
    "--format json",
    "reproduce": "reproduce small.yaml --trust-code --seeds 1 --epochs 1 --quiet --format json",
    "inspect": "inspect net.py:make --data npz:test.npz --weights none --quiet --format json",
    "report": "report report.json",
    "compare": "compare report.json base.json --format json",
    "gate": "gate report.json --baseline base.json --format json",
    "theory risk": "theory risk --channels 4 --elements 4 --draws 40 --quiet --format json",
    "theory lipschitz": "theory lipschitz --channels 4 --elements 4 --quiet --format json",
    "list": "list",
    "doctor": "doctor",
    "schema": "schema",
    "": "",
}
"""What the words of a row are added to, by command."""

TABLES = {
    "evaluate": EVALUATE, "train": TRAIN, "reproduce": REPRODUCE, "inspect": INSPECT, "report": REPORT,
    "compare": COMPARE, "gate": GATE, "theory risk": RISK, "theory lipschitz": LIPSCHITZ, "list": LIST,
    "doctor": DOCTOR, "schema": SCHEMA, "": ROOT,
}  # fmt: skip
"""By command."""


def rows() -> Iterator[Row]:
    """Yield a row for every wrong value."""
    for command, table in TABLES.items():
        for option, values in table.items():
            for value, *words in values:
                yield Row(f"{BASE[command]} {value}".strip(), tuple(words), option=f"{command} {option}".strip())

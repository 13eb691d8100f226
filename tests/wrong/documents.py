"""Reports that are damaged, edited, of another version, or of other samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import reports
from tests.wrong.row import Content, Row, wrong

GARBAGE = b"\0\1\2\377\376"
PERFECT = reports.pack_bits(reports.bits(0))


def edited(change: Callable[[Any], object]) -> str:
    """Return a report after `change` has edited its document."""
    document = json.loads(reports.report(number=2).to_json())
    change(document)
    return json.dumps(document)


def put(path: str, value: object) -> Callable[[Any], object]:
    """Return what sets one value, at a path such as ``variants.0.bn``."""

    def change(document: Any) -> None:
        *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in above:
            document = document[key]
        document[last] = value

    return change


def drop(key: str) -> Callable[[Any], object]:
    """Return what removes a key."""
    return lambda document: document.pop(key)


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for content in (b"", GARBAGE, "no report", "[]", "3", "{}", "[" * 100_000, reports.report().to_json()[:700]):
        yield from everywhere(content, "bad.json")
    yield from of_wrong_form()
    yield from contradictory()
    yield from of_other_commands()


def of_wrong_form() -> Iterator[Row]:
    """Yield documents that no version of the schema allows."""
    for change, *words in (
        (drop("variants"), "bad.json", "variants"),
        (drop("model"), "bad.json", "model"),
        (put("extra", 1), "bad.json", "extra"),
        (put("variants", {}), "bad.json", "variants"),
        (put("variants.0.bn", 3), "bad.json", "bn"),
        (put("variants.0.stats", "both"), "bad.json", "stats"),
        (put("variants.0.clean.accuracy", 1.5), "bad.json", "accuracy"),
        (put("variants.0.clean.accuracy", float("nan")), "bad.json", "NaN is no number of JSON"),
        (put("variants.0.clean.accuracy", "high"), "bad.json", "accuracy"),
        (put("variants.0.outcomes.sample_ids_sha256", "short"), "bad.json", "sample_ids_sha256"),
        (put("run.seed", "x"), "bad.json", "seed"),
        (put("diagnostics", None), "bad.json", "diagnostics"),
        (put("variants.0.outcomes.samples", 3), "sample/running: packed outcomes hold 13 bytes"),
        (put("variants.0.outcomes.samples", -1), "sample/running: packed outcomes hold 13 bytes"),
        (put("variants.0.outcomes.clean_correct", "//8="), "sample/running: packed outcomes hold 2 bytes"),
        (put("variants.0.outcomes.clean_correct", "!?"), "sample/running: packed outcomes are not base64"),
    ):  # fmt: skip
        text = edited(change)
        yield wrong("report bad.json", *words, bad__json=text)
        yield wrong("gate bad.json --baseline base.json --format json", *words, bad__json=text)


def contradictory() -> Iterator[Row]:
    """Yield reports whose figures are not those of their own outcomes: shown nowhere, refused by the gate."""
    clean, fgsm = "sample/running, clean: the accuracy", "sample/running, fgsm:norm=Linf"
    for change, words in (
        (put("variants.0.clean.accuracy", 0.95), f"{clean} 0.95 contradicts its own outcomes"),
        (put("variants.0.outcomes.clean_correct", PERFECT), f"{clean} 0.9 contradicts its own outcomes"),
        (put("variants.0.attacks.0.robust_accuracy", 0.95), fgsm),
        (put("variants.0.outcomes.robust", {}), "there is an accuracy but no per-sample outcomes"),
        (put("variants.0.attacks.0.label", "another"), "another: there is an accuracy but no per-sample outcomes"),
        (put("variants.0.worst_case_accuracy", 0.95), "worst-case: the accuracy 0.95 contradicts its own outcomes"),
        (put("data.samples", 7), "data.samples is 7, but there are outcomes of 100 samples"),
    ):
        files = {"bad.json": edited(change)}
        yield Row("report bad.json", ("bad.json: ", words, "It has been edited or is damaged"), files=files)
        yield Row("report report.json bad.json --html new.html --csv new.csv", ("bad.json: ", words), files=files)
        yield Row("gate bad.json --baseline base.json --format json", ("refused", words), 3, files, shown=True)
        yield Row("gate report.json --baseline bad.json --format json", ("refused", words), 3, files, shown=True)
    files = {"bad.json": edited(put("variants.0.clean.accuracy", 0.95))}
    marked = ("first: its accuracy contradicts its own outcomes",)
    yield Row("compare bad.json base.json --format json", marked, 0, files, shown=True)
    none = {"bad.json": edited(put("variants", []))}
    yield Row("compare bad.json base.json --format json", ("only in the second report",), 3, none, shown=True)
    yield Row("gate bad.json --baseline base.json --format json", ("it contains no variant",), 3, none, shown=True)
    twice = {"bad.json": edited(lambda document: document["variants"].append(document["variants"][0]))}
    yield Row("gate bad.json --baseline base.json --format json", ("2 variants with this name",), 3, twice, shown=True)
    others = {"bad.json": edited(put("variants.0.outcomes.sample_ids_sha256", "0" * 64))}
    yield Row("gate bad.json --baseline base.json --format json", ("other samples",), 3, others, shown=True)
    data = {"bad.json": edited(put("data.sha256", "0" * 64))}
    yield Row("gate bad.json --baseline base.json --format json", ("other data",), 3, data, shown=True)
    yield Row("compare bad.json base.json --format json", ("other data",), 3, data, shown=True)


def of_other_commands() -> Iterator[Row]:
    """Yield files that are no reports of this version."""
    files = {"bad.json": edited(put("schema_version", 99))}
    words = ("bad.json", "schema_version")
    yield Row("report bad.json", words, files=files)
    yield Row("compare bad.json report.json --format json", words, 3, files)
    yield Row("gate bad.json --baseline base.json --format json", words, 3, files)
    yield Row("gate report.json --baseline bad.json --format json", words, 3, files)
    yield wrong("gate reproduction.json --baseline base.json", "reproduction.json")
    yield wrong("compare reproduction.json base.json", "reproduction.json")
    yield wrong("report reproduction.json", "reproduction.json")
    yield wrong("report net.safetensors", "net.safetensors")
    yield wrong("gate net.py --baseline base.json", "net.py is not JSON")
    yield wrong("compare report.json", "contains one variant")
    yield wrong(
        "report report.json --csv report.adversarials.npz", "would overwrite", report__adversarials__npz=GARBAGE
    )
    yield Row("report secret.json", ("secret.json", "Permission denied"), files={"secret.json": unreadable})
    runs = {"runs/a.json": reports.report().to_json(), "runs/b.json": reports.report(number=1).to_json()}
    yield Row("compare runs --output runs/a.json", ("would overwrite an input file",), files=runs)


def everywhere(content: Content, *words: str) -> Iterator[Row]:
    """Yield the rows of every command that reads a report."""
    for arguments in (
        "report bad.json",
        "compare bad.json base.json --format json",
        "gate bad.json --baseline base.json --format json",
        "gate report.json --baseline bad.json --format json",
    ):
        yield Row(arguments, words, files={"bad.json": content})


def unreadable(path: Path) -> None:
    """Write a report that nobody but root may read."""
    path.write_text(reports.report().to_json())
    path.chmod(0)

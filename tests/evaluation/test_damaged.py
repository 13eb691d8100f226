"""Damaged image files in a whole run: left out of numbers, identity and training, and said in report and card."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from stein_bench.config import RunConfig, make_config
from stein_bench.evaluation.run import run_evaluation
from stein_bench.progress import Silent
from stein_bench.report.document import Report
from stein_bench.training.config import make_train_config
from stein_bench.training.run import run_training
from tests.data.known import COUNT, LABELS, known_images
from tests.tiny import write_model

BROKEN = {1: b"", 8: b"no image"}


def write_images(root: Path, split: str, broken: bool) -> None:
    """Write the known images as class folders; two are damaged, or missing."""
    for index, (image, label) in enumerate(zip(known_images(), LABELS, strict=True)):
        path = root / split / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index not in BROKEN:
            Image.fromarray(image).save(path)
        elif broken:
            path.write_bytes(BROKEN[index])


class Notes(Silent):
    """Collects notes, and presses Ctrl-C in the phase whose name begins as asked."""

    def __init__(self, interrupted: str | None = None) -> None:
        self.notes: list[str] = []
        self.interrupted, self.phase, self.steps = interrupted, "", 0

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phase, self.steps = phase, 0

    def advance(self, samples: int, note: str = "") -> None:
        self.steps += 1
        if self.interrupted and self.phase.startswith(self.interrupted) and self.steps == 3:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)


def settings(folder: Path, root: Path, **more: object) -> RunConfig:
    common = {"model": write_model(folder), "weights": "none", "data": f"imagefolder:{root}", "batch_size": 4}
    return make_config({**common, "attack": ["fgsm"], "eps": [0.1], "output": str(folder / "r.json"), **more})


def numbers(report: Report) -> tuple[object, ...]:
    (variant,) = report.variants
    return variant.clean.accuracy, variant.outcomes


NOTE = f"2 of {COUNT} files are damaged and left out: "


def test_a_run_goes_on_without_them_and_can_be_resumed(tmp_path):
    write_images(tmp_path / "data", "val", broken=True)
    config = settings(tmp_path, tmp_path / "data" / "val")
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(config, progress=Notes("fgsm"))
    resumed = run_evaluation(config.model_copy(update={"resume": True}), progress=(progress := Notes()))
    assert resumed.data.samples == COUNT - 2
    (note,) = resumed.data.notes or ()
    assert note.startswith(NOTE)
    assert note in progress.notes
    (tmp_path / "r.json.partial").unlink()
    again = run_evaluation(config)
    assert numbers(again) == numbers(resumed)
    assert again.data.sha256 == resumed.data.sha256
    write_images(tmp_path / "intact", "val", broken=False)  # the same files, in another order
    intact = run_evaluation(settings(tmp_path, tmp_path / "intact" / "val", output=None))
    assert intact.variants[0].clean == again.variants[0].clean.model_copy(
        update={"seconds": intact.variants[0].clean.seconds}
    )


def test_training_goes_on_without_them_too(tmp_path):
    write_images(tmp_path / "data", "train", broken=True)
    write_images(tmp_path / "data", "val", broken=False)
    training = {
        "model": write_model(tmp_path),
        "data": f"imagefolder:{tmp_path / 'data'}",
        "epochs": 1,
        "batch_size": 8,
    }
    trained = run_training(make_train_config({**training, "output": str(tmp_path / "w.safetensors")}))
    assert trained.card.data.trained_on + trained.card.data.validated_on == COUNT - 2
    (note,) = trained.card.data.notes or ()
    assert note.startswith(NOTE)


def test_the_built_in_training_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "data", "train", broken=True)
    write_images(tmp_path / "data", "val", broken=False)
    progress = Notes()
    report = run_evaluation(settings(tmp_path, tmp_path / "data", weights="fit", limit=4), progress=progress)
    assert (report.data.samples, report.data.notes) == (4, None)
    (note,) = (note for note in progress.notes if note.startswith("training split: "))
    assert note.startswith(f"training split: {NOTE}")

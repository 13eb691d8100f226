"""Damaged image files in a whole run: left out of numbers, identity and training, and said in report and card."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from stein_bench.config import RunConfig, make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.inspection import inspect_model
from stein_bench.evaluation.run import run_evaluation
from stein_bench.progress import Silent
from stein_bench.report.document import Report
from stein_bench.theory.lipschitz import network_layers
from stein_bench.theory.settings import LipschitzSettings
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


@pytest.mark.integration
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


@pytest.mark.integration
def test_the_built_in_training_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "data", "train", broken=True)
    write_images(tmp_path / "data", "val", broken=False)
    config = settings(tmp_path, tmp_path / "data", weights="fit", limit=4, output=None)
    for cached in (False, True):
        report = run_evaluation(config, progress=(progress := Notes()))
        assert (report.data.samples, report.data.notes) == (4, [note for note in progress.notes if "split" in note])
        (note,) = report.data.notes or ()
        assert note.startswith(f"training split: {NOTE}")
        assert ("fit sample: found in the cache" in progress.notes) is cached
    inspect_model(config, progress=(progress := Notes()))
    assert note in progress.notes


def test_damaged_training_files_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "data", "train", broken=True)
    write_images(tmp_path / "data", "val", broken=False)
    data = f"imagefolder:{tmp_path / 'data'},damaged=refuse"
    config = settings(tmp_path, tmp_path, data=data, surrogate=write_model(tmp_path), attack=["transfer.fgsm"])
    with pytest.raises(UsageError, match=rf"2 of {COUNT} files are damaged: .*; repair or remove them, or omit"):
        run_evaluation(config, progress=(progress := Notes()))
    assert progress.phase == "reading the train split"
    assert not (tmp_path / "cache").exists()


SOFT = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Softmax(1))
"""


def test_a_surrogate_of_probabilities_is_probed_with_undamaged_samples(tmp_path):
    """The scale of its logits is found on the first samples, of which one is damaged."""
    (tmp_path / "soft.py").write_text(SOFT)
    torch.save({"1.weight": torch.eye(3, 192), "1.bias": torch.zeros(3)}, tmp_path / "soft.pth")
    surrogate = {"surrogate": f"{tmp_path}/soft.py:make", "surrogate_weights": f"{tmp_path}/soft.pth"}
    data = shard(tmp_path, "x.tar", broken=True)
    config = settings(tmp_path, tmp_path, data=data, limit=4, attack=["transfer.fgsm"], **surrogate)
    assert run_evaluation(config).data.samples == 3


def shard(folder: Path, name: str, broken: bool) -> str:
    """Write the known images as a shard; two are damaged, or missing."""
    with tarfile.open(folder / name, "w") as archive:
        for index, (image, label) in enumerate(zip(known_images(), LABELS, strict=True)):
            Image.fromarray(image).save(stream := io.BytesIO(), "PNG")
            content = stream.getvalue() if index not in BROKEN else BROKEN[index]
            for extension, data in (("png", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{index}.{extension}")
                member.size = len(data)
                if broken or index not in BROKEN:
                    archive.addfile(member, io.BytesIO(data))
    return f"wds:{folder / name}"


def test_lipschitz_constants_are_those_at_the_first_undamaged_samples(tmp_path):
    found = []
    for broken in (True, False):
        data = shard(tmp_path, f"{broken}.tar", broken)
        config = settings(tmp_path, tmp_path, data=data, batch_size=6, output=None)
        network, layers = network_layers(
            config, LipschitzSettings(bn=("sample",), starts=1), progress=(progress := Notes())
        )
        assert network.samples == 6
        note = "1 of 7 images is damaged and left out: 1.png in True.tar"
        assert (note in progress.notes) is broken
        found.append(layers)
    assert found[0] == found[1]

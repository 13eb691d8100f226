"""The files of cells: their names are a promise, results of days depend on them."""

from __future__ import annotations

from pathlib import Path

from stein_bench.reproduction.cells import Folder, evaluations
from stein_bench.reproduction.experiment import Experiment

FIXED = {
    "name": "fixed", "preset": "controlled", "summary": "settings that do not change",
    "model": "paper:resnet9,width=16", "data": "npz:test.npz,train=train.npz", "bn": ["sample", "stein"], "seeds": 2,
    "parts": [
        {
            "name": "standard", "recipe": "cifar10", "train": {"epochs": 6}, "limit": 200,
            "attack": ["fgsm:eps=1/255", "noise-gaussian:std=25/255"],
        }
    ],
}  # fmt: skip
REGISTERED = [{"bn": "stein", "stats": "running", "outcome": "worst-case"}]


def names(**changes):
    cells = evaluations(Experiment.model_validate({**FIXED, **changes}), Folder(Path("cells"), "fingerprint"))
    return [(cell.training.path.name, cell.path.name) for cell in cells]


def test_the_names_of_cells_are_fixed() -> None:
    """If this fails, finished cells of everybody's experiments are no longer found: say so in the changelog."""
    found = names()
    assert found[0] == ("weights-sample-seed0-898f70c09c.safetensors", "standard-sample-running-seed0-aa9a8c7929.json")
    assert found[-1] == ("weights-stein-seed1-7d8b4b8965.safetensors", "standard-stein-batch-seed1-6ec81d3595.json")


def test_seeds_come_before_bns() -> None:
    variants = [name.rsplit("-", 1)[0] for _, name in names()]
    assert variants == [
        f"standard-{bn}-{stats}-seed{seed}"
        for seed in (0, 1)
        for bn in ("sample", "stein")
        for stats in ("running", "batch")
    ]


def test_neither_registered_contrasts_nor_more_seeds_change_a_cell() -> None:
    assert names(contrasts=REGISTERED) == names()
    assert names(seeds=3)[: len(names())] == names()
    assert names(seeds=1, seed=1) == names()[4:]

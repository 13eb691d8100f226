"""The cells of an experiment: training runs and evaluations, and the files that store them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stein_bench.config import RunConfig, make_config
from stein_bench.normalization.names import parse_estimator, shown_estimator
from stein_bench.reproduction.experiment import Experiment, ExperimentPart
from stein_bench.training.config import TrainConfig, make_train_config

Stats = Literal["running", "batch"]


@dataclass(frozen=True)
class Folder:
    """Where the cells of an experiment are stored.

    Attributes:
        path: the folder.
        fingerprint: hash of what the experiment's settings do not contain: data, model code, versions, device. Cells
            with another fingerprint have other file names, so stale cells are never reused.
    """

    path: Path
    fingerprint: str

    def file(self, name: str, settings: dict[str, Any], suffix: str) -> Path:
        """Return the file of the cell with this name and these settings."""
        text = json.dumps([self.fingerprint, settings], sort_keys=True)
        readable = name.replace(":", "-")
        return self.path / f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:10]}{suffix}"


@dataclass(frozen=True)
class Training:
    """A network to train: one BN (as reports name it), one seed, one recipe. Parts with the same training share it."""

    bn: str
    seed: int
    recipe: str
    path: Path
    config: TrainConfig

    @property
    def title(self) -> str:
        """What is trained, for display."""
        return f"train {self.bn}, seed {self.seed}, {self.recipe}"


@dataclass(frozen=True)
class Evaluation:
    """A trained network to evaluate, under one statistics source, in one part."""

    part: ExperimentPart
    stats: Stats
    training: Training
    path: Path
    config: RunConfig

    @property
    def title(self) -> str:
        """What is evaluated, for display."""
        return f"{self.part.name}: {self.training.bn}/{self.stats}, seed {self.training.seed}"


def evaluations(experiment: Experiment, folder: Folder) -> list[Evaluation]:
    """Return every evaluation of the experiment with its training, ordered by part, seed and BN.

    Seeds come before BNs, so that an interrupted experiment has complete seeds to compare.
    """
    return [
        evaluation
        for part in experiment.parts
        for seed in range(experiment.seed, experiment.seed + experiment.seeds)
        for bn in experiment.bn
        for evaluation in _of_network(experiment, part, bn, seed, folder)
    ]


def _of_network(
    experiment: Experiment, part: ExperimentPart, bn: str, seed: int, folder: Folder
) -> Iterator[Evaluation]:
    network = training(experiment, part, bn, seed, folder)
    for stats in experiment.sources(part, bn):
        settings = evaluation_settings(experiment, part, bn, stats, seed)
        name = f"{part.name}-{network.bn}-{stats}-seed{seed}"
        path = folder.file(name, {**settings, "trained": network.path.name}, ".json")
        config = make_config({**settings, "weights": str(network.path), "output": str(path), "resume": True})
        yield Evaluation(part, stats, network, path, config)


def training(experiment: Experiment, part: ExperimentPart, bn: str, seed: int, folder: Folder) -> Training:
    """Return the training of one network."""
    settings: dict[str, Any] = {
        **_common(experiment),
        "bn": bn,
        "seed": seed,
        "recipe": part.recipe,
        **{key.replace("-", "_"): value for key, value in part.train.items()},
    }
    shown, own = shown_estimator(bn), parse_estimator(bn).own
    source = {} if own is None else {"estimator": own.sha256}  # edited, it is another network
    path = folder.file(f"weights-{shown}-seed{seed}", {**settings, **source}, ".safetensors")
    config = make_train_config({**settings, "output": str(path), "resume": True})
    return Training(shown, seed, part.recipe, path, config)


def evaluation_settings(
    experiment: Experiment, part: ExperimentPart, bn: str, stats: Stats, seed: int
) -> dict[str, Any]:
    """Return the options of `evaluate` for one cell, without weights and output."""
    return {
        **_common(experiment),
        "precision": experiment.precision,
        "bn": (bn,),
        **({"stats": (stats,)} if experiment.preset != "published" else {"preset": "published"}),
        "attack": part.attack,
        "batch_size": part.batch_size,
        "limit": part.limit,
        "seed": seed,
    }


def _common(experiment: Experiment) -> dict[str, Any]:
    return {
        "model": experiment.model,
        "data": experiment.data,
        "mean": experiment.mean,
        "std": experiment.std,
        "image_size": experiment.image_size,
        "device": experiment.device,
    }

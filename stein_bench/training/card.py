"""The training card: learning curves and provenance of a training, as JSON beside the weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from stein_bench.errors import UsageError, visible_json
from stein_bench.report.document import Environment, Notes
from stein_bench.report.results import Part


class EpochRecord(Part):
    """The record of one epoch.

    Attributes:
        epoch: its number, from 1.
        learning_rate: at its last step.
        loss, accuracy: means over the training samples during the epoch: augmented, adversarially perturbed, and with
            the weights at their step. The loss includes label smoothing; the accuracy is the task's mean quality per
            sample, in [0, 1].
        validation_loss, validation_accuracy: on the validation part after the epoch, in evaluation mode, without
            perturbation and label smoothing; None without a validation part.
        validation_robust_loss, validation_robust_accuracy: the same under the training attack; the accuracy takes the
            worse of the clean and the adversarial input.
        seconds: how long it took, validation included.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_robust_loss: float | None = None
    validation_robust_accuracy: float | None = None
    seconds: float = 0.0


class TrainedData(Part):
    """The data: sizes of training and validation part, SHA-256 over samples and labels of the split, and notes."""

    name: str
    split: str
    task: str
    classes: int
    shape: tuple[int, ...]
    trained_on: int
    validated_on: int
    sha256: str
    notes: Notes = None


class StartedFrom(Part):
    """The trained weights that training started from.

    `bn` is the BN estimator they were trained with, `function_preserved` whether γ and β absorbed the change to
    another one, `sha256` the hash over weights and buffers before training, after any conversion.
    """

    weights: str
    bn: str
    function_preserved: bool
    sha256: str


class TrainingCard(Part):
    """The full record of a training run. Resuming an interrupted run requires an equal `identity`."""

    document: Literal["stein-bench training"] = "stein-bench training"
    version: Literal[1] = 1
    created: str
    command: str
    model: str
    parameters: int
    bn: str
    data: TrainedData
    recipe: dict[str, Any]
    adversarial: str | None
    started_from: StartedFrom | None
    seed: int
    processes: int
    epochs: tuple[EpochRecord, ...]
    best_epoch: int | None
    kept_epoch: int
    stopped_early: bool
    weights: str
    weights_sha256: str
    config: dict[str, Any]
    identity: dict[str, Any]
    environment: Environment
    wall_seconds: float

    def to_json(self) -> str:
        """Return the card as JSON text."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False)
        return visible_json(text) + "\n"


def card_path(output: str | Path) -> Path:
    """Return the path of the card for the weights file `output`."""
    return Path(output).expanduser().with_suffix(".json")


def is_described(output: str | Path) -> bool:
    """Return whether a weights file is the one that the card beside it describes; False also without either."""
    with suppress(OSError, UsageError), Path(output).expanduser().open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        return found == read_training_card(card_path(output)).weights_sha256
    return False


def read_training_card(path: str | Path) -> TrainingCard:
    """Read a card.

    Raises:
        UsageError: it is missing, or not a card of this version.
    """
    try:
        return TrainingCard.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from None
    except ValidationError:
        raise UsageError(f"{path} is not a training card of this version.") from None

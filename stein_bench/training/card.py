"""What is known of a training: its curves and all that decided them, as the JSON card beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from stein_bench.errors import UsageError
from stein_bench.report.document import Environment
from stein_bench.report.results import Part


class EpochRecord(Part):
    """One epoch.

    Attributes:
        epoch: its number, from 1.
        learning_rate: that of its last step.
        loss, accuracy: means over the samples trained on, as they were trained on: augmented, perturbed by the attack
            of adversarial training, with the network as it was when it met them. The loss includes label smoothing;
            the accuracy is the mean of the task's quality of each sample, in [0, 1].
        validation_loss, validation_accuracy: on the validation part after the epoch, in evaluation mode, unperturbed
            and without label smoothing; None without a validation part.
        validation_robust_loss, validation_robust_accuracy: the same under the attack of adversarial training: right on
            the clean and on the adversarial input, or as right as on the worse of both.
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
    """The data: sizes of the two parts of the training split, and the SHA-256 over its samples and labels."""

    name: str
    split: str
    task: str
    classes: int
    shape: tuple[int, ...]
    trained_on: int
    validated_on: int
    sha256: str


class StartedFrom(Part):
    """Trained weights that training started from.

    `bn` is the normalization they were trained with, `function_preserved` whether γ and β took up the change to
    another one, `sha256` the hash over weights and buffers before training, after any conversion.
    """

    weights: str
    bn: str
    function_preserved: bool
    sha256: str


class TrainingCard(Part):
    """Everything about one training. `identity` is what must be equal for an interrupted one to go on."""

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
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def card_path(output: str | Path) -> Path:
    """Return where the card of the weights `output` lies."""
    return Path(output).expanduser().with_suffix(".json")


def read_training_card(path: str | Path) -> TrainingCard:
    """Read a card.

    Raises:
        UsageError: it is missing, or no card of this version.
    """
    try:
        return TrainingCard.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from None
    except ValidationError:
        raise UsageError(f"{path} is no card of a training by this version.") from None

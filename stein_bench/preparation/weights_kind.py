"""Which weights a model gets, and for how many classes it is built for them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from stein_bench.config import RunConfig
from stein_bench.data.samples import CLASS_INDICES, OWN
from stein_bench.data.sources import DataSource, TrainedElsewhere
from stein_bench.errors import UsageError
from stein_bench.models.interface import own_weights
from stein_bench.models.sources import ModelSource
from stein_bench.models.weights import Weights, classifier_size
from stein_bench.preparation.inputs import WeightsKind
from stein_bench.preparation.keywords import WEIGHTS_KEYWORDS


def weights_kind(config: RunConfig, data: DataSource, source: ModelSource) -> WeightsKind:
    """Decide which kind of weights the model of `config` gets.

    Raises:
        UsageError: there are none of the requested kind, or they do not fit the data.
    """
    asked = config.weights
    if asked not in WEIGHTS_KEYWORDS:
        return "file"
    if asked in ("auto", "none") and own_weights(source) is not None:
        return "own"
    shared = source.pretrained is not None and _shares_labels(data, source.pretrained.label_space)
    if asked == "auto":
        asked = "pretrained" if shared else "fit"
        if asked == "fit" and isinstance(data, TrainedElsewhere):
            raise UsageError(
                f"no suitable weights: {source.name} has none for the labels of {data.name}, which has no training "
                f"split. Train it on {data.training_data} (`stein-bench train {source.spec} --data "
                f"{data.training_data}`) and give the file: --weights PATH."
            )
        if asked == "fit" and "train" not in data.splits:
            raise UsageError(
                f"no suitable weights: {source.name} has none for the labels of {data.name}, and there is no training "
                "split to fit it on. Use --weights PATH, --weights pretrained, or data with a training split."
            )
    if asked == "fit" and "train" not in data.splits:
        raise UsageError(f"--weights fit: {data.name} has no training split.")
    if asked == "pretrained":
        _check_pretrained(data, source)
        return "pretrained"
    return "fit" if asked == "fit" else "none"


def _shares_labels(data: DataSource, label_space: str | None) -> bool:
    """Return whether `data` certainly has the labels of that label space."""
    if data.label_space == CLASS_INDICES:
        return "train" not in data.splits  # with a training split the classes may well be the data's own
    return data.label_space is not None and data.label_space == label_space


def _check_pretrained(data: DataSource, source: ModelSource) -> None:
    if source.pretrained is None:
        raise UsageError(f"--weights pretrained: {source.name} has no pretrained weights.")
    if source.pretrained.label_space is not None and data.label_space == OWN:
        raise UsageError(
            f"--weights pretrained: {source.pretrained.origin} predicts {source.pretrained.label_space} classes, "
            f"not those of {data.name}. Use --weights fit, or data with those labels."
        )


def decide_classes(data: DataSource, source: ModelSource, kind: WeightsKind, weights: Weights | None) -> int | None:
    """Return the number of outputs to build the model with; None for its own.

    Raises:
        UsageError: pretrained weights have fewer classes than the data.
    """
    if kind == "pretrained" and source.pretrained is not None:
        _check_classes(len(data.classes), source.pretrained.num_classes, source.name)
    if kind == "pretrained":
        return None
    if weights is not None:
        return classifier_size(source, weights) or _classes_in(weights.state, len(data.classes))
    return len(data.classes)


def _check_classes(data_classes: int, model_classes: int, model: str) -> None:
    if data_classes > model_classes:
        raise UsageError(f"the data has {data_classes} classes, but the weights of {model} have only {model_classes}.")


def _classes_in(state: Mapping[str, Tensor], data_classes: int) -> int:
    """Guess the number of classes of weights without a card; loading them fails if the guess is wrong.

    The data may contain a subset of the classes, so its own number is used only if some layer has as many rows;
    otherwise it is the number of rows of the last linear layer.
    """
    rows = [len(tensor) for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 2]
    return data_classes if data_classes in rows or not rows else rows[-1]

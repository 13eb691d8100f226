"""Weights: reading them from a file, writing them, fitting them to a network and loading them into it."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from stein_bench.errors import UsageError, reason
from stein_bench.models.card import WeightsCard, card_to_json
from stein_bench.models.interface import ModelSource, NamesClassifier
from stein_bench.models.weights_file import CARD, open_weights
from stein_bench.models.weights_names import fit_names, may_be_prefixed, misfit
from stein_bench.models.weights_state import find_state, first_of

__all__ = [
    "Weights",
    "WeightsCard",
    "classifier_size",
    "fit_weights",
    "load_weights",
    "read_weights",
    "save_weights",
    "state_sha256",
]

KEY = "--weights-key"
"""The option that chooses among several weights in a file."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by name, its card if stein-bench wrote it, its SHA-256 and its path.

    `notes` say how the file was read where that was a choice, one sentence each, without a final stop. `option` is the
    one that chooses among several weights in it, `key` where they were found.
    """

    state: dict[str, Tensor]
    card: WeightsCard | None
    sha256: str
    path: str
    notes: tuple[str, ...] = ()
    option: str = KEY
    key: str = ""

    @property
    def may_have_other_names(self) -> bool:
        """Return whether the names may have a prefix that the network's lack, see `fit_weights`."""
        return self.card is None and may_be_prefixed(self.state)

    @property
    def trained_with(self) -> str | None:
        """The BN estimator used in training: the card's, or plain BN if there is no card.

        None if there is no card but layers have the ``count`` of Stein layers.
        """
        if self.card is not None:
            return self.card.bn
        counted = (name.removesuffix("count") for name in self.state if name.rpartition(".")[2] == "count")
        return None if any(f"{prefix}running_mean" in self.state for prefix in counted) else "sample"


def read_weights(path: str | Path, key: str | None = None, option: str = KEY) -> Weights:
    """Return the weights in a file on the CPU, in float32; its format and what it wraps them in are told by content.

    Formats: safetensors, and those of `torch.save`; no code in them is run. The weights may be under
    keys, in any depth, and are chosen by the dotted `key` where there are several.

    Args:
        path: the file; its name does not matter.
        key: where in the file the weights are; None if it holds only one set.
        option: what `key` is called in messages.

    Raises:
        UsageError: the file is missing, damaged or of another kind, could run code, holds no weights, or several.
    """
    opened = open_weights(path)
    found = find_state(opened.content, str(path), key, option)
    return Weights(found.state, opened.card, opened.sha256, str(path), found.notes, option, found.key)


def fit_weights(weights: Weights, names: Collection[str]) -> Weights:
    """Return `weights` under a network's `names`: without a prefix, such as ``module.``, if they fit better then.

    What is removed or left out is noted. Weights that fit as they are, or under no prefix, are returned as they are.

    Raises:
        UsageError: several parts of them fit equally well, or only one that has no usual prefix.
    """
    if weights.card is not None:
        return weights
    fitted = fit_names(weights.state, names)
    if fitted.rivals:
        keys = [f"{weights.key}.{rival}" if weights.key else rival for rival in fitted.rivals]
        raise UsageError(
            f"{weights.path} holds more than the model's weights; what fits is under {first_of(keys)}: choose with "
            f"{weights.option}, e.g. {weights.option} {keys[0]}."
        )
    state = {name: weights.state[original] for name, original in fitted.names.items()}
    return replace(weights, state=state, notes=(*weights.notes, *fitted.notes))


def save_weights(path: str | Path, network: nn.Module, card: WeightsCard) -> str:
    """Write the network's state dict and its `card` to a ``.safetensors`` file; return the file's SHA-256.

    The file is written atomically. Tensors that share storage are written once per name. Equal weights and cards
    give equal files. Raises `UsageError` if the file cannot be written.
    """
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise UsageError(f"{path}: weights are saved as .safetensors.")
    # cloned, because safetensors refuses tensors that share storage
    state = {name: tensor.cpu().clone().contiguous() for name, tensor in _tensors(network).items()}
    # the card alone: with several metadata entries their order, and so the hash, changes from run to run
    data = safetensors.torch.save(state, metadata={CARD: card_to_json(card)})
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        with partial.open("xb") as stream:
            stream.write(data)
        os.replace(partial, file)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason(error)}") from error
    finally:
        partial.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Copy the weights into the network; names, without a prefix (see `fit_weights`), and shapes must match.

    Two buffers may be missing and then keep their values: ``num_batches_tracked``, and the ``count`` of a Stein
    layer. Of a tensor that the network has under several names, one suffices. Anything else missing, unexpected, of
    another shape, or integers in place of floating-point numbers raises one `UsageError`, and the network is unchanged.
    So do parameters and BN statistics that are not finite, and variances below 0.
    """
    own = _tensors(network)
    weights = fit_weights(weights, own)
    given = weights.state
    missing = [name for name in own if name not in given and not _dispensable(name, own, given)]
    if (problems := misfit(given, own, missing)) is not None:
        how = f" How they were read: {'; '.join(weights.notes)}." if weights.notes else ""
        raise UsageError(f"the weights in {weights.path} do not fit the model; {problems}.{how}")
    _check_values(network, weights)
    network.load_state_dict(given, strict=False)


def _check_values(network: nn.Module, weights: Weights) -> None:
    """Raise a `UsageError` for parameters and BN statistics that no network can have been trained to."""
    variances = {name for name in weights.state if name.endswith("running_var")}
    means = {name for name in weights.state if name.endswith("running_mean")}
    for name in sorted({name for name, _ in network.named_parameters()} | means | variances):
        tensor = weights.state.get(name)
        if tensor is None or not tensor.is_floating_point():
            continue
        if wrong := int((~tensor.isfinite()).sum()):
            what = f"{wrong} of {tensor.numel()} values that are NaN or infinite"
        elif name in variances and bool((tensor < 0).any()):
            what = "variances below 0"
        else:
            continue
        raise UsageError(
            f"the weights in {weights.path}: {name} has {what}. The training has diverged, or the file is damaged."
        )


def state_sha256(network: nn.Module) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of the network's state dict, in name order."""
    whole = hashlib.sha256()
    for name, tensor in sorted(_tensors(network).items()):
        whole.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        # bytes, not values, because NumPy has no bfloat16
        whole.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def classifier_size(source: ModelSource, weights: Weights) -> int | None:
    """Return the number of classes that the weights predict, or None if it is unknown.

    It is recorded in the card, or is the number of rows of the classifier's weight if the source names that layer.
    """
    if weights.card is not None:
        return weights.card.num_classes
    if not isinstance(source, NamesClassifier):
        return None
    rows = (weights.state.get(f"{layer}.weight") for layer in source.classifier_layers())
    return next((len(weight) for weight in rows if weight is not None and weight.dim() > 0), None)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's state dict; raises `UsageError` if it contains anything but tensors."""
    state: dict[str, Any] = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UsageError(f"the model's state {name!r} is of type {type(value).__name__}, not a tensor.")
    return {name: value.detach() for name, value in state.items()}


def _dispensable(name: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    """Return whether the tensor `name` may be missing from the weights."""
    prefix, _, last = name.rpartition(".")
    if last == "num_batches_tracked":
        return True
    if last == "count" and f"{prefix}.running_mean".lstrip(".") in own:
        return True
    place = _place(own[name])
    return place is not None and any(_place(own[other]) == place for other in given if other in own)


def _place(tensor: Tensor) -> tuple[object, ...] | None:
    """Return a key that identifies the tensor across its names; None if it has no storage."""
    if tensor.data_ptr() == 0:
        return None
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

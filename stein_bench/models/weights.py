"""Reading, writing and loading weights, and recognizing their format."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from stein_bench.errors import UsageError
from stein_bench.models.card import WeightsCard, card_from_json, card_to_json
from stein_bench.models.interface import ModelSource, NamesClassifier, quiet_library, reason

__all__ = [
    "Weights",
    "WeightsCard",
    "classifier_size",
    "load_weights",
    "read_weights",
    "save_weights",
    "state_sha256",
]

CARD = "stein_bench"
PICKLED = (".pth", ".pt", ".ckpt")
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
MOST_LISTED = 5


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by name, its card if stein-bench wrote it, its SHA-256 and its path.

    `notes` say how the file was read where that was a choice, one sentence each, without a final stop.
    """

    state: dict[str, Tensor]
    card: WeightsCard | None
    sha256: str
    path: str
    notes: tuple[str, ...] = ()

    @property
    def trained_with(self) -> str | None:
        """The BN estimator used in training: the card's, or plain BN if there is no card.

        None if there is no card but layers have the ``count`` of Stein layers.
        """
        if self.card is not None:
            return self.card.bn
        counted = (name.removesuffix("count") for name in self.state if name.rpartition(".")[2] == "count")
        return None if any(f"{prefix}running_mean" in self.state for prefix in counted) else "sample"


def read_weights(path: str | Path) -> Weights:
    """Return the weights in a ``.safetensors`` file, or in a ``.pth``, ``.pt`` or ``.ckpt`` one, on the CPU.

    The latter are unpickled with `weights_only`, which runs no code from the file. A checkpoint with its
    weights under ``state_dict``, ``model``, ``model_state_dict`` or ``net`` is unwrapped, and DataParallel's
    ``module.`` before every name is removed. Raises `UsageError` for anything else.
    """
    file = Path(path).expanduser()
    if file.suffix != ".safetensors" and file.suffix not in PICKLED:
        kinds = ", ".join((".safetensors", *PICKLED))
        raise UsageError(f"{path} is not a weights file: its name should end in one of {kinds}.")
    if not file.is_file():
        raise UsageError(f"no such file: {path}")
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        found, card = _read_safetensors(file) if file.suffix == ".safetensors" else (_unpickle(file), None)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from error
    return Weights(_state(found, str(path)), card, sha256, str(path))


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
    """Copy the weights into the network; names and shapes must match.

    Two buffers may be missing and then keep their values: ``num_batches_tracked``, and the ``count`` of a Stein
    layer. Of a tensor that the network has under several names, one suffices. Anything else missing, unexpected or
    of another shape raises one `UsageError`, and the network is unchanged.
    """
    own = _tensors(network)
    given = weights.state
    unexpected = [name for name in given if name not in own]
    missing = [name for name in own if name not in given and not _dispensable(name, own, given)]
    reshaped = [
        f"{name} {_shape(given[name])} instead of {_shape(tensor)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    problems = [f"{kind}: {_first(names)}" for kind, names in lists if names]
    if problems:
        raise UsageError(f"the weights in {weights.path} do not fit the model; {'; '.join(problems)}.")
    network.load_state_dict(given, strict=False)


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


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], WeightsCard | None]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except safetensors.SafetensorError as error:
        raise UsageError(f"{file} is not a safetensors file, or is damaged: {reason(error)}") from error
    card = card_from_json(metadata[CARD], str(file)) if CARD in metadata else None
    return state, card


def _unpickle(file: Path) -> object:
    try:
        with quiet_library():
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # torch mentions a GLOBAL or class if a pickle requires code; operands also for plain garbage
        if isinstance(error, pickle.UnpicklingError) and re.search(r"GLOBAL|Unsupported class", str(error)):
            raise UsageError(
                f"{file} holds more than tensors, so loading it could run code; save only its state_dict()."
            ) from error
        raise UsageError(f"{file} is not a PyTorch weights file, or is damaged.") from error


def _state(found: object, path: str) -> dict[str, Tensor]:
    """Return the state dict within the object read from a file."""
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise UsageError(
            f"{path} holds an object of type {type(found).__name__}, not a state_dict (names mapped to tensors)."
        )
    if not found:
        raise UsageError(f"{path} holds no weights.")
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UsageError(f"{path} is not a state_dict: its entry {name!r} is of type {kind}.")
        state[name] = value
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


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


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(str(size) for size in tensor.shape)})"


def _first(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")

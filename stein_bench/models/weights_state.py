"""Finding the state dict within what a file of weights holds, and bringing its tensors to float32."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from stein_bench.errors import UsageError, suggestion
from stein_bench.models.stand_ins import NumpyArray

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "ema", "state_dict_ema", "model_ema")
"""Under these keys training scripts save weights: torchvision, timm and Lightning among others."""
BESIDE = re.compile(
    r"optim(izers?|izer_.*|_.*)?|.*optimizer|opt|(lr_)?sched.*|.*scheduler|(grad_)?scaler|amp|callbacks|loops|"
    r"hyper_parameters|hparams.*|config|cfg|args|meta|rng.*|.*_rng_state|history|metrics?"
)
"""Keys of what a checkpoint holds beside weights, whose tensors are not a network's."""
AVERAGED = re.compile(r"ema|swa|averag|shadow", re.IGNORECASE)
TOP = ""
"""Path of the outermost mapping."""
SAME = 0.5
"""Share of common names from which two mappings are weights of one network, e.g. plain and averaged ones."""
DEEPEST = 20
"""Bound on the depth of mappings, which may contain themselves."""
MOST_LISTED = 5
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Found:
    """A state dict, the dotted path of keys to it, and what is to be said about both."""

    state: dict[str, Tensor]
    key: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mapping with tensors: its dotted path, whether that has only keys where weights are expected, its tensors."""

    key: str
    expected: bool
    entries: Mapping[object, object] = field(repr=False)
    state: dict[str, Tensor] = field(repr=False)

    @property
    def endings(self) -> set[str]:
        """The last two parts of its tensors' names, which prefixes do not change."""
        return {".".join(name.split(".")[-2:]) for name in self.state}


def find_state(content: object, path: str, key: str | None = None, option: str = "--weights-key") -> Found:
    """Return the state dict within the `content` of the file at `path`.

    It is the only mapping of names to tensors, or the only one under a key where weights are expected, or the one at
    the dotted `key`, which may end in the beginning of the tensors' names. Tensors are converted to float32.

    Raises:
        UsageError: there is none, or several and no `key` (the `option` to choose one), or none at `key`, or it has
            tensors that cannot be converted.
    """
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{path} holds an object of type {_kind(content)}, not a state_dict (names mapped to tensors)."
        )
    if not content:
        raise UsageError(f"{path} holds no weights.")
    start, within = (TOP, content) if key is None else (key, _at(content, key, path, option))
    candidates = list(_candidates(within, start))
    if not candidates:
        _refuse_empty(within, path, start)
    chosen = _chosen(candidates, path, option)
    notes = [f"weights under {chosen.key!r} in {Path(path).name}"] if chosen.key else []
    others = [f"{name} ({_kind(value)})" for name, value in chosen.entries.items() if name not in chosen.state]
    if others:
        notes.append(f"entries of {Path(path).name} that are not tensors were left out: {first_of(others)}")
    notes += _unnamed_averages(within, Path(path).name)
    state, converted = _in_float32(chosen.state, path)
    return Found(state, chosen.key, (*notes, *converted))


def first_of(names: list[str]) -> str:
    """Return the first names, separated by commas, with an ellipsis for the rest."""
    return ", ".join(names[:MOST_LISTED]) + (", …" if len(names) > MOST_LISTED else "")


def _kind(value: object) -> str:
    return type(value).__name__


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _tensors_of(entries: Mapping[object, object]) -> Iterator[tuple[str, Tensor]]:
    for name, value in entries.items():
        tensor = value.tensor() if isinstance(value, NumpyArray) else value
        if isinstance(name, str) and isinstance(tensor, Tensor):
            yield name, tensor


def _candidates(
    entries: Mapping[object, object], path: str, *, expected: bool = True, depth: int = 0
) -> Iterator[_Candidate]:
    """Yield the mappings with tensors in `entries`, at any depth: the outermost that have more than those in them."""
    if depth > DEEPEST:
        return
    inner = [
        found
        for key, value in entries.items()
        if isinstance(key, str) and isinstance(value, Mapping) and not BESIDE.fullmatch(key.lower())
        for found in _candidates(value, _join(path, key), expected=expected and key in WRAPPERS, depth=depth + 1)
    ]
    state = dict(_tensors_of(entries))
    own = sum(1 for tensor in state.values() if tensor.dim() > 0)
    # A checkpoint may have tensors of its own, e.g. the best accuracy; scalars alone are no weights within another.
    if own > max((len(found.state) for found in inner), default=0) or (state and not inner and depth == 0):
        yield _Candidate(path, expected, entries, state)
    else:
        yield from inner


def _chosen(candidates: list[_Candidate], path: str, option: str) -> _Candidate:
    """Return the only candidate that can be meant; other weights of the same network are never passed by."""
    likely = [candidate for candidate in candidates if candidate.expected] or candidates
    first = likely[0]
    others = [candidate for candidate in candidates if candidate is not first]
    rivals = [other for other in others if other in likely or _share(first, other) >= SAME]
    if rivals:
        keys = ", ".join(candidate.key for candidate in (first, *rivals))
        raise UsageError(
            f"{path} holds several weights: {keys}. Choose with {option}, e.g. {option} {first.key}; they may be those "
            "of the last step, averaged ones (EMA), or another network's."
        )
    return first


def _share(first: _Candidate, other: _Candidate) -> float:
    return len(first.endings & other.endings) / len(first.endings)


def _unnamed_averages(entries: Mapping[object, object], file: str) -> Iterator[str]:
    """Yield a note on averaged weights without names, as some libraries save them: they cannot be chosen."""
    for key, value in entries.items():
        kept = list(value.values()) if isinstance(value, Mapping) else [value]
        lists = [item for item in kept if isinstance(item, list | tuple)]
        if AVERAGED.search(str(key)) and any(isinstance(item, Tensor) for found in lists for item in found):
            yield f"averaged weights under {key!r} in {file} have no names and were left out"


def _at(content: Mapping[object, object], key: str, path: str, option: str) -> Mapping[object, object]:
    """Return the mapping at the dotted `key`, or the entries whose names begin with the rest of it."""
    entries, parts = content, key.split(".")
    while parts:
        inner = [(entries.get(".".join(parts[:end])), end) for end in range(len(parts), 0, -1)]
        found = next(((value, end) for value, end in inner if isinstance(value, Mapping)), None)
        if found is None:
            break
        entries, parts = found[0], parts[found[1] :]
    if not parts:
        return entries
    prefix = ".".join(parts) + "."
    chosen: dict[object, object] = {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
    if not chosen:
        known = [candidate.key for candidate in _candidates(content, TOP) if candidate.key]
        near = suggestion(key, known) or (f" It has {', '.join(known)}." if known else " Its weights need no key.")
        raise UsageError(f"{option} {key}: {path} has no weights there.{near}")
    return chosen


def _refuse_empty(entries: Mapping[object, object], path: str, key: str) -> None:
    where = f"{path}, under {key!r}," if key else path
    if not entries:
        raise UsageError(f"{where} holds no weights.")
    name, value = next(iter(entries.items()))
    raise UsageError(f"{where} is not a state_dict: its entry {name!r} is of type {_kind(value)}.")


def _in_float32(state: Mapping[str, Tensor], path: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors with floating-point numbers in float32, the others as they are, and what was converted."""
    for name, tensor in state.items():
        if (unusable := _unusable(tensor)) is not None:
            raise UsageError(f"{path}: {name} {unusable}.")
    converted = Counter(tensor.dtype for tensor in state.values() if tensor.dtype in FLOATS[1:])
    plain = {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        for name, tensor in state.items()
    }
    notes = [
        f"{count} of {len(state)} tensors in {Path(path).name} are in {str(dtype).removeprefix('torch.')} and were "
        f"{'rounded' if dtype is torch.float64 else 'converted'} to float32"
        for dtype, count in converted.items()
    ]
    return plain, notes


def _unusable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be used, as the rest of a sentence; None if it can."""
    if tensor.is_meta:
        return "has no values: it was saved from the meta device"
    if tensor.is_quantized:
        return "is quantized: save the weights of the model before quantization, in float32"
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in FLOATS):
        return f"is in {str(tensor.dtype).removeprefix('torch.')}: save the weights in float32"
    if tensor.dtype is torch.float64 and bool((tensor.float().isinf() & ~tensor.isinf()).any()):
        return "has values beyond float32, in which stein-bench evaluates"
    return None if tensor.layout is torch.strided else "is sparse: save it dense, with to_dense()"

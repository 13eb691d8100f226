"""Names of weights and names of a network: prefixes that wrappers add, and what differs where they do not fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from stein_bench.models.weights_state import first_of

PREFIXES = frozenset({"module", "_orig_mod", "model", "backbone", "net", "encoder", "network"})
"""Names under which wrappers and training scripts hold the network."""
WRAPPINGS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that DataParallel, torch.compile, FSDP and activation checkpoints put between those of a network's layers."""
OPTIONAL = ("num_batches_tracked", "count")
"""Buffers that weights may lack."""


@dataclass(frozen=True)
class Fitted:
    """Names in the weights by the network's names for them, and what is to be said about that."""

    names: dict[str, str]
    notes: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    """Parts of the weights that fit, where it is not clear that one of them is meant."""


@dataclass(frozen=True)
class _View:
    """The weights below a `prefix`: names without it, mapped to those in the file."""

    prefix: str
    names: Mapping[str, str]
    unwrapped: bool = False


def may_be_prefixed(names: Collection[str]) -> bool:
    """Return whether names of weights have parts that the network's may lack."""
    first = {name.partition(".")[0] for name in names}
    parts = {part for name in names for part in name.split(".")[:-1]}
    return bool(first & PREFIXES or parts & WRAPPINGS) or (len(first) == 1 and not first & {"0"})


def fit_names(names: Collection[str], own: Collection[str]) -> Fitted:
    """Find out under which prefix the weights' `names` are the network's `own`; nothing is removed where none helps.

    Prefixes are `PREFIXES` in any order, or what all names begin with. Parts that wrappers put between the names of
    layers are removed if the names fit better then.
    """
    needed = {name for name in own if name.rpartition(".")[2] not in OPTIONAL} or set(own)
    whole = _View("", {name: name for name in names})
    views = [whole, *_below(whole), *_unwrapped(names)]
    score = {id(view): len(needed & view.names.keys()) for view in views}
    most = max(score.values())
    best = [view for view in views if score[id(view)] == most]
    if most < len(needed) and (parts := _parts(names, needed)):
        return Fitted(dict(whole.names), rivals=parts)
    if best[0] is whole:
        return Fitted(dict(whole.names))
    best = [view for view in best if view.unwrapped == best[0].unwrapped]
    if len(best) > 1 and most == len(needed):
        return Fitted(dict(whole.names), rivals=tuple(view.prefix.rstrip(".") for view in best))
    return Fitted(dict(best[0].names), tuple(_notes(best[0], names)))


def _below(view: _View) -> list[_View]:
    """Return the views below every prefix of known names, or shared by all names, in `view`."""
    found: dict[str, dict[str, str]] = {}
    shared = _shared(list(view.names))
    for name, original in view.names.items():
        parts = name.split(".")
        prefix = ""
        for part in parts[:-1]:
            prefix += f"{part}."
            if part not in PREFIXES and not shared.startswith(prefix):
                break
            found.setdefault(prefix, {})[name.removeprefix(prefix)] = original
    return [_View(prefix, inner, view.unwrapped) for prefix, inner in found.items()]


def _parts(names: Collection[str], needed: Collection[str]) -> tuple[str, ...]:
    """Return all prefixes under which `names` has everything `needed`; they are not among the usual ones."""
    found: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            found.setdefault(".".join(parts[:end]), set()).add(".".join(parts[end:]))
    return tuple(prefix for prefix, inner in found.items() if inner >= set(needed))


def _shared(names: list[str]) -> str:
    """Return the dotted prefix that all names have, or ``""``."""
    parts = [name.split(".")[:-1] for name in names]
    shared = ""
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared += f"{level[0]}."
    return shared


def _unwrapped(names: Collection[str]) -> Iterator[_View]:
    """Yield the views of the names without the parts of wrappers, wherever they stand."""
    inner = {".".join(part for part in name.split(".") if part not in WRAPPINGS): name for name in names}
    if len(inner) == len(names) and inner.keys() != set(names):
        view = _View("", inner, unwrapped=True)
        yield from (view, *_below(view))


def _notes(view: _View, names: Collection[str]) -> Iterator[str]:
    if view.unwrapped:
        removed = sorted({part for name in names for part in name.split(".")} & WRAPPINGS)
        yield f"{' and '.join(repr(f'{part}.') for part in removed)} removed within the weights' names"
    if view.prefix:
        yield f"prefix {view.prefix!r} removed from the weights' names"
    used = set(view.names.values())
    outside = [name for name in names if name not in used]
    if outside:
        entries = "1 entry" if len(outside) == 1 else f"{len(outside)} entries"
        yield f"{entries} of the weights outside {view.prefix!r} left out: {first_of(outside)}"


def misfit(given: Mapping[str, Tensor], own: Mapping[str, Tensor], missing: Sequence[str]) -> str | None:
    """Return how weights differ from the network, of which `missing` names are absent; None if they fit."""
    unexpected = [name for name in given if name not in own]
    reshaped = [name for name in own if name in given and given[name].shape != own[name].shape]
    kinds = [name for name in own if name in given and _other_kind(given[name], own[name])]
    lists = {
        "missing": list(missing),
        "unexpected": unexpected,
        "of another shape": [f"{name} {_shape(given[name])} instead of {_shape(own[name])}" for name in reshaped],
        "of another kind": [f"{name} {_dtype(given[name])} instead of {_dtype(own[name])}" for name in kinds],
    }
    if not any(lists.values()):
        return None
    text = "; ".join(f"{kind} {len(found)}: {first_of(found)}" for kind, found in lists.items() if found)
    renamed = missing or unexpected
    hint = _renaming(missing, unexpected, given, own) if renamed else _other_classes(reshaped, given, own)
    return text + (f". {hint}" if hint else "")


def _other_classes(reshaped: Sequence[str], given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Return that only the classifier differs, by its number of rows; None if something else does."""
    layers = {name.rpartition(".")[0] for name in reshaped}
    rows = all(given[name].shape[1:] == own[name].shape[1:] and own[name].dim() > 0 for name in reshaped)
    if len(layers) != 1 or not rows or not reshaped:
        return None
    layer, theirs, ours = layers.pop(), len(given[reshaped[0]]), len(own[reshaped[0]])
    return (
        f"The classifier {layer} has {theirs} classes in the weights, the model was built for {ours}: use data or a "
        "model with the classes of the weights"
    )


def _renaming(
    missing: Sequence[str], unexpected: Sequence[str], given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> str | None:
    """Return that the weights have other names for the layers, if tensors of equal shapes follow in the same order."""
    theirs = [name for name in unexpected if not name.endswith(OPTIONAL)]
    ours = [name for name in missing if not name.endswith(OPTIONAL)]
    # sorted too, since safetensors files are in the order of names
    for one, other in ((theirs, ours), (sorted(theirs), sorted(ours))):
        if one and [_kind(name, given) for name in one] == [_kind(name, own) for name in other]:
            return (
                f"The weights name the same layers differently, e.g. {one[0]} for {other[0]}: name the model that they "
                "are from, or rename them"
            )
    return None


def _kind(name: str, tensors: Mapping[str, Tensor]) -> tuple[str, tuple[int, ...]]:
    """Return what a tensor is to its layer, e.g. ``weight``, and its shape."""
    return name.rpartition(".")[2], tuple(tensors[name].shape)


def _other_kind(given: Tensor, own: Tensor) -> bool:
    """Return whether one holds floating-point numbers and the other does not, so that copying would change values."""
    if given.is_floating_point() and not own.is_floating_point():
        return bool((given != given.to(own.dtype)).any())  # averaged checkpoints have counters in float32
    return own.is_floating_point() and not given.is_floating_point()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(str(size) for size in tensor.shape)})"

"""Adversarial examples stored beside a report: which ones are kept, writing the file, and reading it. No torch."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stein_bench.arrayfiles import check_npz
from stein_bench.errors import UsageError
from stein_bench.files import write_bytes
from stein_bench.reading import MOST_REPORT, read_bytes
from stein_bench.report.document import Report, SavedAdversarials
from stein_bench.statistics.rates import Bits

SUFFIX = ".adversarials.npz"


@dataclass(frozen=True, eq=False)
class Example:
    """One sample and its adversarial input, with everything needed to draw them.

    Attributes:
        variant: label of the variant, e.g. ``stein/running``.
        attack: label of the attack.
        index, id: position of the sample in data order, and its name.
        label, clean_prediction, adv_prediction: class indices: one each, or maps for segmentation.
        broken: whether the attack succeeded, verified: within the budget, and worse than on the clean input.
        inputs, adv_inputs: (C, …) float32 in [0, 1], as given to the model.
    """

    variant: str
    attack: str
    index: int
    id: str
    label: NDArray[np.int64]
    clean_prediction: NDArray[np.int64]
    adv_prediction: NDArray[np.int64]
    broken: bool
    inputs: NDArray[np.float32]
    adv_inputs: NDArray[np.float32]


@dataclass
class _Group:
    broken: list[Example] = field(default_factory=list)
    others: list[Example] = field(default_factory=list)


class Keeper:
    """Keeps the first broken samples of every variant and attack, plus others if too few broke.

    Examples must be offered in data order, batch by batch; those that are not needed are not kept in memory.

    Args:
        most: examples per variant and attack.
        known: which samples broke in the finished batches of an interrupted run, by variant, attack and batch; their
            adversarial inputs are no longer available.
    """

    def __init__(self, most: int, known: Mapping[tuple[str, str, int], Bits] | None = None) -> None:
        self._most = most
        self._known = known or {}
        self._groups: dict[tuple[str, str], _Group] = {}

    def wants(self, variant: str, attack: str) -> bool:
        """Return whether more broken samples are needed."""
        return len(self._group(variant, attack).broken) < self._most

    def wants_again(self, variant: str, attack: str, batch: int) -> bool:
        """Return whether a batch that an interrupted run had finished contains a sample that may be needed."""
        broken, group = self._known.get((variant, attack, batch)), self._group(variant, attack)
        few = len(group.broken) + len(group.others) < self._most
        return broken is not None and self.wants(variant, attack) and (few or bool(broken.any()))

    def _group(self, variant: str, attack: str) -> _Group:
        return self._groups.setdefault((variant, attack), _Group())

    def offer(self, example: Example) -> None:
        """Keep an example if it is needed."""
        group = self._group(example.variant, example.attack)
        kept = group.broken if example.broken else group.others
        if len(kept) < self._most:
            kept.append(example)

    def everything(self) -> list[Example]:
        """Return all that is kept, which may be more than `examples`."""
        return [example for group in self._groups.values() for example in [*group.broken, *group.others]]

    def examples(self) -> list[Example]:
        """Return the kept examples by variant and attack, the broken ones of each first."""
        return [example for group in self._groups.values() for example in [*group.broken, *group.others][: self._most]]


def adversarials_path(output: str | Path) -> Path:
    """Return the path of the examples of the report `output`."""
    return Path(f"{str(output).removesuffix('.json')}{SUFFIX}")


def write_adversarials(
    path: Path, examples: Sequence[Example], classes: Sequence[str], per_attack: int
) -> SavedAdversarials:
    """Write examples as a compressed, lossless NumPy archive and return its entry in the report.

    The archive has ``inputs`` (m, C, …), ``labels``, ``ids`` and ``indices`` of the m samples, and for each of the n
    examples ``sample`` (its row in those), ``variant``, ``attack``, ``adv_inputs`` (C, …), ``clean_prediction``,
    ``adv_prediction`` and ``broken``; ``classes`` are the class names by label. Equal examples give identical files.
    """
    samples = {example.index: example for example in examples}
    rows = {index: row for row, index in enumerate(sorted(samples))}
    ordered = [samples[index] for index in rows]
    arrays = {
        "inputs": np.stack([one.inputs for one in ordered]),
        "labels": np.stack([one.label for one in ordered]),
        "ids": np.array([one.id for one in ordered], np.str_),
        "indices": np.array(list(rows), np.int64),
        "classes": np.array(list(classes), np.str_),
        "sample": np.array([rows[one.index] for one in examples], np.int64),
        "variant": np.array([one.variant for one in examples], np.str_),
        "attack": np.array([one.attack for one in examples], np.str_),
        "adv_inputs": np.stack([one.adv_inputs for one in examples]),
        "clean_prediction": np.stack([one.clean_prediction for one in examples]),
        "adv_prediction": np.stack([one.adv_prediction for one in examples]),
        "broken": np.array([one.broken for one in examples], np.bool_),
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    content = stream.getvalue()
    write_bytes(path, content)
    return SavedAdversarials(
        file=path.name, sha256=hashlib.sha256(content).hexdigest(), examples=len(examples), per_attack=per_attack
    )


@dataclass(frozen=True, eq=False)
class Gallery:
    """The examples of a report and the class names."""

    examples: tuple[Example, ...]
    classes: tuple[str, ...]

    def class_name(self, index: int) -> str:
        """Return the name of a class, or its index if it has none."""
        return self.classes[index] if 0 <= index < len(self.classes) else str(index)


_CORRUPT = (
    ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error, OverflowError, TypeError,
    AttributeError, NotImplementedError,
)  # fmt: skip


def read_adversarials(report: Report, path: str | Path) -> Gallery | None:
    """Read the examples stored beside the report at `path`; None if it has none.

    Raises:
        UsageError: the file is missing, is not the one that belongs to the report, or cannot be read.
    """
    saved = report.adversarials
    if saved is None:
        return None
    if Path(saved.file).name != saved.file:
        raise UsageError(f"{path}: its adversarial examples are said to be in {saved.file!r}, not beside it.")
    beside = Path(path).parent / saved.file
    try:
        content = read_bytes(beside, MOST_REPORT, "adversarial examples")
    except OSError as error:
        raise UsageError(
            f"cannot read {beside}, the adversarial examples of {path}: {error.strerror}. Keep it beside the report."
        ) from None
    if hashlib.sha256(content).hexdigest() != saved.sha256:
        raise UsageError(f"{beside} is not the file written with {path}: its hash differs.")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            check_npz(arrays.zip, len(content))
            return _gallery(dict(arrays))
    except _CORRUPT as error:
        told = f" ({error})" if type(error) is ValueError else ""
        raise UsageError(f"{beside} does not contain adversarial examples{told}.") from None


def _gallery(arrays: dict[str, NDArray[np.generic]]) -> Gallery:
    examples = []
    for number, row in enumerate(arrays["sample"].tolist()):
        examples.append(
            Example(
                variant=str(arrays["variant"][number]),
                attack=str(arrays["attack"][number]),
                index=int(arrays["indices"][row]),
                id=str(arrays["ids"][row]),
                label=arrays["labels"][row].astype(np.int64),
                clean_prediction=arrays["clean_prediction"][number].astype(np.int64),
                adv_prediction=arrays["adv_prediction"][number].astype(np.int64),
                broken=bool(arrays["broken"][number]),
                inputs=arrays["inputs"][row].astype(np.float32),
                adv_inputs=arrays["adv_inputs"][number].astype(np.float32),
            )
        )
    return Gallery(tuple(examples), tuple(map(str, arrays["classes"].tolist())))

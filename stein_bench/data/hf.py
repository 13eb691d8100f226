"""The data source ``hf:NAME[,OPTIONS]``: Hugging Face's library `datasets`, from a folder or from its cache.

NAME is a folder that ``save_to_disk`` wrote, a folder of data files that ``load_dataset`` reads (``imagefolder``,
Parquet), or a name on the hub that ``load_dataset`` has prepared before. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.data.encoded import EncodedData, Part
from stein_bench.data.hffeatures import Columns, choose_columns, label_space
from stein_bench.data.options import split_options
from stein_bench.data.samples import MAX_CLASSES
from stein_bench.data.soundimages import on_damage
from stein_bench.data.texts import Numbered
from stein_bench.errors import UsageError, reason, unknown_name
from stein_bench.models.interface import quiet_library

OPTIONS = ("split", "train", "image", "label", "config", "damaged")
TEST_NAMES = ("test", "validation", "valid", "val")
"""Names of the evaluated split; the first that there is."""

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, eq=False)
class HfImages:
    """The encoded images in a column of a `datasets.Dataset`, which gives bytes or paths instead of images."""

    whole: str
    column: str
    dataset: Any

    def read(self, index: int) -> bytes:
        stored = self.dataset[index][self.column]
        try:
            content = stored and (stored["bytes"] or (stored["path"] and Path(stored["path"]).read_bytes()))
        except OSError as error:
            raise UsageError(f"{stored['path']}: cannot be read ({error.strerror or error})") from error
        return bytes(content or b"")

    def name(self, index: int) -> str:
        return f"row {index}"

    def where(self, index: int) -> str:
        return f"row {index} of {self.whole}"


def open_hf(text: str) -> EncodedData:
    """Return the source of ``NAME[,split=…][,train=…][,image=…][,label=…][,config=…][,damaged=…]``.

    Raises UsageError for anything wrong, and if the library is not installed.
    """
    name, given = split_options(text, OPTIONS, "hf")
    if not name:
        raise UsageError("hf needs a name: hf:FOLDER, or hf:NAME for a data set in the cache of `datasets`")
    short = f"hf:{Path(name).expanduser().resolve().name if _folder(name) else name}"
    splits = _loaded(name, given.get("config"))
    chosen, note = _test_split(short, splits, given.get("split"))
    columns = choose_columns(f"{short} ({chosen})", splits[chosen].features, given.get("image"), given.get("label"))
    parts = {"test": _part(short, chosen, splits[chosen], columns, note)}
    train = _train_split(short, splits, chosen, given.get("train"))
    if train is not None:
        if splits[train].features.get(columns.label) != splits[chosen].features[columns.label]:
            raise UsageError(f"{short}: {columns.label!r} differs between the splits {train} and {chosen}")
        parts["train"] = _part(short, train, splits[train], columns, ())
    classes = _classes(short, parts, columns.names)
    missing = f"name one with train=SPLIT (it has {', '.join(splits)})"
    return EncodedData(
        short, parts, classes, label_space(columns.names), upright=True, no_training=missing,
        on_damage=on_damage(given, f"hf:{text}"),
    )  # fmt: skip


def _folder(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def _loaded(name: str, config: str | None) -> Mapping[str, Any]:
    """Return split → `datasets.Dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError("hf: needs Hugging Face's library datasets: pip install 'stein-bench[hf]'") from error
    with _offline(datasets), quiet_library():
        try:
            found = _from_folder(datasets, Path(name).expanduser(), config) if _folder(name) else None
            found = _from_cache(datasets, name, config) if found is None else found
        except UsageError:
            raise
        except Exception as error:
            hint = "; config=NAME chooses one" if "config" in str(error).lower() else ""
            raise UsageError(f"hf:{name} could not be read: {reason(error)}{hint}") from error
    if isinstance(found, datasets.Dataset):
        found = {str(found.split or "test"): found}  # what is named without a split is what is to be evaluated
    return {str(split): dataset for split, dataset in found.items()}


def _from_folder(datasets: Any, folder: Path, config: str | None) -> Any:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        if config:
            raise UsageError(f"hf:{folder}: was written by save_to_disk, which keeps one configuration: omit config=")
        return datasets.load_from_disk(str(folder))
    return datasets.load_dataset(str(folder), config)


def _from_cache(datasets: Any, name: str, config: str | None) -> Any:
    # `datasets` would take the name of one of its formats, such as csv, for the files of the current folder
    if not _HUB_NAME.fullmatch(name) or name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise UsageError(f"hf:{name}: no such folder")
    try:
        return datasets.load_dataset(name, config)
    except (FileNotFoundError, ConnectionError) as error:
        wanted = f"{name!r}, {config!r}" if config else repr(name)
        raise UsageError(
            f"hf:{name}: neither a folder nor in the cache of `datasets`; nothing is downloaded: run "
            f'python -c "import datasets; datasets.load_dataset({wanted})" once'
        ) from error


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library from downloading, and from showing bars and logs, in the body."""
    import huggingface_hub.constants as hub

    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE, datasets.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before[:2]
        datasets.logging.set_verbosity(before[2])
        if not bars:
            datasets.enable_progress_bars()


def _test_split(short: str, splits: Mapping[str, Any], asked: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the evaluated split, and a note if it was not the obvious one."""
    if asked is not None:
        if asked not in splits:
            raise unknown_name(f"split of {short}", asked, splits)
        return asked, (f"the split {asked!r} of {short} is evaluated, as given",) if asked != "test" else ()
    found = next((name for name in TEST_NAMES if name in splits), None)
    if found is None:
        raise UsageError(f"{short} has no split test or validation, only {', '.join(splits)}: write split=NAME")
    return found, () if found == "test" else (f"{short} has no split 'test': {found!r} is evaluated",)


def _train_split(short: str, splits: Mapping[str, Any], evaluated: str, asked: str | None) -> str | None:
    if asked is None:
        return "train" if "train" in splits and evaluated != "train" else None
    if asked not in splits:
        raise unknown_name(f"split of {short}", asked, splits)
    if asked == evaluated:
        raise UsageError(f"{short}: train={asked} names the evaluated split itself; a model must not train on it")
    return asked


def _part(short: str, split: str, dataset: Any, columns: Columns, remarks: tuple[str, ...]) -> Part:
    import datasets

    if len(dataset) == 0:
        raise UsageError(f"{short} ({split}) has no rows")
    labels = dataset.with_format(None).select_columns([columns.label])[:][columns.label]
    if any(label is None or label < 0 for label in labels):
        raise UsageError(f"{short} ({split}) has rows without a label (none or -1): evaluate another split, split=NAME")
    mode = dataset.features[columns.image].mode
    if mode not in (None, "RGB"):  # the library would convert to it first
        raise UsageError(
            f"{short} ({split}): the column {columns.image!r} is of images in mode {mode}, but they are read as RGB; "
            "cast_column it to datasets.Image()"
        )
    encoded = dataset.with_format(None).select_columns([columns.image])
    encoded = encoded.cast_column(columns.image, datasets.Image(decode=False))
    ids = Numbered(f"{short.partition(':')[2]}/{split}", 0, len(labels))
    images = HfImages(f"{short} ({split})", columns.image, encoded)
    return Part(images, np.asarray(labels, dtype=np.int64), ids, remarks)


def _classes(short: str, parts: Mapping[str, Part], names: tuple[str, ...] | None) -> tuple[str, ...]:
    largest = max(int(part.labels.max()) for part in parts.values())
    if largest >= (MAX_CLASSES if names is None else len(names)):
        raise UsageError(f"{short} has the label {largest}, which is no class index")
    return tuple(map(str, range(largest + 1))) if names is None else names

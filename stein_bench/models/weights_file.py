"""Opening a file of weights: its format is told by its content, never by its name, and no code in it is run."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import safetensors
import torch

from stein_bench.arrayfiles import check_archive
from stein_bench.errors import UsageError, reason
from stein_bench.models.archives import program_as_model
from stein_bench.models.card import WeightsCard, card_from_json
from stein_bench.models.foreign_files import described, described_zip
from stein_bench.models.safe_pickle import RefusedError, open_saved, pickled_module

CARD = "stein_bench"
"""Key of the card in the metadata of a safetensors file."""
HEAD = 512
ZIP = b"PK\x03\x04"
LONGEST_HEADER = 100_000_000
"""Of a safetensors file, in bytes, as its own library bounds it."""
PICKLE = 0x80
"""First byte of a pickle of protocol 2 or later; the protocol follows."""
LEGACY = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")
"""What `torch.save` wrote at the start of a file before its zip format, as the argument of a pickle."""
USUAL = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar", ".th")
"""Endings of the names that are suggested; they decide nothing."""
AGAIN = "download or copy it again"


@dataclass(frozen=True)
class Opened:
    """What is in a file of weights.

    Attributes:
        content: what it holds, mostly names mapped to tensors or a checkpoint around them.
        card: of stein-bench's own files.
        sha256: of the file.
    """

    content: object
    card: WeightsCard | None
    sha256: str


def open_weights(path: str | Path) -> Opened:
    """Return what the file of weights at `path` holds: safetensors, or one of torch.save's formats.

    Raises:
        UsageError: there is no such file, it is of another kind, which is named, it is damaged, or opening it could run
            code.
    """
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise UsageError(f"{path} is a folder, so it is not a weights file{_inside(file)}.")
        if not file.is_file():
            url = " Weights are not downloaded: fetch the file, and name it." if "://" in str(path) else ""
            raise UsageError(f"no such file: {path}{'.' if url else ''}{url}")
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            head = stream.read(HEAD)
            stream.seek(0)
            content, card = _opened(stream, head, str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from error
    return Opened(content, card, sha256)


def _inside(folder: Path) -> str:
    """Return what may be meant by a folder, as the rest of a sentence."""
    if (folder / "data.pkl").exists():
        return ": it is an unpacked file of torch.save, name that file"
    found = sorted(entry for entry in folder.iterdir() if entry.suffix in USUAL and entry.is_file())
    return f": name the file in it, e.g. {found[0]}" if found else ""


def _opened(stream: IO[bytes], head: bytes, path: str) -> tuple[object, WeightsCard | None]:
    if not head:
        raise UsageError(f"{path} is empty: {AGAIN}.")
    if head.startswith(ZIP):
        program = program_as_model(Path(path).expanduser(), path)
        if program is not None:
            raise UsageError(f"{path} is a program with its own weights: evaluate it as the model {program}")
        _check_zip(stream, path)
        return _unpickled(stream, path, "a PyTorch weights file"), None
    # before pickles, since the length of a header may begin like one
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= LONGEST_HEADER:
        return _read_safetensors(stream, path)
    if head[0] == PICKLE and head[1:2] <= b"\x05":
        if LEGACY not in head[:20]:
            raise UsageError(
                f"{path} is a plain pickle, not a file of torch.save, so opening it could run code; where you trust "
                f"it, save its weights by torch: torch.save(pickle.load(open({path!r}, 'rb')), 'weights.pth')."
            )
        return _unpickled(stream, path, "a PyTorch weights file (in the older format)"), None
    kind = described(head)
    if kind is None:
        kind = "is neither a safetensors nor a PyTorch weights file, or is damaged"
    raise UsageError(f"{path} {kind}.")


def _check_zip(stream: IO[bytes], path: str) -> None:
    """Refuse a zip archive that `torch.save` has not written; `stream` stays at its start."""
    try:
        with zipfile.ZipFile(stream) as archive:
            kind = described_zip(archive.namelist())
            if kind is None:
                check_archive(archive, os.fstat(stream.fileno()).st_size)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UsageError(
            f"{path} begins like a PyTorch weights file, but is cut short or damaged ({reason(error)}): {AGAIN}."
        ) from error
    if kind is not None:
        raise UsageError(f"{path} {kind}.")
    stream.seek(0)


def _unpickled(stream: IO[bytes], path: str, what: str) -> object:
    try:
        return open_saved(stream)
    except OSError:
        raise
    except RefusedError as refused:
        raise UsageError(_unsafe(refused.name, stream, path)) from refused
    except Exception as error:
        if "Unsupported operand" in str(error):
            raise UsageError(
                f"{path} is pickled with a protocol that torch does not open safely: save it with torch.save's own "
                "protocol, the default."
            ) from error
        raise UsageError(f"{path} is {what}, but is cut short or damaged ({_first_words(error)}): {AGAIN}.") from error


def _unsafe(name: str, stream: IO[bytes], path: str) -> str:
    """Return what is said about a pickle that names a class or function that may run code."""
    module = _pickled_module(stream)
    what = "a whole pickled model" if module else "more than tensors"
    alone = {"itself": ".state_dict()", "within": "['model'].state_dict()", None: "['state_dict']"}[module]
    code = " and have the model's code" if module else ""
    return (
        f"{path} holds {what} ({name}), so opening it could run code; where you trust the file{code}, save its weights "
        f"alone: torch.save(torch.load({path!r}, weights_only=False){alone}, 'weights.pth')."
    )


def _pickled_module(stream: IO[bytes]) -> Literal["itself", "within"] | None:
    stream.seek(0)
    if stream.read(len(ZIP)) != ZIP:
        stream.seek(0)
        return pickled_module(stream)
    with zipfile.ZipFile(stream) as archive:
        name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
        return pickled_module(io.BytesIO(archive.read(name)))


def _read_safetensors(stream: IO[bytes], path: str) -> tuple[object, WeightsCard | None]:
    file = Path(path).expanduser()
    length, size = struct.unpack("<Q", stream.read(8))[0] + 8, os.path.getsize(file)
    if size < length:
        raise UsageError(f"{path} is a safetensors file, but is cut short: its header has {length} bytes: {AGAIN}.")
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except safetensors.SafetensorError as error:
        raise UsageError(
            f"{path} is a safetensors file, but is cut short or damaged ({_first_words(error)}): {AGAIN}."
        ) from error
    return state, card_from_json(metadata[CARD], path) if CARD in metadata else None


def _first_words(error: Exception) -> str:
    """Return type and first sentence of an error of torch, whose messages may contain advice and colors."""
    return reason(error).partition(". ")[0].replace("\033[1m", "")[:120]

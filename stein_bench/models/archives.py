"""What a zip archive that PyTorch wrote holds: a program, or weights only."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

ArchiveKind = Literal["torchscript", "exported", "compiled", "weights"]

DESCRIBED: dict[ArchiveKind, str] = {
    "torchscript": "a TorchScript program",
    "exported": "an exported program (torch.export)",
    "compiled": "a program compiled by AOTInductor",
    "weights": "a file of torch.save, which holds no program",
}


def archive_kind(file: Path) -> ArchiveKind | None:
    """Return what the archive `file` holds; None if it is none of PyTorch's archives or cannot be read.

    Sources: ``torch.jit.save`` writes ``constants.pkl`` (torch/csrc/jit/serialization/export_module.cpp),
    ``torch.export.save`` ``serialized_exported_program.json`` up to version 2.7 and then a PT2 archive with
    ``archive_format`` and ``models/*.json`` (torch/export/pt2_archive/constants.py), AOTInductor libraries under
    ``data/aotinductor/``, ``torch.save`` only ``data.pkl`` and the tensors. All but the first of ``torch.export`` put
    them into one folder.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return None
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("data/aotinductor/") for name in (*inner, *names)):
        return "compiled"
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "exported"
    if "constants.pkl" in inner:
        return "torchscript"
    return "weights" if "data.pkl" in inner else None


def program_as_model(file: Path, shown: str) -> str | None:
    """Return how the program in `file`, called `shown`, is named as a model: ``jit:FILE`` or ``pt2:FILE``.

    None if the file holds no program that can be evaluated.
    """
    prefix = {"torchscript": "jit", "exported": "pt2"}.get(archive_kind(file) or "")
    return None if prefix is None else f"{prefix}:{shown}"

"""Recognizing what lies in place of weights, by content: other formats, pages, pointers, archives."""

from __future__ import annotations

from collections.abc import Sequence

RESAVE = "save the weights of its PyTorch model with torch.save(model.state_dict(), PATH)"
UNPACK = "unpack it and name the file of weights in it"
FETCH = "download the file itself again"

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", f"is an HDF5 file (Keras and TensorFlow save those), not PyTorch weights: {RESAVE}"),
    (0, b"\x93NUMPY", f"is a single NumPy array, not weights by name: {RESAVE}"),
    (0, b"GGUF", f"is a GGUF file, whose weights are quantized: {RESAVE}"),
    (4, b"TFL3", f"is a TensorFlow Lite model, not PyTorch weights: {RESAVE}"),
    (4, b"ET12", f"is an ExecuTorch program, not weights: {RESAVE}"),
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the weights themselves: fetch them with `git lfs pull`"),
    (0, b"\x1f\x8b", f"is compressed (gzip): {UNPACK}"),
    (0, b"BZh", f"is compressed (bzip2): {UNPACK}"),
    (0, b"\xfd7zXZ\x00", f"is compressed (xz): {UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"is compressed (zstd): {UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"is a 7z archive: {UNPACK}"),
    (0, b"Rar!\x1a\x07", f"is a RAR archive: {UNPACK}"),
    (257, b"ustar", f"is a tar archive: {UNPACK}"),
)  # fmt: skip
"""Offset and bytes by which a format is known, and what is said about it."""
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")
ONNX_FIELDS = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42})
"""The tags of the fields 2 to 8 of a ``ModelProto``, one of which follows the version (onnx.proto)."""
SAVED_MODEL = b"\x08\x01\x12"
"""Version 1 and the tag of the graphs: a ``SavedModel`` (tensorflow/core/protobuf/saved_model.proto)."""
NEWEST_ONNX = 0x40
"""A bound on the version of ONNX's format, which is 13 in 2025."""


def described(head: bytes) -> str | None:
    """Return what a file is that begins with `head`, and what to do, as the rest of a sentence; None if unknown."""
    for offset, magic, text in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return text
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(PAGES):
        return f"is a web page or an error message of a server, not weights: {FETCH}"
    if start[:1] in (b"{", b"["):
        return "is JSON text, not weights: name the file of weights; of an index of several files, merge them into one"
    if head.startswith(SAVED_MODEL):
        return f"is a TensorFlow model, not PyTorch weights: {RESAVE}"
    if len(head) > 2 and head[0] == 0x08 and head[1] < NEWEST_ONNX and head[2] in ONNX_FIELDS:
        return f"is an ONNX model, not PyTorch weights: {RESAVE}"
    return None


def described_zip(names: Sequence[str]) -> str | None:
    """Return the same for a zip archive of files with these `names`; None if of `torch.save`."""
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "data.pkl" in inner:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return f"is a NumPy archive (.npz), not PyTorch weights: {RESAVE}"
    if any(name.endswith(".weights.h5") for name in names):
        return f"is a Keras model, not PyTorch weights: {RESAVE}"
    listed = ", ".join(list(names)[:3]) or "none"
    return f"is a zip archive without weights of PyTorch (it holds {listed}{', …' if len(names) > 3 else ''}): {UNPACK}"

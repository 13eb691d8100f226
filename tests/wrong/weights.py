"""Weights that are empty, damaged, of another format or another network, or not finite."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from tests.wrong.good import weights
from tests.wrong.row import Content, Row, wrong

TRAIN = "train net.py:make --data npz:test.npz,train=train.npz --quiet --format json"
RUN = "--data npz:test.npz --quiet --format json --attack fgsm"
GARBAGE = bytes(range(256)) * 4


def saved(content: object) -> bytes:
    """Return what torch.save writes."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def changed(**tensors: object) -> dict[str, object]:
    """Return the weights with some tensors replaced, whose names have ``_`` for the point; None leaves one out."""
    named = {name.replace("_", ".", 1): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in {**weights(), **named}.items() if tensor is not None}


def not_finite(name: str, size: int, value: float) -> bytes:
    """Return a file of the weights in which one tensor has this value everywhere."""
    return saved(changed(**{name: torch.full((size,), value)}))


def zipped(**members: bytes) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return stream.getvalue()


class Runs:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.write_text, (Path("ran.txt"), "code has run"))


def rows() -> Iterator[Row]:
    """Yield the rows."""
    good_pth, good_safe = saved(weights()), save(weights())
    contents: list[tuple[str, Content, tuple[str, ...]]] = [
        ("empty.pth", b"", ("empty.pth",)),
        ("empty.safetensors", b"", ("empty.safetensors",)),
        ("garbage.pth", GARBAGE, ("garbage.pth",)),
        ("garbage.safetensors", GARBAGE, ("garbage.safetensors",)),
        ("cut.pth", good_pth[: len(good_pth) // 2], ("cut.pth",)),
        ("cut.safetensors", good_safe[:-50], ("cut.safetensors",)),
        ("head.safetensors", good_safe[:20], ("head.safetensors",)),
        ("long.safetensors", (2**62).to_bytes(8, "little") + b"{}", ("long.safetensors",)),
        ("text.pth", "no weights", ("text.pth",)),
        ("page.pth", "<!doctype html><html></html>", ("page.pth", "web page")),
        ("pointer.pth", "version https://git-lfs.github.com/spec/v1\n", ("Git LFS pointer",)),
        ("index.safetensors", '{"weight_map": {}}', ("JSON",)),
        ("keras.h5", b"\x89HDF\r\n\x1a\n" + GARBAGE, ("HDF5",)),
        ("packed.pth", b"\x1f\x8b" + GARBAGE, ("compressed (gzip)",)),
        ("files.pth", zipped(readme__txt=b"none"), ("zip archive without weights",)),
        ("arrays.pth", zipped(a__npy=b"none"), ("NumPy archive",)),
        ("code.pth", pickle.dumps(Runs()), ("code.pth",)),
        ("codes.pth", saved({"model": Runs()}), ("codes.pth",)),
        ("network.pth", saved(torch.nn.Linear(2, 2)), ("network.pth",)),
        ("number.pth", saved(3), ("number.pth",)),
        ("none.pth", saved({}), ("none.pth",)),
        ("list.pth", saved([torch.zeros(3)]), ("list.pth",)),
        ("words.pth", saved({"epoch": 3, "name": "net"}), ("words.pth",)),
        ("tensor.pth", saved(torch.zeros(3)), ("tensor.pth",)),
        ("two.pth", saved({"model": weights(), "ema": weights()}), ("--weights-key",)),
        ("other.pth", saved(torch.nn.Conv2d(3, 3, 3).state_dict()), ("other.pth", "do not fit")),
        ("less.pth", saved(changed(_0_weight=None, **{"0_weight": None})), ("0.weight",)),
        ("more.pth", saved(changed(**{"9_weight": torch.zeros(3)})), ("9.weight",)),
        ("two_classes.pth", saved(changed(**{"5_weight": torch.zeros(2, 64), "5_bias": torch.zeros(2)})), ("2",)),
        ("square.pth", saved(changed(**{"0_weight": torch.zeros(16, 3, 5, 5)})), ("0.weight",)),
        ("text_in.pth", saved(changed(**{"0_weight": "text"})), ("0.weight",)),
        ("nan.pth", not_finite("5_bias", 3, torch.nan), ("5.bias has 3 of 3 values that are NaN or infinite",)),
        ("inf.pth", not_finite("1_running_var", 16, torch.inf), ("1.running_var has 16 of 16 values",)),
        ("negative.pth", not_finite("1_running_var", 16, -1.0), ("1.running_var has variances below 0",)),
        ("numpy.npz", lambda path: np.savez(path, a=np.zeros(3)), ("NumPy archive",)),
    ]  # fmt: skip
    for name, content, words in contents:
        yield Row(f"evaluate net.py:make --weights {name} {RUN}", words, files={name: content})
    for name, content, words in contents[:6]:
        yield Row(
            f"inspect net.py:make --data npz:test.npz --quiet --format json --weights {name}",
            words,
            files={name: content},
        )
        yield Row(
            f"{TRAIN} --output new.safetensors --weights {name}",
            words,
            files={name: content},
        )
    yield wrong(f"evaluate net.py:make --weights folder {RUN}", "folder")
    yield wrong(
        f"evaluate net.py:make --weights net.safetensors {RUN} --bn stein --preserve-function --weights-key x", "x"
    )
    yield wrong(f"evaluate net.py:no_bn --weights net.safetensors {RUN}", "net.safetensors")
    yield wrong(f"evaluate net.py:make --weights test.npz {RUN}", "NumPy archive")
    yield wrong(
        f"evaluate net.py:make --weights net.safetensors --output net.safetensors {RUN}", "would overwrite the weights"
    )
    yield wrong(
        f"{TRAIN} --weights net.safetensors --output net.safetensors",
        "would overwrite the weights",
    )
    yield wrong(
        f"evaluate net.py:make --weights net.safetensors --output net.json {RUN}",
        "would overwrite the training card",
        net__json="{}",
    )

"""Files are told apart by their content; what is no weights file, or could run code, is refused in one line."""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.models.stand_ins import CORES
from stein_bench.models.weights import read_weights


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


def saved(content: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def of_safetensors() -> bytes:
    return safetensors.torch.save({"w": torch.zeros(64)})


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, weight=np.zeros(3))
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))
    return stream.getvalue()


def onnx_model() -> bytes:
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [0.0])
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    return onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString()


def torchscript() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), stream)
    return stream.getvalue()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102502400\n"
AGAIN = r": download or copy it again\.$"
RESAVE = r": save the weights of its PyTorch model with torch\.save\(model\.state_dict\(\), PATH\)\.$"
UNPACK = r": unpack it and name the file of weights in it\.$"
FOREIGN = {
    "empty": (lambda: b"", rf"w is empty{AGAIN}"),
    "garbage": (lambda: b"garbage", r"w is neither a safetensors nor a PyTorch weights file, or is damaged\.$"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(600), rf"w is an HDF5 file .*, not PyTorch weights{RESAVE}"),
    "keras": (lambda: zipped("config.json", "model.weights.h5"), rf"w is a Keras model, not PyTorch weights{RESAVE}"),
    "npz": (npz, rf"w is a NumPy archive \(\.npz\), not PyTorch weights{RESAVE}"),
    "npy": (npy, rf"w is a single NumPy array, not weights by name{RESAVE}"),
    "onnx": (onnx_model, rf"w is an ONNX model, not PyTorch weights{RESAVE}"),
    "gguf": (lambda: b"GGUF\x03\0\0\0", rf"w is a GGUF file, whose weights are quantized{RESAVE}"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3", rf"w is a TensorFlow Lite model, not PyTorch weights{RESAVE}"),
    "tensorflow": (lambda: b"\x08\x01\x12\x80\x01", rf"w is a TensorFlow model, not PyTorch weights{RESAVE}"),
    "page": (lambda: b"\n<!DOCTYPE html><html>404", r"w is a web page or an error message of a server, not weights"),
    "error": (lambda: b"<?xml version='1.0'?><Error>", r"w is a web page or an error message of a server, not weights"),
    "pointer": (POINTER.encode, r"w is a Git LFS pointer, not the weights .*: fetch them with `git lfs pull`\.$"),
    "index": (lambda: json.dumps({"weight_map": {}}).encode(), r"w is JSON text, not weights: name the file"),
    "gzip": (lambda: gzip.compress(saved({})), rf"w is compressed \(gzip\){UNPACK}"),
    "bzip2": (lambda: bz2.compress(saved({})), rf"w is compressed \(bzip2\){UNPACK}"),
    "xz": (lambda: lzma.compress(saved({})), rf"w is compressed \(xz\){UNPACK}"),
    "tar": (tar, rf"w is a tar archive{UNPACK}"),
    "zip": (lambda: zipped("a/{w}.pth"), rf"w is a zip archive without .* \(it holds a/{{w}}\.pth\){UNPACK}"),
    "script": (torchscript, r"w is a program with its own weights: evaluate it as the model jit:.*w$"),
    "exported": (
        lambda: zipped("m/archive_format", "m/models/model.json"),
        r"w is a program with its own weights: evaluate it as the model pt2:.*w$",
    ),
    "cut zip": (lambda: saved(small().state_dict())[:-100], rf"w begins like a PyTorch .* cut short .*{AGAIN}"),
    "cut legacy": (lambda: saved(small().state_dict(), legacy=True)[:-9], rf"w is a PyTorch .* older .* cut.*{AGAIN}"),
    "plain pickle": (
        lambda: pickle.dumps(small().state_dict()),
        r"w is a plain pickle, not a file of torch\.save, so opening it could run code; .*: "
        r"torch\.save\(pickle\.load\(open\('.*w', 'rb'\)\), 'weights\.pth'\)\.",
    ),
    "cut header": (lambda: of_safetensors()[:40], rf"w is a safetensors file, but is cut short: its header.*{AGAIN}"),
    "cut safetensors": (lambda: of_safetensors()[:-9], rf"w is a safetensors file, but is cut short .*{AGAIN}"),
    "list": (lambda: saved([1]), r"holds an object of type list, not a state_dict \(names mapped to tensors\)\.$"),
    "nothing": (lambda: saved({}), r"w holds no weights\.$"),
    "numbers": (lambda: saved({"lr": 1}), r"w is not a state_dict: its entry 'lr' is of type int\.$"),
    "unnamed": (lambda: saved({3: torch.zeros(1)}), r"its entry 3 is of type Tensor\.$"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_weights_file_is_named(kind: str, tmp_path: Path) -> None:
    make, message = FOREIGN[kind]
    (tmp_path / "w").write_bytes(make())
    with pytest.raises(UsageError, match=message) as raised:
        read_weights(tmp_path / "w")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / 'w'} ")


@pytest.mark.slow
def test_an_archive_of_torch_export_is_named(tmp_path: Path) -> None:
    """The layout of the row above, from the library itself."""
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "w.pt2")
    with pytest.raises(UsageError, match=r"w\.pt2 is a program with its own weights: .* the model pt2:.*w\.pt2$"):
        read_weights(tmp_path / "w.pt2")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^no such file: https://.*w\.pth\. Weights are not downloaded: fetch the file"
    ):
        read_weights("https://example.com/w.pth")
    with pytest.raises(UsageError, match=r"^no such file: .*w\.pth$"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"is a folder, so it is not a weights file\.$"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UsageError, match=r"not a weights file: name the file in it, e\.g\. .*model\.safetensors\.$"):
        read_weights(tmp_path)
    (tmp_path / "data.pkl").touch()
    with pytest.raises(
        UsageError, match=r"not a weights file: it is an unpacked file of torch\.save, name that file\.$"
    ):
        read_weights(tmp_path)


class Trap:
    """Makes a folder when it is unpickled without restrictions."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Config:
    """A class of a training script."""


WRITERS = {"zip": saved, "legacy": lambda content: saved(content, legacy=True)}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("content", "name", "what", "alone"),
    [
        ({"state_dict": {}, "trap": "TRAP"}, "posix.mkdir", "more than tensors", "['state_dict']"),
        ({"state_dict": {}, "cfg": Config()}, f"{__name__}.Config", "more than tensors", "['state_dict']"),
        (small(), "torch.nn.modules.container.Sequential", "a whole pickled model", ".state_dict()"),
        (
            {"model": small()},
            "torch.nn.modules.container.Sequential",
            "a whole pickled model",
            "['model'].state_dict()",
        ),
    ],
)
def test_what_could_run_code_is_named_and_does_not_run(kind, content, name, what, alone, tmp_path) -> None:
    if "trap" in content if isinstance(content, dict) else False:
        content = {**content, "trap": Trap(tmp_path / "ran")}
    (tmp_path / "w").write_bytes(WRITERS[kind](content))
    with pytest.raises(UsageError) as raised:
        read_weights(tmp_path / "w")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'w'} holds {what} ({name}), so opening it could run code; where you trust")
    assert message.endswith(f"{alone}, 'weights.pth').")
    assert "torch.save(torch.load(" in message
    assert not (tmp_path / "ran").exists()


def test_the_advice_gives_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of the message, run as it stands."""
    monkeypatch.chdir(tmp_path)
    network = small()
    for content in (network, {"model": network}, {"state_dict": network.state_dict(), "cfg": Config()}):
        torch.save(content, "w")
        with pytest.raises(UsageError) as raised:
            read_weights("w")
        exec(str(raised.value).partition("alone: ")[2].removesuffix("."), {"torch": torch})
        state = read_weights("weights.pth").state
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", [f"numpy.{CORES[np.__version__ >= '2']}.multiarray.scalar", "argparse.Namespace"])
def test_stand_ins_run_nothing_of_the_libraries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the class that the file names is called."""

    def called(*args, **kwargs):
        raise AssertionError("called")

    content = {"model": {"w": torch.zeros(2)}, "metric": np.float64(3), "args": argparse.Namespace(a=1)}
    (tmp_path / "w").write_bytes(saved(content))
    monkeypatch.setattr(name, called)
    assert read_weights(tmp_path / "w").state.keys() == {"w"}


def test_a_protocol_that_torch_does_not_open_is_named(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "w", pickle_protocol=4)
    with pytest.raises(UsageError, match=r"w is pickled with a protocol that torch does not open safely: save it with"):
        read_weights(tmp_path / "w")


def test_a_safetensors_header_that_begins_like_a_pickle_is_none(tmp_path: Path) -> None:
    """The length 0x0280, little-endian, has the first two bytes of a pickle."""
    entries = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(entries).encode().ljust(0x0280)
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + np.float32(1.5).tobytes())
    assert read_weights(tmp_path / "w").state["w"] == 1.5

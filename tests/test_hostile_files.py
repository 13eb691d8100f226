"""Files made to take all memory, time or nerves: small on the disk, refused in one line before they take any."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import struct
import subprocess
import sys
import tarfile
import textwrap
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stein_bench import arrayfiles, reading
from stein_bench.config import make_config
from stein_bench.data.sources import open_data
from stein_bench.errors import UsageError
from stein_bench.models.weights_file import open_weights
from stein_bench.reading import parse_yaml
from stein_bench.render.report.front_matter import mapping_of
from stein_bench.report import document
from stein_bench.report.document import read_report

SMALL = 200_000
"""Bytes that none of these files exceeds."""


def header(shape, descr="|u1", version=1, length=None):
    """The header of a .npy file, whatever it claims."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 1 + (10 if version == 1 else 12)) % 64) + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text


ARRAYS = {
    "10 TB": (header("(100000, 1000, 1000, 100)"), "cut off: it has|claims 10,000,000,000,128 bytes"),
    "overflowing": (
        header("(4611686018427387904, 4, 8, 3)"),
        r"no array has the shape \(4611686018427387904, 4, 8, 3\)",
    ),
    "negative": (header("(-1, 8, 8, 3)"), "a negative length in its shape"),
    "objects": (header("(4, 8, 8, 3)", "|O"), "Python objects"),
    "no size": (header("(4, 8, 8, 3)", "|V0"), "values without a size|is void"),
    "long header": (header("(4,)", version=2, length=100_000_000), "its header claims 100,000,000 bytes"),
    "deep header": (header("(" * 3000 + ")" * 3000), "damaged header|Cannot parse header|not readable"),
    "cut header": (b"\x93NUMPY\x02\x00\x01", "cut off in its header|Cannot parse header|damaged"),
}


def one_line(error, path):
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def small(path: Path) -> Path:
    assert path.stat().st_size < SMALL
    return path


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_claims_what_it_has_not(tmp_path, name):
    content, message = ARRAYS[name]
    path, labels = tmp_path / "images.npy", tmp_path / "labels.npy"
    path.write_bytes(content + b"\0" * 100)
    np.save(labels, np.arange(4))
    with pytest.raises(UsageError, match=message) as error:
        open_data(f"npy:{small(path)},{labels}").samples("test").store.load([0])
    one_line(error, path)
    with pytest.raises(UsageError) as error:
        open_data(f"npy:{labels},{path}")
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content + b"\0" * 100)
        archive.write(labels, "labels.npy")
    with pytest.raises(UsageError, match=message) as error:
        open_data(f"npz:{small(tmp_path / 'data.npz')}").samples("test").store.load([0])
    one_line(error, tmp_path / "data.npz")


def test_an_archive_that_becomes_far_larger(tmp_path, monkeypatch):
    monkeypatch.setattr(arrayfiles, "UNCHECKED", 2**20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((2000, 32, 32, 1), np.uint8), labels=np.zeros(2000, np.int64))
    with pytest.raises(UsageError, match=r"would become 2,048,128 bytes, more than 200 times its 2,\d\d\d compressed"):
        open_data(f"npz:{small(path)}")
    nested = tmp_path / "many.npz"  # none is large, but all together are
    with zipfile.ZipFile(nested, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.npy", header("(100000,)") + bytes(100_000))
    with pytest.raises(UsageError, match="what it holds would become"):
        open_data(f"npz:{small(nested)}")


def test_members_that_lie_about_their_size_or_share_a_name(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    for claimed in (10**9, 140):  # in the directory, of the images
        content[at + 24 : at + 28] = struct.pack("<I", claimed)
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"claims 896 bytes, but has|would become|damaged"):
            open_data(f"npz:{path}").samples("test").store.load([0])
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile, that the name is not new
        for _ in range(2):
            archive.writestr("images.npy", header("(1, 1, 1, 3)") + b"abc")
    with pytest.raises(UsageError, match=r"it holds images\.npy twice"):
        open_data(f"npz:{path}")


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in itertools.pairwise("abcdefghi")
)
YAMLS = {
    "laughs": (LAUGHS, "more than 100,000 values, those behind aliases"),
    "deep": ("attack: " + "[" * 50_000, "nested deeper than 100 levels"),
    "deeper than followed": ("attack: " + "[" * 150 + "]" * 150, "nested deeper than 100 levels"),
    "itself": ("attack: &a [*a]", "an alias stands for what it is part of"),
    "twice": ("model: resnet18\nmodel: resnet34", "line 2: the key 'model' is given twice"),
    "number": (f"limit: {'9' * 10_000}", "Exceeds the limit|not valid YAML"),
    "object": ("model: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
    "large": ("# " + "x" * 2**20, "larger than 256 KiB"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml(tmp_path, monkeypatch, invoke, name):
    monkeypatch.chdir(tmp_path)
    text, message = YAMLS[name]
    Path("c.yaml").write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        make_config({}, "c.yaml")
    one_line(error, "c.yaml")
    (tmp_path / "r.json").write_text("{}")
    for words in (("evaluate", "resnet18", "--battery", "c.yaml"), ("reproduce", "c.yaml"),
                  ("train", "resnet18", "--recipe", "c.yaml", "--output", "w.safetensors"),
                  ("gate", "r.json", "--baseline", "r.json", "--policy", "c.yaml")):  # fmt: skip
        found = invoke(*words)
        assert (found.exit_code, found.stderr.count("\n")) == (2, 1), found.output
    assert not Path("ran").exists()


JSONS = {
    "deep": '{"run": ' + "[" * 100_000,
    "deeper than followed": '{"run": ' + "[" * 150 + "]" * 150 + "}",
    "not a number": '{"schema_version": NaN}',
    "infinite": '{"schema_version": 1e999}',
    "long number": f'{{"schema_version": {"9" * 5000}}}',
    "twice": '{"run": 1, "run": 2}',
    "not UTF-8": b'{"run": "\xff"}',
}


@pytest.mark.parametrize("name", JSONS)
def test_json(tmp_path, monkeypatch, invoke, name):
    monkeypatch.chdir(tmp_path)
    text = JSONS[name]
    Path("r.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        read_report("r.json")
    assert one_line(error, "r.json").startswith("r.json is not")
    for words in (
        ("report", "r.json"), ("compare", "r.json", "r.json"), ("gate", "r.json", "--baseline", "r.json"),
    ):  # fmt: skip
        found = invoke(*words)
        assert (found.exit_code, found.stderr.count("\n")) == (2, 1), found.output


def test_a_report_of_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MOST_REPORT", 2**20)
    (tmp_path / "r.json").write_text(" " * 2**20 + "{}")
    with pytest.raises(UsageError, match=r"r\.json: larger than 1 MiB, the most for a report"):
        read_report(tmp_path / "r.json")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *chunks):
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        start + b"".join(chunks) + chunk(b"IDAT", zlib.compress(bytes(width * height + height) if width < 100 else b""))
    )


IMAGES = {
    "large.png": (png(100_000, 100_000), "10000000000 pixels|100000×100000"),
    "just.png": (png(13_400, 13_400), "179560000 pixels|13400×13400"),
    "text.png": (png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * 2**20)))), "Decompressed data too large"),
    "large.bmp": (
        b"BM" + struct.pack("<IHHIIIIHHIIIIII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "pixels|60000×60000",
    ),
    "large.tiff": (
        b"II*\0" + struct.pack("<IH", 8, 3) + struct.pack("<HHII", 256, 4, 1, 90_000)
        + struct.pack("<HHII", 257, 4, 1, 90_000) + struct.pack("<HHII", 262, 3, 1, 1) + bytes(4),
        "pixels|90000×90000",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", IMAGES)
def test_images_of_too_many_pixels_or_with_a_bomb_beside_them(tmp_path, name):
    content, message = IMAGES[name]
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Path(tmp_path, label, name).write_bytes(content)
        small(Path(tmp_path, label, name))
    with pytest.raises(UsageError, match=message) as error:
        open_data(f"imagefolder:{tmp_path}").samples("test").store.load([0])
    one_line(error, name)


def nifti(shape=(4, 4, 4), offset=352.0, slope=1.0, code=2, bits=8, affine=1.0):
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, code, bits)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, offset, slope, 0)
    struct.pack_into("<2h", head, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", head, 280 + 16 * row, *(affine * (column == row) for column in range(4)))
    head[344:348] = b"n+1\0"
    return bytes(head)


VOLUMES = {
    "large": (nifti((32767, 32767, 32767)), "its header claims 35,181,150,961,663|would become 35,181,150,961,663"),
    "negative": (nifti((-4, 4, 4)), "negative|not a readable"),
    "empty": (nifti((0, 4, 4)), "is empty"),
    "far": (nifti(offset=1e30), "begin at byte 1e"),
    "before": (nifti(offset=-1e30), "begin at byte -1e"),
    "nowhere": (nifti(offset=float("nan")), "begin at byte nan"),
    "affine": (nifti(affine=float("nan")), "has no orientation"),
    "infinite affine": (nifti(affine=float("inf")), "has no orientation"),
    "type": (nifti(code=1536, bits=128), "claims|cut off|not a readable|real numbers"),
    "unknown type": (nifti(code=999), "not a readable"),
}


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(tmp_path, name, suffix):
    content, message = VOLUMES[name]
    content += b"\1" * 64
    for number in range(2):
        (tmp_path / f"{number}.{suffix}").write_bytes(gzip.compress(content) if suffix == "nii.gz" else content)
    (tmp_path / "v.csv").write_text(f"path,label,split\n0.{suffix},0,test\n1.{suffix},1,test\n")
    with pytest.raises(UsageError, match=message) as error:
        open_data(f"nifti:{tmp_path}/v.csv,shape=4x4x4,scaling=minmax").samples("test").store.load([0])
    one_line(error, suffix)


def shard(path, **members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b'{"label": ' + b"[" * 100_000, "cannot be read .nested deeper"),
        (b'{"label": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b'{"label": 1, "label": 0}', "'label' is given twice"),
    ],
)
def test_labels_in_shards(tmp_path, label, message):
    shard(tmp_path / "a.tar", a_png=png(8, 8), a_json=label)
    with pytest.raises(UsageError, match=message) as error:
        open_data(f"wds:{tmp_path}/a.tar")
    one_line(error, "a.tar")


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\0" * 4 + b"\x7f" + b"\xff" * 6, b"\xff" * 12])
def test_members_of_shards_that_claim_a_size(tmp_path, size):
    shard(tmp_path / "a.tar", a_png=png(8, 8), a_cls=b"0")
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UsageError, match=r"cut off|not a readable tar|damaged") as error:
        open_data(f"wds:{tmp_path}/a.tar")
    one_line(error, "a.tar")


def test_weights_in_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(arrayfiles, "UNCHECKED", 2**20)
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    with pytest.raises(UsageError, match="would become 4,000,000 bytes") as error:
        open_weights(small(tmp_path / "bomb.pth"))
    one_line(error, "bomb.pth")


SAFETENSORS = {
    "beyond": b"\xff\xff\xff\x0f\0\0\0\0{",
    "far beyond": b"\xff" * 8 + b"{",
    "overlapping": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                    "b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
    "too large": {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "overflowing": {"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 16]}},
    "negative": {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}},
    "deep": {"__metadata__": {"stein_bench": "[" * 50_000},
             "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors(tmp_path, name):
    content = SAFETENSORS[name]
    if isinstance(content, dict):
        text = json.dumps(content).encode()
        content = struct.pack("<Q", len(text)) + text
    (tmp_path / "w.safetensors").write_bytes(content + bytes(16))
    with pytest.raises(UsageError) as error:
        open_weights(tmp_path / "w.safetensors")
    one_line(error, "w.safetensors")


def test_real_files_are_within_the_limits(tmp_path):
    """Masks compress 1000:1, and small arrays may."""
    np.savez_compressed(tmp_path / "d.npz", images=np.zeros((60, 8, 8, 3), np.uint8), labels=np.arange(60) % 3)
    assert len(open_data(f"npz:{tmp_path}/d.npz").samples("test")) == 60
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    assert open_weights(tmp_path / "w.safetensors").content["a"].tolist() == [0, 0, 0]
    assert reading.parse_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
    assert reading.parse_json('{"a": [1, 2.5, null], "b": {"a": 1}}') == {"a": [1, 2.5, None], "b": {"a": 1}}
    assert np.isnan(reading.parse_json("NaN", finite=False))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "npy", "png", "nii.gz", "yaml", "pth"])
def test_within_a_little_memory(tmp_path, kind):
    """Each refusal within 1 GB beyond what importing takes, of files that claim from 2 GB to 35 TB."""
    path = tmp_path / f"bomb.{kind}"
    if kind in ("npz", "pth"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            name = "images.npy" if kind == "npz" else "w/data.pkl"
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(header("(2147483648,)"))
                for _ in range(2048):
                    member.write(bytes(2**20))
    else:
        path.write_bytes({
            "npy": ARRAYS["10 TB"][0], "png": IMAGES["large.png"][0], "yaml": LAUGHS.encode(),
            "nii.gz": gzip.compress(VOLUMES["large"][0]),
        }[kind])  # fmt: skip
    (tmp_path / "v.csv").write_text("path,label,split\nbomb.nii.gz,0,test\nbomb.nii.gz,1,test\n")
    np.save(tmp_path / "l.npy", np.arange(4))
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / "0.png").write_bytes(path.read_bytes() if kind == "png" else b"")
    call = {
        "npz": "open_data('npz:bomb.npz')", "npy": "open_data('npy:bomb.npy,l.npy').samples('test').store.load([0])",
        "png": "open_data('imagefolder:images').samples('test').store.load([0])",
        "yaml": "make_config({}, 'bomb.yaml')",
        "nii.gz": "open_data('nifti:v.csv').samples('test').store.load([0])", "pth": "open_weights('bomb.pth')",
    }[kind]  # fmt: skip
    script = f"""
        import resource
        import nibabel
        from stein_bench.config import make_config
        from stein_bench.data.sources import open_data
        from stein_bench.errors import UsageError
        from stein_bench.models.weights_file import open_weights
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, taken + 2**30))
        try:
            {call}
        except UsageError as error:
            print(error)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.count("\n")) == (0, 1), found.stderr


def test_brackets_in_comments_and_texts_are_no_nesting_and_keys_of_two_types_are_two():
    assert parse_yaml("# [0, 1)\n" * 200 + "title: '" + "[" * 200 + "'") == {"title": "[" * 200}
    assert parse_yaml("1: a\n'1': b") == {1: "a", "1": "b"}
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        parse_yaml("a: " + "[" * 200 + "]" * 200)


def test_front_matter_may_be_larger_than_other_yaml():
    text = "".join(f"key{number}: {'x' * 100}\n" for number in range(4000))
    assert len(mapping_of(f"---\n{text}---\n")) == 4000
    with pytest.raises(ValueError, match="larger than 256 KiB"):
        parse_yaml(text)

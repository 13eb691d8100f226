"""Data that is empty, damaged, of another kind, or whose labels and sizes are wrong."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from tests.wrong.row import Content, Row, wrong

RUN = "--weights none --quiet --format json --attack fgsm"
GARBAGE = bytes(range(256)) * 4


def npz(**arrays: object) -> Callable[[Path], object]:
    """Return what writes an archive of these arrays."""
    return lambda path: np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})


def npy(array: object) -> Callable[[Path], object]:
    """Return what writes an array."""
    return lambda path: np.save(path, np.asarray(array))


def images(n: int = 6, height: int = 8, width: int = 8) -> np.ndarray:
    """Return gray noise."""
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


LABELS = np.arange(6) % 3
FLOATS = images() / 255


def picture(height: int = 8, width: int = 8, kind: str = "PNG") -> bytes:
    """Return an image file."""
    stream = io.BytesIO()
    Image.fromarray(images(1, height, width)[0]).save(stream, kind)
    return stream.getvalue()


def tar(**members: bytes) -> bytes:
    """Return a tar file of these members, with ``__`` for the points in their names."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def volume(shape: tuple[int, ...] = (4, 4, 4), value: float = 0.5) -> Callable[[Path], object]:
    """Return what writes a volume."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    return lambda path: nibabel.save(nibabel.Nifti1Image(np.full(shape, value, np.float32), affine), path)


def rows() -> Iterator[Row]:
    """Yield the rows."""
    yield from arrays()
    yield from npy_files()
    yield from folders()
    yield from tables()
    yield from shards()
    yield from volumes()
    yield from functions()
    yield from others()


def of_npz(content: Content, *words: str, options: str = "", code: int = 2) -> Row:
    """Return the row of an npz file."""
    return Row(
        f"evaluate net.py:make --data npz:bad.npz{options} {RUN}",
        ("bad.npz", *words) if code == 2 else words,
        code,
        {"bad.npz": content},
    )


def arrays() -> Iterator[Row]:
    """Yield npz files."""
    good = io.BytesIO()
    np.savez(good, images=images(), labels=LABELS)
    yield of_npz(b"")
    yield of_npz(GARBAGE)
    yield of_npz(good.getvalue()[:900])
    yield of_npz(good.getvalue()[:-40])
    yield of_npz("images,labels\n")
    yield of_npz(picture())
    yield wrong(f"evaluate net.py:make --data npz:folder {RUN}", "folder")
    yield wrong(f"evaluate net.py:make --data npz:missing.npz {RUN}", "missing.npz: no such file")
    yield wrong(f"evaluate net.py:make --data npz:net.safetensors {RUN}", "net.safetensors")
    yield of_npz(npz(), "images")
    yield of_npz(npz(images=images()), "labels")
    yield of_npz(npz(labels=LABELS), "images")
    yield of_npz(npz(images=images(), labels=LABELS), "picturs", options=",images=picturs,labels=labels")
    yield of_npz(npz(images=images(0), labels=LABELS[:0]), "is empty")
    yield of_npz(npz(images=images(), labels=LABELS[:5]), "6", "5")
    yield of_npz(npz(images=images(), labels=LABELS - 1), "-1")
    yield of_npz(npz(images=images(), labels=LABELS + 0.5), "0.5")
    yield of_npz(npz(images=images(), labels=[0, 1, 2, 0, 1, float("nan")]), "nan")
    yield of_npz(npz(images=images(), labels=np.zeros(6, int)), "only one class")
    yield of_npz(npz(images=images(), labels=[0, 1, 2, 0, 1, 10**12]), "1000000000000")
    yield Row(
        f"evaluate net.py:make,num_classes=3 --data npz:bad.npz {RUN}",
        ("3 outputs", "labels up to 3"),
        files={"bad.npz": npz(images=images(), labels=[0, 1, 2, 3, 0, 1])},
    )
    yield of_npz(npz(images=images(), labels=np.array(list("abcabc"), object)), "labels")
    yield of_npz(npz(images=images(), labels=np.full((6, 3), 0.4)), "labels")
    yield of_npz(npz(images=images(), labels=np.zeros((6, 2, 2), int)), "labels")
    yield of_npz(npz(images=np.array([images(1)[0], images(1, 4)[0]], object), labels=[0, 1]), "images")
    yield of_npz(npz(images=np.array(list("abcdef")), labels=LABELS), "images")
    yield of_npz(npz(images=images()[0], labels=LABELS), "images")
    yield of_npz(npz(images=np.zeros((6, 8, 8, 5), np.uint8), labels=LABELS), "channels")
    yield of_npz(npz(images=np.zeros((6, 0, 0, 3), np.uint8), labels=LABELS), "images")
    yield of_npz(npz(images=np.where(FLOATS < 0.1, np.nan, FLOATS), labels=LABELS), "NaN")
    yield of_npz(npz(images=np.where(FLOATS < 0.1, np.inf, FLOATS), labels=LABELS), "infinite")
    yield of_npz(npz(images=FLOATS - 0.5, labels=LABELS), "values from -0.5 to 0.5")
    yield of_npz(npz(images=FLOATS * 7, labels=LABELS), "scale")
    yield of_npz(npz(images=images().astype(np.int64) * 100, labels=LABELS), "scale")
    yield of_npz(npz(images=images().astype(complex), labels=LABELS), "complex")
    yield of_npz(npz(images=images(), labels=LABELS), "scale", options=",scale=100")
    yield of_npz(npz(images=images(), labels=LABELS), "channels", options=",channels=4")
    yield of_npz(npz(images=images(6, 3), labels=LABELS), "layout=")
    yield of_npz(npz(images=images(6, 1, 1), labels=LABELS), "1×1")
    yield of_npz(npz(images=images(), labels=LABELS), "twice", options=",layout=NHWC,layout=NCHW")


def npy_files() -> Iterator[Row]:
    """Yield pairs of npy files."""
    for name, first, second, *words in (
        ("empty", b"", npy(LABELS), "first.npy"),
        ("garbage", GARBAGE, npy(LABELS), "first.npy"),
        ("truncated", lambda path: truncated(path), npy(LABELS), "first.npy"),
        ("labels", npy(images()), b"", "second.npy"),
        ("pickle", npy(np.array([{}, {}], object)), npy(LABELS), "first.npy"),
        ("fewer", npy(images()), npy(LABELS[:3]), "6", "3"),
        ("swapped", npy(LABELS), npy(images()), "first.npy"),
        ("none", npy(images(0)), npy(LABELS[:0]), "is empty"),
    ):
        del name
        yield Row(
            f"evaluate net.py:make --data npy:first.npy,second.npy {RUN}",
            tuple(words),
            files={"first.npy": first, "second.npy": second},
        )
    yield Row(
        f"evaluate net.py:make --data npy:first.npy {RUN}", ("npy needs two files",), files={"first.npy": npy(images())}
    )
    yield wrong(f"evaluate net.py:make --data npy:missing.npy,missing.npy {RUN}", "missing.npy")


def truncated(path: Path) -> None:
    """Write an array whose file ends too early."""
    np.save(path, images())
    path.write_bytes(path.read_bytes()[:300])


def folders() -> Iterator[Row]:
    """Yield folders of images."""

    def of(files: dict[str, Content], *words: str, options: str = "", code: int = 2) -> Row:
        return Row(
            f"evaluate net.py:make --data imagefolder:photos{options} {RUN}",
            words,
            code,
            {f"photos/{name}": content for name, content in files.items()},
        )

    two = {"a/1.png": picture(), "b/1.png": picture()}
    yield wrong(f"evaluate net.py:make --data imagefolder: {RUN}", "imagefolder needs a path")
    yield wrong(f"evaluate net.py:make --data imagefolder:missing {RUN}", "missing")
    yield wrong(f"evaluate net.py:make --data imagefolder:net.py {RUN}", "net.py")
    yield wrong(f"evaluate net.py:make --data imagefolder:folder {RUN}", "folder")
    yield of({"a/readme.txt": "none", "b/readme.txt": "none"}, "photos")
    yield of({"1.png": picture(), "2.png": picture()}, "photos")
    yield of({"a/1.png": picture()}, "class")
    yield of({"a/1.png": b"", "b/1.png": b""}, "photos")
    yield of({"a/1.png": GARBAGE, "b/1.png": GARBAGE}, "photos")
    yield of({"a/1.png": picture()[:60], "b/1.png": picture()[:60]}, "photos")
    yield of({**two, "a/2.png": picture()[:60]}, "2.png", options=",damaged=refuse")
    yield of({**two, "a/2.png": picture(8, 9)}, "--image-size")
    yield of({**two, "a/2.png": "text"}, "skp", options=",damaged=skp")
    yield of(two, "missing.txt", options=",classes=missing.txt")
    yield of({**two, "names.txt": "a\n"}, "names.txt", options=",classes=photos/names.txt")
    yield of({**two, "names.txt": ""}, "names.txt", options=",classes=photos/names.txt")
    yield of({**two, "names.txt": GARBAGE}, "names.txt", options=",classes=photos/names.txt")
    yield of({**two, "names.txt": "a\na\nb\n"}, "names.txt", options=",classes=photos/names.txt")


def tables() -> Iterator[Row]:
    """Yield tables of image files."""
    for text, *words in (
        ("", "table.csv"),
        ("path,label\n", "table.csv"),
        ("file,class\nphoto.png,0\n", "path"),
        ("path\nphoto.png\n", "label"),
        ("path,label\nphoto.png,0\n", "class"),
        ("path,label\nmissing.png,0\nphoto.png,1\n", "missing.png"),
        ("path,label\nphoto.png,0\nphoto.png\n", "table.csv"),
        ("path,label\nphoto.png,\nphoto.png,1\n", "table.csv"),
        ("path,label\nphoto.png,-1\nother.png,1\n", "-1"),
        ("path,label\nphoto.png,0.5\nother.png,1\n", "0.5"),
        ("path,label,split\nphoto.png,0,tset\nphoto.png,1,tset\n", "tset"),
        ("path,label,split\nphoto.png,0,train\nother.png,1,train\n", "test"),
        ("path,label,label\nphoto.png,0,0\nphoto.png,1,1\n", "label"),
        (GARBAGE, "table.csv"),
    ):
        yield Row(
            f"evaluate net.py:make --data csv:table.csv {RUN}",
            tuple(words),
            files={"table.csv": text, "other.png": picture()},
        )
    yield wrong(f"evaluate net.py:make --data csv: {RUN}", "csv needs a table")
    yield wrong(f"evaluate net.py:make --data csv:missing.csv {RUN}", "missing.csv")
    yield wrong(f"evaluate net.py:make --data csv:folder {RUN}", "folder")


def shards() -> Iterator[Row]:
    """Yield WebDataset shards."""
    two = {"000__png": picture(), "000__cls": b"0", "001__png": picture(), "001__cls": b"1"}
    for content, *words in (
        (b"", "bad.tar"),
        (GARBAGE, "bad.tar"),
        (tar(**two)[:1200], "bad.tar"),
        (tar(), "bad.tar"),
        (tar(readme__txt=b"none"), "bad.tar"),
        (tar(**{**two, "001__cls": b"many"}), "many"),
        (tar(**{**two, "001__cls": b"-1"}), "-1"),
        (tar(**{**two, "001__cls": b""}), "001"),
        (tar(**{name: content for name, content in two.items() if name != "001__cls"}), "001"),
        (tar(**{**two, "001__cls": b"0"}), "class"),
        (tar(**{**two, "000__png": GARBAGE, "001__png": GARBAGE}), "bad.tar"),
    ):
        yield Row(f"evaluate net.py:make --data wds:bad.tar {RUN}", tuple(words), files={"bad.tar": content})
    yield wrong(f"evaluate net.py:make --data wds: {RUN}", "wds")
    yield wrong(f"evaluate net.py:make --data 'wds:test-{{000..001}}.tar' {RUN}", "test-000.tar")
    yield wrong(f"evaluate net.py:make --data 'wds:test-{{000..}}.tar' {RUN}", "test-")
    yield wrong(f"evaluate net.py:make --data 'wds:test-*.tar' {RUN}", "test-*.tar")


def volumes() -> Iterator[Row]:
    """Yield volumes."""
    table = "path,label,split\nfirst.nii,0,test\nsecond.nii,1,test\n"

    def of(first: Content, *words: str, options: str = ",shape=4x4x4", table: str = table) -> Row:
        files = {"scans.csv": table, "first.nii": first, "second.nii": volume()}
        return Row(f"evaluate net3d.py:make --data nifti:scans.csv{options} {RUN}", words, files=files)

    yield wrong(f"evaluate net.py:make --data nifti: {RUN}", "nifti needs a table")
    yield wrong(f"evaluate net.py:make --data nifti:missing.csv {RUN}", "missing.csv")
    yield of(b"", "first.nii")
    yield of(GARBAGE, "first.nii")
    yield of(volume((4, 4)), "first.nii")
    yield of(volume((4, 4, 4, 3)), "first.nii")
    yield of(volume(value=float("nan")), "first.nii")
    yield of(volume(value=2.0), "scaling")
    yield of(volume(), "shape", options=",shape=4x4")
    yield of(volume(), "shape", options=",shape=0x4x4")
    yield of(volume(), "scaling", options=",shape=4x4x4,scaling=5:1")
    yield wrong(
        f"evaluate net.py:make --data nifti:scans.csv,shape=4x4x4 {RUN}",
        "It may expect images, not volumes.",
        **{"scans__csv": table, "first__nii": volume(), "second__nii": volume()},
    )
    yield of(volume(), "split", table="path,label\nfirst.nii,0\nsecond.nii,1\n")
    yield of(volume(), "first.nii", table="path,label,split\nfirst.nii,0,test\nfirst.nii,1,train\n")


HEAD = """\
import sys

import torch


class Breaks:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise ValueError(f"no item {index}")


"""


def functions() -> Iterator[Row]:
    """Yield what functions return for data."""
    for name, body, *words in (
        ("none", "return None", "NoneType"),
        ("number", "return 3", "int"),
        ("raises", "raise OSError('the disk is gone')", "the disk is gone"),
        ("leaves", "sys.exit(0)", "SystemExit"),
        ("empty", "return torch.utils.data.TensorDataset(torch.zeros(0, 3, 8, 8), torch.zeros(0).long())", "empty"),
        ("unlike", "return torch.zeros(4, 3, 8, 8), torch.zeros(3).long()", "4", "3"),
        ("one", "return torch.zeros(4, 3, 8, 8), torch.zeros(4).long()", "class"),
        ("dark", "return -torch.ones(4, 3, 8, 8), torch.arange(4)", "dark"),
        ("unlabeled", "return torch.zeros(4, 3, 8, 8)", "unlabeled"),
        ("breaks", "return Breaks()", "no item 0"),
        ("words", "return [('cat', 0), ('dog', 1)]", "words"),
        ("mixed", "return [(torch.zeros(3, 8, 8), 0), (torch.zeros(3, 9, 9), 1)]", "mixed"),
    ):
        text = f"{HEAD}def make():\n    {body}\n"
        yield Row(f"evaluate net.py:make --data {name}.py:make {RUN}", tuple(words), files={f"{name}.py": text})
    yield wrong(f"evaluate net.py:make --data missing.py:make {RUN}", "missing.py")
    yield wrong(f"evaluate net.py:make --data net.py:data {RUN}", "net.py has no 'data'")


def others() -> Iterator[Row]:
    """Yield data sets that are not there or no such ones."""
    for spec, *words in (
        ("cifar10:missing", "missing"),
        ("cifar10:folder", "folder"),
        ("cifar10:", "no folder given"),
        ("cifar100:folder", "folder"),
        ("cifar10-c:folder", "folder"),
        ("imagenet-c:folder", "folder"),
        ("mnist:folder", "folder"),
        ("mnist:", "mnist"),
        ("svhn:folder", "folder"),
        ("stl10:folder", "folder"),
        ("imagenette:folder,size=12px", "12px"),
        ("cityscapes:folder", "folder"),
        ("cityscapes:", "cityscapes needs a path"),
        ("hf:", "hf"),
    ):
        yield wrong(f"evaluate net.py:make --data '{spec}' {RUN}", *words)

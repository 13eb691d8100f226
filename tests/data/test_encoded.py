"""Damaged and unusual images inside of other files: treated and remarked on as if they were files."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.data import Resize, Samples, open_data
from stein_bench.data.encoded import EncodedImages
from stein_bench.data.imagesurvey import ImageSurvey
from stein_bench.errors import UsageError
from stein_bench.preparation.inputs import check_values, first_sound
from stein_bench.progress import Silent
from tests.data.known import COUNT, LABELS, as_inputs, known_images
from tests.data.test_imagemodes import COLOR, DEEP, KINDS
from tests.data.test_wds import write_tar


def encoded(image: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format)
    return stream.getvalue()


def known_contents() -> list[bytes]:
    return [encoded(image) for image in known_images()]


def wds(folder: Path, contents: list[bytes]) -> str:
    """Write a shard; labels are those of the known images, so that they tell which are left."""
    files = [(f"{i:04d}.{kind}", data) for i, c in enumerate(contents) for kind, data in (("png", c), ("cls", cls(i)))]
    return f"wds:{write_tar(folder / 'x.tar', files)}"


def cls(index: int) -> bytes:
    return str(LABELS[index % COUNT]).encode()


def hf(folder: Path, contents: list[bytes]) -> str:
    """Write a folder of `datasets`; an empty content is a row without an image."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = [{"bytes": content, "path": None} if content else None for content in contents]
    labels = [int(LABELS[i % COUNT]) for i in range(len(contents))]
    table = datasets.Dataset.from_dict({"image": rows, "label": labels}, features=features)
    datasets.DatasetDict({"test": table}).save_to_disk(str(folder / "x"))
    return f"hf:{folder / 'x'}"


ROUTES = {"wds": (wds, "{:04d}.png in x.tar", "{folder}/x.tar"), "hf": (hf, "row {}", "hf:x (test)")}


def checked(spec: str) -> Samples:
    return check_values(open_data(spec).samples("test"), Silent())


def flipped(content: bytes) -> bytes:
    return content[:60] + bytes([content[60] ^ 255]) + content[61:]


def broken_contents() -> list[bytes]:
    """The known images, of which five are damaged, each in another way."""
    contents = known_contents()
    damaged = {1: b"", 4: b"<html>404 Not Found</html>", 7: contents[7][:-40], 12: flipped(contents[12])}
    damaged[23] = encoded(known_images()[23], "JPEG")[:-20]
    return [damaged.get(index, content) for index, content in enumerate(contents)]


BROKEN = (1, 4, 7, 12, 23)
SOUND = [index for index in range(COUNT) if index not in BROKEN]


@pytest.mark.parametrize("route", ROUTES)
def test_damaged_images_are_left_out_and_named(tmp_path, route):
    write, name, _ = ROUTES[route]
    spec = write(tmp_path, broken_contents())
    every, samples = open_data(spec).samples("test"), checked(spec)
    assert len(every) == COUNT
    assert samples.notes() == (
        f"5 of {COUNT} images are damaged and left out: " + ", ".join(name.format(index) for index in BROKEN),
    )
    assert samples.ids == tuple(every.ids[index] for index in SOUND)
    images, labels = samples.batch(range(len(SOUND)))
    assert torch.equal(images, as_inputs(known_images()[SOUND]))
    assert labels.tolist() == LABELS[SOUND].tolist()
    assert check_values(samples, Silent()) is samples  # it is read once
    few = check_values(every.first(3), Silent()).notes()
    assert few == (f"1 of 3 images is damaged and left out: {name.format(1)}",)


@pytest.mark.parametrize("route", ROUTES)
def test_the_hash_is_that_of_the_images_that_are_left(tmp_path, route):
    samples = checked(ROUTES[route][0](tmp_path, broken_contents()))
    digest = hashlib.sha256(f"encoded RGB None upright={route == 'hf'}\n".encode())
    for content in (known_contents()[index] for index in SOUND):
        digest.update(struct.pack("<q", len(content)) + content)
    digest.update(LABELS[SOUND].astype("<i8").tobytes())
    assert samples.sha256() == digest.hexdigest()


@pytest.mark.parametrize("route", ROUTES)
def test_damaged_images_may_be_refused(tmp_path, route):
    write, name, whole = ROUTES[route]
    spec = write(tmp_path, broken_contents())
    with pytest.raises(UsageError) as caught:
        checked(f"{spec},damaged=refuse")
    others = ", ".join(name.format(index) for index in BROKEN[1:])
    assert str(caught.value) == (
        f"{whole.format(folder=tmp_path)}: 5 of {COUNT} images are damaged: {name.format(1)} (there is no image), "
        f"{others}; repair or remove them, or omit damaged=refuse"
    )
    with pytest.raises(UsageError, match=r": damaged=ignore; write damaged=skip or damaged=refuse$"):
        open_data(f"{spec},damaged=ignore")


@pytest.mark.parametrize("route", ROUTES)
def test_more_than_half_is_too_much_and_addresses_in_memory_are_not_told(tmp_path, route):
    spec = ROUTES[route][0](tmp_path, [*known_contents()[:2], b"x", b"y", b"z"])
    with pytest.raises(UsageError, match=r"3 of 5 images are damaged: .* \(cannot identify image file\), .*, .*; rep"):
        checked(spec)
    none = ROUTES[route][0](tmp_path / "none", [b"x", b"y"]) if route == "hf" else wds(tmp_path, [b"x", b"y"])
    with pytest.raises(UsageError, match=r": not a readable image \(cannot identify image file\); repair or remove it"):
        checked(none)


def unusual_contents(folder: Path) -> dict[str, bytes]:
    """Images of every kind that Pillow converts, by their name, and 16-bit gray."""
    contents = {}
    for number, (kind, (name, save, _)) in enumerate(KINDS.items()):
        path = folder / f"{number:02d}{Path(name).suffix}"
        save(path)
        contents[kind] = path.read_bytes()
        path.unlink()
    deep = folder / "deep.png"
    Image.fromarray(DEEP).save(deep)
    contents["deep"] = deep.read_bytes()
    deep.unlink()
    return contents


def said(notes: Iterable[str]) -> list[str]:
    """Return the parts of the notes in alphabetical order; equally frequent modes are told as they come."""
    return sorted(part for note in notes for part in note.removeprefix("converted to RGB as by Pillow: ").split("; "))


@pytest.mark.parametrize("route", ROUTES)
def test_pixels_and_notes_are_those_of_files_with_the_same_contents(tmp_path, route):
    contents = unusual_contents(tmp_path)
    root = tmp_path / "files"
    for index, content in enumerate(contents.values()):
        path = root / f"c{LABELS[index]}" / f"{index:04d}.png"  # Pillow looks at the content
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    files, samples = checked(f"imagefolder:{root}"), checked(ROUTES[route][0](tmp_path, list(contents.values())))
    turned = "2 images have an EXIF orientation, which is "
    ignored = turned + "ignored as in timm and torchvision"
    assert ignored in files.notes()
    assert sum("16 bits per channel" in note or "CMYK" in note for note in samples.notes()) == 2
    expected = [note for note in files.notes() if note != ignored or route == "wds"]
    applied = [turned + "applied as by `datasets`"] if route == "hf" else []
    assert said(samples.notes()) == said([*expected, *applied])
    for index, kind in enumerate(contents):
        pixels = files.batch([files.ids.index(f"c{LABELS[index]}/{index:04d}.png")])[0][0]
        if route == "hf" and kind == "turned JPEG":
            pixels = pixels.rot90(-1, (1, 2))
        elif route == "hf" and kind == "turned PNG":
            pixels = pixels.rot90(2, (1, 2))
        assert torch.equal(samples.batch([index])[0][0], pixels), kind


@pytest.mark.parametrize("code", range(1, 9))
def test_orientations_are_applied_as_by_the_library(tmp_path, code):
    datasets = pytest.importorskip("datasets")
    exif = Image.Exif()
    exif[0x0112] = code
    stream = io.BytesIO()
    COLOR.crop((0, 0, 8, 6)).save(stream, "PNG", exif=exif)
    samples = checked(hf(tmp_path, [stream.getvalue(), stream.getvalue()]))
    shown = datasets.load_from_disk(str(tmp_path / "x"))["test"][0]["image"]
    assert torch.equal(samples.batch([0])[0], as_inputs(np.array(shown)[None]))


@pytest.mark.parametrize("route", ROUTES)
def test_an_image_of_another_size_is_found_before_the_run(tmp_path, route):
    """The sizes of 16 images are compared when the data are opened; index 1 of 50 is not among them."""
    contents = (known_contents() * 3)[:50]
    contents[1] = encoded(known_images()[1][:6])
    spec = ROUTES[route][0](tmp_path, contents)
    where = {"wds": f"{tmp_path}/x.tar: 0001.png", "hf": "row 1 of hf:x (test)"}[route]
    with pytest.raises(UsageError) as caught:
        checked(spec)
    assert str(caught.value) == f"{where}: 8×6 pixels, and others 8×8; give --image-size"
    resized = check_values(open_data(spec).samples("test", Resize(6)), Silent())
    assert resized.batch([1])[0].shape == (1, 3, 6, 6)


def test_contents_are_read_in_one_thread():
    class Recorded:
        whole, threads = "all", set()

        def read(self, index):
            self.threads.add(threading.get_ident())
            return known_contents()[index]

        def name(self, index):
            return str(index)

        where = name

    survey = ImageSurvey(EncodedImages(Recorded(), upright=False))
    assert list(survey.read(COUNT)) == list(range(1, COUNT + 1))
    assert Recorded.threads == {threading.get_ident()}
    assert (survey.facts(COUNT), survey.sizes(COUNT)) == ({}, {(8, 8): 0})


def test_the_first_undamaged_samples_are_read_no_further_than_necessary(tmp_path):
    samples = open_data(wds(tmp_path, broken_contents())).samples("test")
    assert first_sound(samples, 6, Silent()).ids == tuple(f"{index:04d}" for index in SOUND[:6])
    assert samples.store.survey._read == [9]  # three of them are damaged
    assert len(first_sound(samples, 100, Silent())) == COUNT - 5


def test_the_order_is_judged_by_the_whole_set_also_if_some_are_left_out(tmp_path):
    contents = known_contents()[::3] + known_contents()[1::3]
    files = [(f"{i:02d}.{kind}", data) for i, c in enumerate(contents) for kind, data in (("png", c), ("cls", b"01"))]
    files = [(name, b"1" if name.endswith("cls") and int(name[:2]) >= 8 else data) for name, data in files]
    files = [(name, b"0" if data == b"01" else b"" if name == "02.png" else data) for name, data in files]
    samples = open_data(f"wds:{write_tar(tmp_path / 'x.tar', files)}").samples("test")
    kept = "the data set's own order is kept, and it is sorted by class: "
    told = [note for note in check_values(samples.first(6), Silent()).notes() if note.startswith(kept)]
    assert told == [f"{kept}the first 6 samples are from 1 of 2 classes"]
    assert check_values(samples, Silent()).notes()[1:] == (f"{kept}--limit would take the first classes only",)


def test_images_that_the_library_would_convert_first_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(mode="L"), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": content, "path": None} for content in known_contents()[:3]], "label": [0, 1, 2]}
    datasets.DatasetDict({"test": datasets.Dataset.from_dict(rows, features=features)}).save_to_disk(tmp_path / "x")
    with pytest.raises(UsageError, match=r"hf:x \(test\): the column 'image' is of images in mode L, but they are"):
        open_data(f"hf:{tmp_path / 'x'}")

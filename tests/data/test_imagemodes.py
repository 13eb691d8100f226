"""Image files of every kind: pixels are those of plain Pillow, and what was converted is counted in notes."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from stein_bench.data import Samples, open_data
from stein_bench.errors import UsageError
from stein_bench.preparation.inputs import check_values
from stein_bench.progress import Silent

RNG = np.random.default_rng(5)
COLOR = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8))
WITH_ALPHA = Image.fromarray(RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8))
DEEP = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
DEEP[0, :4] = [0, 255, 256, 65535]


def checked(folder: Path, more: str = "") -> Samples:
    return check_values(open_data(f"imagefolder:{folder}{more}").samples("test"), Silent())


def pixels(samples: Samples, name: str) -> np.ndarray:
    """Return the loaded image, (H, W, 3) with values 0 … 255."""
    image, _ = samples.batch([samples.ids.index(name)])
    return (image[0].permute(1, 2, 0) * 255).numpy()


def tree(folder: Path) -> Path:
    """Make the folder of one image of another class, so that there are two."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    COLOR.save(folder / "b" / "0.png")
    return folder / "a"


def turned(code: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = code
    return exif


def by_pillow(text: str) -> str:
    return f"converted to RGB as by Pillow: {text}"


TURNED = "1 image has an EXIF orientation, which is ignored as in timm and torchvision"
KINDS = {
    "RGB": ("x.png", lambda path: COLOR.save(path), None),
    "gray": ("x.png", lambda path: COLOR.convert("L").save(path), by_pillow("1 gray (L)")),
    "1-bit": ("x.png", lambda path: COLOR.convert("1").save(path), by_pillow("1 black and white (1)")),
    "gray with alpha": (
        "x.png",
        lambda path: WITH_ALPHA.convert("LA").save(path),
        by_pillow("1 gray with alpha, which is dropped (LA)"),
    ),
    "alpha": ("x.png", WITH_ALPHA.save, by_pillow("1 color with alpha, which is dropped (RGBA)")),
    "alpha, WebP": (
        "x.webp",
        lambda path: WITH_ALPHA.save(path, lossless=True),
        by_pillow("1 color with alpha, which is dropped (RGBA)"),
    ),
    "palette": ("x.png", lambda path: COLOR.quantize(8).save(path), by_pillow("1 palette (P)")),
    "palette with a transparent color": (
        "x.png",
        lambda path: COLOR.quantize(8).save(path, transparency=2),
        by_pillow("1 palette (P)"),
    ),
    "palette with transparencies": (
        "x.png",
        lambda path: COLOR.quantize(8).save(path, transparency=bytes(range(8))),
        by_pillow("1 palette (P)"),
    ),
    "CMYK": (
        "x.jpg",
        lambda path: COLOR.convert("CMYK").save(path),
        by_pillow("1 CMYK, without color management (CMYK)"),
    ),
    "CMYK, TIFF": (
        "x.tiff",
        lambda path: COLOR.convert("CMYK").save(path),
        by_pillow("1 CMYK, without color management (CMYK)"),
    ),
    "progressive": ("x.jpeg", lambda path: COLOR.save(path, progressive=True), None),
    "bitmap": ("x.bmp", lambda path: COLOR.save(path), None),
    "turned JPEG": ("x.jpg", lambda path: COLOR.save(path, exif=turned(6)), TURNED),
    "turned PNG": ("x.png", lambda path: COLOR.save(path, exif=turned(3)), TURNED),
    "upright": ("x.jpg", lambda path: COLOR.save(path, exif=turned(1)), None),
    "turned TIFF": ("x.tif", lambda path: COLOR.save(path, exif=turned(6)), None),  # Pillow turns it
    "several frames": (
        "x.tif",
        lambda path: COLOR.save(path, save_all=True, append_images=[COLOR.rotate(90)]),
        "1 file has several frames, of which the first is used",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_pixels_are_plain_pillows_and_conversions_are_noted(tmp_path, kind):
    name, save, note = KINDS[kind]
    path = tree(tmp_path) / name
    save(path)
    samples = checked(tmp_path)
    found = pixels(samples, f"a/{name}")
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")  # Pillow's on dropped transparencies
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(found, expected)
    assert samples.notes() == (() if note is None else (note,))


def write_pgm(path: Path, most: int = 65535) -> None:
    path.write_bytes(b"P5 8 8 %d\n" % most + (DEEP if most == 65535 else DEEP // 16).astype(">u2").tobytes())


DEEP_NOTE = "1 image has 16 bits per channel, of which the high 8 are used; the largest gray value is 65535 of 65535"
DEEP_KINDS = {
    "PNG": ("x.png", lambda path: Image.fromarray(DEEP).save(path)),
    "TIFF": ("x.tif", lambda path: Image.fromarray(DEEP).save(path)),
    "big-endian TIFF": (
        "x.tif",
        lambda path: Image.frombytes("I;16B", (8, 8), DEEP.astype(">u2").tobytes()).save(path),
    ),
    "PGM": ("x.pgm", write_pgm),
}


@pytest.mark.parametrize("kind", DEEP_KINDS)
def test_16_bit_gray_is_scaled_and_not_clipped(tmp_path, kind):
    """Plain Pillow gives white wherever a value is above 255."""
    name, save = DEEP_KINDS[kind]
    save(tree(tmp_path) / name)
    samples = checked(tmp_path)
    expected = np.repeat(DEEP[:, :, None] // 256, 3, 2)
    assert np.array_equal(pixels(samples, f"a/{name}"), expected)
    assert samples.notes() == (DEEP_NOTE,)


def test_pgm_of_12_bits_is_scaled_to_its_own_maximum(tmp_path):
    write_pgm(tree(tmp_path) / "x.pgm", 4095)
    expected = np.repeat(((DEEP // 16).astype(np.int64) * 65535 / 4095 // 256)[:, :, None], 3, 2)
    assert np.abs(pixels(checked(tmp_path), "a/x.pgm") - expected).max() <= 1


def test_16_bit_color_is_what_pillow_makes_of_it_and_is_noted(tmp_path):
    deep = RNG.integers(0, 65536, (8, 8, 3), dtype=np.uint16)
    save_16_bit_color(tree(tmp_path) / "x.png", deep)
    samples = checked(tmp_path)
    assert np.array_equal(pixels(samples, "a/x.png"), deep // 256)
    assert samples.notes() == ("1 image has 16 bits per channel, of which the high 8 are used",)


def save_16_bit_color(path: Path, values: np.ndarray) -> None:
    """Write a PNG file by hand: Pillow writes no 16-bit color."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


REFUSED = {
    "float": (
        "x.tif",
        np.full((8, 8), 0.5, np.float32),
        "floating-point values (mode F), of which no range is black to",
    ),
    "32-bit": (
        "x.tif",
        np.full((8, 8), 70_000, np.int32),
        "32-bit integers (mode I), of which no range is black to white",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_values_without_a_range_are_refused_before_the_run(tmp_path, kind):
    name, values, message = REFUSED[kind]
    Image.fromarray(values).save(tree(tmp_path) / name)
    with pytest.raises(UsageError) as caught:
        checked(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a/{name}: {message}")
    assert str(caught.value).endswith("; convert it to 8 bits")


def test_8_bits_in_16_are_refused_for_all_would_be_black(tmp_path):
    Image.fromarray((DEEP // 256).astype(np.uint16)).save(tree(tmp_path) / "x.png")
    with pytest.raises(UsageError, match=r"no value above 255 of 65535 and would be black; convert them to 8 bits$"):
        checked(tmp_path)


def test_notes_count_the_files_that_are_used(tmp_path):
    folder = tree(tmp_path)
    for index in range(3):
        COLOR.convert("L").save(folder / f"{index}.png")
    WITH_ALPHA.save(folder / "alpha.png")
    samples = open_data(f"imagefolder:{tmp_path}").samples("test")
    assert samples.notes() == ()  # nothing is read yet
    assert check_values(samples, Silent()).notes() == (
        by_pillow("3 gray (L); 1 color with alpha, which is dropped (RGBA)"),
    )
    first = [name for name in samples.ids[:2] if name not in ("a/alpha.png", "b/0.png")]
    few = check_values(samples.first(2), Silent())
    assert f"{len(first)} gray (L)" in few.notes()[0]


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def broken_tree(folder: Path) -> Path:
    """Write 12 images of which 5 are broken, each in another way."""
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for index in range(6):
            COLOR.save(folder / name / f"{index}.{'jpg' if index % 2 else 'png'}")
    cut(folder / "a" / "1.jpg", 0.9)
    cut(folder / "a" / "2.png", 0.8)
    (folder / "a" / "3.jpg").write_bytes(b"")
    (folder / "b" / "1.jpg").write_text("<html>404 Not Found</html>")
    content = bytearray((folder / "b" / "2.png").read_bytes())
    content[60] ^= 255
    (folder / "b" / "2.png").write_bytes(content)
    return folder


BROKEN = {"a/1.jpg", "a/2.png", "a/3.jpg", "b/1.jpg", "b/2.png"}


def test_damaged_files_are_left_out_and_named(tmp_path):
    folder = broken_tree(tmp_path / "broken")
    every = open_data(f"imagefolder:{folder}").samples("test")
    samples = check_values(every, Silent())
    assert len(every) == 12
    assert set(samples.ids) == set(every.ids) - BROKEN
    assert samples.ids == tuple(name for name in every.ids if name not in BROKEN)
    (note,) = samples.notes()
    assert note.startswith("5 of 12 files are damaged and left out: ")
    assert set(note.partition(": ")[2].split(", ")) == BROKEN
    images, labels = samples.batch(range(len(samples)))
    assert labels.tolist() == ["ab".index(name[0]) for name in samples.ids]
    assert len(images) == 7
    assert check_values(samples, Silent()) is samples  # it is read once
    for name in BROKEN:
        (folder / name).unlink()
    rest = checked(folder)  # in another order
    assert sorted(rest.ids) == sorted(samples.ids)
    assert rest.notes() == ()


def test_identity_follows_the_files_that_are_used(tmp_path):
    folder = broken_tree(tmp_path / "broken")
    before = checked(folder)
    assert checked(folder).sha256() == before.sha256()
    (folder / "a" / "3.jpg").write_bytes(b"other rubbish")
    assert checked(folder).sha256() == before.sha256()
    COLOR.save(folder / "a" / "3.jpg")
    assert checked(folder).sha256() != before.sha256()


def test_damaged_files_may_be_refused(tmp_path):
    folder = broken_tree(tmp_path / "broken")
    with pytest.raises(UsageError) as caught:
        checked(folder, ",damaged=refuse")
    assert re.fullmatch(
        rf"{folder}: 5 of 12 files are damaged: (\S+) \((?!.*the file\)).+\), (\S+, ){{3}}\S+; "
        "repair or remove them, or omit damaged=refuse",
        str(caught.value),
    )
    with pytest.raises(UsageError, match=r": damaged=ignore; write damaged=skip or damaged=refuse$"):
        checked(folder, ",damaged=ignore")


def test_more_than_half_is_too_much(tmp_path):
    folder = broken_tree(tmp_path / "broken")
    for index in (0, 3):
        next((folder / "b").glob(f"{index}.*")).write_bytes(b"")
    with pytest.raises(UsageError, match=r": 7 of 12 files are damaged: .* and 1 more; repair or remove them$"):
        checked(folder)


def test_no_readable_header_at_all_is_named(tmp_path):
    (tree(tmp_path) / "x.png").write_bytes(b"no image")
    (tmp_path / "b" / "0.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"\.png: not a readable image \(.*\); repair or remove it$"):
        checked(tmp_path)


def test_truncated_files_are_found_even_if_the_users_code_has_pillow_pass_them(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert len(checked(broken_tree(tmp_path / "broken"))) == 7
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_file_that_cannot_be_opened_is_not_damaged_but_refused(tmp_path):
    COLOR.save(tree(tmp_path) / "x.png")
    samples = open_data(f"imagefolder:{tmp_path}").samples("test")
    (tmp_path / "a" / "x.png").unlink()
    with pytest.raises(UsageError, match=r"a/x\.png: cannot be read \(No such file or directory\)$"):
        check_values(samples, Silent())

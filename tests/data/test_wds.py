"""WebDataset shards: the samples that WebDataset reads, in its order; and whatever is wrong with a shard names it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from stein_bench.data import Resize, open_data
from stein_bench.data.braces import expand_braces, outside_braces
from stein_bench.data.samples import batches
from stein_bench.errors import UsageError
from tests.data.known import COUNT, LABELS, as_inputs, check_known, clean_accuracy, known_images, opened, plain_accuracy


def png(index):
    stream = io.BytesIO()
    Image.fromarray(known_images()[index]).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path, files):
    """Write (name, content) as members of a tar file."""
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def files(rows, label="cls", image="png", key="{:06d}"):
    """The members of these rows of the known images, as in WebDataset's README."""
    for index in rows:
        yield f"{key.format(index)}.{image}", png(index)
        number = int(LABELS[index])
        content = str(number) if label == "cls" else json.dumps({label: number, "text": "a photo"})
        yield f"{key.format(index)}.{'cls' if label == 'cls' else 'json'}", content.encode()


def shards(folder, *, size=10, **options):
    """Write shards of some samples each, and return the pattern."""
    parts = [range(start, min(start + size, COUNT)) for start in range(0, COUNT, size)]
    for number, rows in enumerate(parts):
        write_tar(folder / f"test-{number:06d}.tar", files(rows, **options))
    return f"{folder}/test-{{000000..{len(parts) - 1:06d}}}.tar"


FORMS = {
    "numbers in .cls": ({}, ""),
    "numbers in .json": ({"label": "label"}, ""),
    "another key": ({"label": "category"}, ",label=category"),
    "folders": ({"key": "n01/{}"}, ""),
    "names with dots": ({"image": "input.png"}, ""),
    "upper case": ({"image": "PNG"}, ",image=png"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_known_samples(tmp_path, form):
    options, given = FORMS[form]
    samples = check_known(f"wds:{shards(tmp_path, **options)}{given}")
    key = options.get("key", "{:06d}")
    assert samples.ids == tuple(key.format(index) for index in range(COUNT))
    assert torch.equal(samples.batch([5, 3])[0], as_inputs(known_images())[[5, 3]])


def test_shards_of_the_library_are_read_as_it_reads_them(tmp_path):
    wds = pytest.importorskip("webdataset")
    for number in range(3):
        with wds.TarWriter(f"{tmp_path}/s-{number:03d}.tar") as sink:
            for index in range(number * 8, number * 8 + 8):
                image = Image.fromarray(known_images()[index])
                sink.write({"__key__": f"{index:04d}", "png": image, "cls": int(LABELS[index]), "json": {"label": 9}})
    pattern = f"{tmp_path}/s-{{000..002}}.tar"
    samples = check_known(f"wds:{pattern}")
    read = list(wds.WebDataset(pattern, shardshuffle=False).decode("torchrgb"))
    assert samples.ids == tuple(one["__key__"] for one in read)
    images, labels = samples.batch(range(COUNT))
    assert torch.equal(images, torch.stack([one["png"] for one in read]))
    assert labels.tolist() == [one["cls"] for one in read]


def test_the_clean_accuracy_is_that_of_plain_pytorch(tmp_path):
    assert clean_accuracy(f"wds:{shards(tmp_path)}", tmp_path) == plain_accuracy(tmp_path)


def test_patterns(tmp_path):
    whole = shards(tmp_path, size=12)
    check_known(f"wds:{tmp_path}/test-*.tar")
    check_known(f"wds:{tmp_path}/test-{{000000,000001}}.tar")
    check_known(f"wds:{tmp_path}/test-000000.tar::{tmp_path}/test-000001.tar")
    assert opened(f"wds:{tmp_path}/test-{{000001,000000}}.tar").ids[0] == "000012"
    source = open_data(f"wds:{whole}")
    assert source.name == "wds:test-{000000..000001}.tar"
    assert (source.splits, source.native_size, source.label_space) == (("test",), 8, None)


def test_training_shards(tmp_path):
    test = shards(tmp_path)
    write_tar(tmp_path / "train-0.tar", files([5, 4]))
    write_tar(tmp_path / "train-1.tar", [*files([3]), ("x.png", png(0)), ("x.cls", b"7\n")])
    source = open_data(f"wds:{test},train={tmp_path}/train-{{0,1}}.tar")
    assert source.splits == ("train", "test")
    assert source.samples("train").labels.tolist() == [2, 1, 0, 7]
    assert len(source.classes) == 8
    with pytest.raises(UsageError, match="has no split 'train'; name its shards with train=PATTERN"):
        opened(f"wds:{test}", "train")
    with pytest.raises(UsageError, match=r"test-000000\.tar: is named for training and for evaluation"):
        open_data(f"wds:{test},train={tmp_path}/t*.tar")


def test_keys_that_occur_in_several_shards_get_the_name_of_theirs(tmp_path):
    write_tar(tmp_path / "a.tar", files([0, 1]))
    write_tar(tmp_path / "b.tar", files([0, 2]))
    samples = opened(f"wds:{tmp_path}/?.tar")
    assert samples.ids == ("a.tar/000000", "a.tar/000001", "b.tar/000000", "b.tar/000002")


def test_what_is_no_file_of_a_sample_is_skipped(tmp_path):
    """As by WebDataset: folders, metadata, names without an extension."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("data")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in [
            ("__meta__/a.json", b"{}"),
            ("README", b"x"),
            ("data/._0.png", b"x"),
            *files([0, 1, 2], key="data/{}"),
        ]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert opened(f"wds:{path}").ids == ("data/0", "data/1", "data/2")


def test_long_names_and_the_limit(tmp_path):
    long = "long/" * 30 + "{:06d}"
    samples = opened(f"wds:{shards(tmp_path, key=long)}")
    assert samples.first(3).ids == tuple(long.format(index) for index in range(3))
    assert samples.first(3).sha256() != samples.sha256()


def broken(content):
    return lambda path: path.write_bytes(content(path.read_bytes()))


HEADER = 512
WRONG_FILES = {
    "cut off in a member": (broken(lambda data: data[:700]), "is cut off in 000000.png; write it again"),
    "cut off between members": (
        broken(lambda data: data[: 2 * HEADER * (len(png(0)) // HEADER + 2)]),
        "has no end mark and may be cut off",
    ),
    "a damaged header": (
        broken(lambda data: data.replace(b"000001.png", b"000009.png", 1)),
        "has a damaged header at byte",
    ),
    "compressed": (broken(gzip.compress), "is compressed (gzip), and its samples cannot be read one by one"),
    "no tar": (broken(lambda data: b"x" * 2000), "not a readable tar file"),
    "empty": (broken(lambda data: b""), "not a readable tar file (empty file)"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_broken_shards_are_named(tmp_path, what):
    pattern = shards(tmp_path)
    second = tmp_path / "test-000001.tar"
    damage, message = WRONG_FILES[what]
    if what in ("cut off in a member", "cut off between members", "a damaged header"):
        write_tar(second, files([0, 1, 2]))
    damage(second)
    with pytest.raises(UsageError) as caught:
        open_data(f"wds:{pattern}")
    assert f"{second}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


IMAGE, CLS = ("a.png", png(0)), ("a.cls", b"1")
WRONG_SAMPLES = {
    "no image": ([CLS], "", "sample 'a' has no image: it has cls"),
    "two images": ([IMAGE, ("a.seg.png", png(1)), CLS], "", "several images (png, seg.png): write image=EXTENSION"),
    "no such image": ([IMAGE, CLS], ",image=jpg", "sample 'a' has no file 'jpg': it has png, cls"),
    "no label": ([IMAGE], "", "sample 'a' has no label: no .cls, and no .json beside the image"),
    "no .json": ([IMAGE, CLS], ",label=y", "sample 'a' has no label: no .json beside the image"),
    "no such key": ([IMAGE, ("a.json", b'{"y": 1}')], "", "its .json has no 'label', but y: write label=KEY"),
    "no dictionary": ([IMAGE, ("a.json", b"[1]")], "", "its .json has no 'label', but list"),
    "broken .json": ([IMAGE, ("a.json", b"{")], "", "its .json cannot be read ("),
    "a name": ([IMAGE, ("a.cls", b"cat")], "", "its .cls holds 'cat', no class index from 0 on"),
    "a negative label": ([IMAGE, ("a.json", b'{"label": -1}')], "", "its .json holds '-1', no class index"),
    "a fraction": ([IMAGE, ("a.json", b'{"label": 1.5}')], "", "its .json holds '1.5', no class index"),
    "apart": ([IMAGE, ("b.cls", b"1"), CLS], "", "the files of sample 'a' are not next to each other"),
    "twice": ([IMAGE, CLS, CLS], "", "has a.cls twice"),
    "no samples": ([], "", "the shards hold no samples"),
    "no picture": ([("a.png", b"x"), CLS, ("b.png", png(0)), ("b.cls", b"0")], "", "a.png: not a readable image"),
    "an option": ([IMAGE, CLS], ",key=3", "unknown option of wds 'key'"),
}


@pytest.mark.parametrize("what", WRONG_SAMPLES)
def test_what_is_wrong_with_a_sample_is_said_in_one_line(tmp_path, what):
    members, options, message = WRONG_SAMPLES[what]
    with pytest.raises(UsageError) as caught:
        opened(f"wds:{write_tar(tmp_path / 'x.tar', members)}{options}").batch([0])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "wds needs shards: wds:PATTERN"),
        ("{folder}/nothing-{0..1}.tar", "nothing-0.tar: no such shard"),
        ("{folder}", ": a folder, not a shard; write wds:"),
        ("https://host/a.tar", "https://host/a.tar: only files are read; download the shards first"),
        ("{folder}/x-{0..1.tar", "the braces are not balanced"),
    ],
)
def test_patterns_that_are_refused(tmp_path, pattern, message):
    with pytest.raises(UsageError) as caught:
        open_data(f"wds:{pattern.replace('{folder}', str(tmp_path))}")
    assert message in str(caught.value)


def test_images_of_several_sizes_are_resized(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(known_images()[0][:6]).save(stream, "JPEG")
    path = write_tar(tmp_path / "x.tar", [*files([0, 1]), ("z.jpg", stream.getvalue()), ("z.cls", b"2")])
    source = open_data(f"wds:{path}")
    with pytest.raises(UsageError, match=r"images differ in size \(.*x\.tar: z\.jpg 8×6\); give --image-size"):
        source.samples("test")
    assert source.samples("test", Resize(6)).batch(range(3))[0].shape == (3, 3, 6, 6)


@pytest.mark.slow
def test_processes_read_the_same(tmp_path):
    samples = opened(f"wds:{shards(tmp_path)}")
    here, there = (list(batches(samples, 9, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(one[1], other[1]) for one, other in zip(here, there, strict=True))


BRACES = [
    ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
    ("{9..11}", ["9", "10", "11"]),
    ("{09..11}{a,b}", ["09a", "09b", "10a", "10b", "11a", "11b"]),
    ("{0..10..5}", ["0", "5", "10"]),
    ("{2..0}", ["2", "1", "0"]),
    ("x{,y}", ["x", "xy"]),
    ("{a{1..2},b}", ["a1", "a2", "b"]),
    ("{a..e..2}", ["a", "c", "e"]),
    ("{a}-{1..2}", ["{a}-1", "{a}-2"]),
    ("\\{1..2\\}", ["{1..2}"]),
    ("a,b", ["a,b"]),
]


@pytest.mark.parametrize(("pattern", "expected"), BRACES)
def test_braces(pattern, expected):
    assert expand_braces(pattern) == expected
    library = pytest.importorskip("braceexpand")
    assert list(library.braceexpand(pattern)) == expected


def test_commas_within_braces_separate_nothing():
    assert outside_braces("a{b,c},d{e,{f,g}},h\\,i", ",") == ["a{b,c}", "d{e,{f,g}}", "h\\,i"]

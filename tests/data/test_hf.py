"""Hugging Face's `datasets`: every way to keep a data set gives its samples exactly, and nothing is downloaded."""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.data import Resize, open_data
from stein_bench.data.hffeatures import label_space
from stein_bench.data.samples import IMAGENET, OWN, batches
from stein_bench.errors import UsageError
from tests.data.known import COUNT, LABELS, check_known, clean_accuracy, known_images, opened, plain_accuracy

NAMES = ("red", "green", "blue")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The library, with a cache of its own, without progress bars, and without a network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hf cache")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was used"))
    library.disable_progress_bars()
    yield library
    library.enable_progress_bars()


def table(datasets, rows=range(COUNT), **columns):
    """Return the known images, or the `rows` of them, with further columns."""
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    values = {"image": [Image.fromarray(known_images()[i]) for i in rows], "label": [int(LABELS[i]) for i in rows]}
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    keep = {name: feature for name, feature in features.items() if feature is not None}
    return datasets.Dataset.from_dict({name: values[name] for name in keep}, features=datasets.Features(keep))


def save(datasets, folder, splits):
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return f"hf:{folder}"


def saved(datasets, folder):
    return save(datasets, folder, {"train": table(datasets, range(3)), "test": table(datasets)})


def parquet(datasets, folder):
    folder.mkdir()
    table(datasets, range(3)).to_parquet(folder / "train-00000-of-00001.parquet")
    table(datasets).to_parquet(folder / "test-00000-of-00001.parquet")
    return f"hf:{folder}"


def imagefolder(datasets, folder):
    for index, image in enumerate(known_images()):
        for split in ("train", "test"):
            # numbered: the folders are sorted
            place = folder / split / f"{LABELS[index]} {NAMES[LABELS[index]]}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{index}.png")
    return f"hf:{folder}"


def cached(datasets, folder):
    """As `load_dataset("org/known")` leaves it in the cache."""
    datasets.load_dataset(parquet(datasets, folder)[3:])
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    (cache / folder.name).rename(cache / "org___known")
    return "hf:org/known"


FORMS = {"save_to_disk": saved, "Parquet": parquet, "imagefolder": imagefolder, "the cache": cached}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_known_samples(tmp_path, datasets, form):
    spec = FORMS[form](datasets, tmp_path / "known")
    samples = check_known(spec)
    source = open_data(spec)
    assert source.splits == ("train", "test")
    assert [name.rpartition(" ")[2] for name in source.classes] == list(NAMES)
    assert (source.label_space, source.native_size, source.uniform) == (OWN, 8, True)
    assert samples.ids[0] == f"{'org/known' if form == 'the cache' else 'known'}/test/0000"
    assert len(source.samples("train")) in (3, COUNT)
    assert source.name == ("hf:org/known" if form == "the cache" else "hf:known")


def test_the_clean_accuracy_is_that_of_plain_pytorch(tmp_path, datasets):
    assert clean_accuracy(saved(datasets, tmp_path / "known"), tmp_path) == plain_accuracy(tmp_path)


def test_images_are_those_that_the_library_decodes(tmp_path, datasets):
    """EXIF orientation is applied, palettes and gray become RGB."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.fromarray(known_images()[0][:6]).save(turned, "JPEG", exif=exif)
    images = [
        {"bytes": turned.getvalue(), "path": None},
        *(Image.fromarray(known_images()[i][:, :6]).convert(mode) for i, mode in ((1, "L"), (2, "P"), (3, "RGBA"))),
    ]
    one = table(datasets, range(4), image=(datasets.Image(), images))
    samples = opened(save(datasets, tmp_path / "x", {"test": one}))
    expected = [np.asarray(row["image"].convert("RGB")) for row in one]
    assert samples.shape == (3, 8, 6)
    assert torch.equal(samples.batch(range(4))[0], torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2) / 255)


def test_splits_are_chosen_with_a_note(tmp_path, datasets):
    whole, part = table(datasets), table(datasets, range(5))
    spec = save(datasets, tmp_path / "x", {"train": whole, "validation": part, "extra": whole})
    assert opened(spec).notes() == ("hf:x has no split 'test': 'validation' is evaluated",)
    assert opened(f"{spec},split=extra").notes() == ("the split 'extra' of hf:x is evaluated, as given",)
    source = open_data(f"{spec},split=train")
    assert source.splits == ("test",)
    assert len(source.samples("test")) == COUNT
    assert len(open_data(f"{spec},train=extra").samples("train")) == COUNT
    table(datasets, range(4)).save_to_disk(tmp_path / "one")
    assert len(opened(f"hf:{tmp_path / 'one'}")) == 4


def test_columns_that_are_named(tmp_path, datasets):
    flipped = (datasets.Image(), [Image.fromarray(image[::-1]) for image in known_images()])
    coarse = (datasets.ClassLabel(names=["a", "b"]), [0, 1] * 12)
    spec = save(datasets, tmp_path / "x", {"test": table(datasets, flipped=flipped, coarse=coarse)})
    check_known(f"{spec},image=image,label=label")
    other = opened(f"{spec},image=flipped,label=coarse")
    assert other.classes == ("a", "b")
    assert torch.equal(other.batch([3])[0][0], torch.from_numpy(known_images()[3][::-1].copy()).movedim(-1, 0) / 255)


def test_whole_numbers_are_labels_without_names(tmp_path, datasets):
    numbers = (datasets.Value("int64"), LABELS.tolist())
    spec = save(datasets, tmp_path / "x", {"test": table(datasets, label=numbers)})
    assert check_known(spec).classes == ("0", "1", "2")
    assert open_data(spec).label_space is None


def test_labels_are_those_of_imagenet_only_if_all_names_are():
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    words = tuple(info.index_to_description(label) for label in range(1000))
    assert label_space(tuple(info.label_names())) == label_space(words) == IMAGENET
    assert label_space(tuple(reversed(words))) == label_space(words[:10]) == OWN
    assert label_space(None) is None


def several(datasets, folder, **changes):
    return save(datasets, folder, {"train": table(datasets, range(3)), "test": table(datasets, **changes)})


def refusals(datasets):
    whole, strings = datasets.Value("int64"), datasets.Value("string")
    image = (datasets.Image(), [Image.fromarray(image) for image in known_images()])
    deep = Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32))
    return {
        "unknown split": ({}, ",split=tset", "unknown split of hf:x 'tset'. Did you mean 'test'?"),
        "training on the test split": ({}, ",train=test", "train=test names the evaluated split itself"),
        "unknown option": ({}, ",columns=3", "unknown option of hf 'columns'"),
        "unknown column": ({}, ",image=imag", "unknown column of hf:x (test) 'imag'. Did you mean 'image'?"),
        "no image": ({}, ",image=label", "the column 'label' is ClassLabel, no image"),
        "two images": ({"mask": image}, "", "has the image columns image and mask: write image=COLUMN"),
        "two labels": ({"coarse": (datasets.ClassLabel(names=["a", "b"]), [0, 1] * 12)}, "", "write label=COLUMN"),
        "names": ({"label": (strings, ["cat"] * COUNT)}, "", "class_encode_column makes one of names"),
        "label maps": ({"label": (datasets.Array2D((1, 1), "int64"), [[[0]]] * COUNT)}, "", "label (Array2D)"),
        "no image column": ({"image": (None, None)}, "", "has no image column; it has label (ClassLabel): cast_column"),
        "other labels": ({"label": (whole, [1] * COUNT)}, ",train=train", "differs between the splits train and test"),
        "floats": ({"image": (datasets.Image(), [deep] * COUNT)}, "", "row 0 of hf:x (test): floating-point values"),
        "no pixels": ({"image": (datasets.Image(), [None] * COUNT)}, "", "row 0 of hf:x (test): there is no image"),
        "config": ({}, ",config=a", "was written by save_to_disk, which keeps one configuration: omit config="),
    }


def test_what_is_wrong_is_said_in_one_line(tmp_path, datasets):
    for number, (what, (changes, options, message)) in enumerate(refusals(datasets).items()):
        spec = several(datasets, tmp_path / str(number) / "x", **changes) + options
        with pytest.raises(UsageError) as caught:
            opened(spec).batch([0])
        assert message in str(caught.value), what
        assert "\n" not in str(caught.value)


def test_unlabeled_test_splits_are_refused(tmp_path, datasets):
    """As ImageNet's on the hub."""
    hidden = table(datasets, label=(datasets.Value("int64"), [-1] * COUNT))
    with pytest.raises(UsageError, match=r"rows without a label \(none or -1\): evaluate another split, split=NAME"):
        opened(save(datasets, tmp_path / "x", {"test": hidden}))


def test_a_split_that_only_says_train_is_not_evaluated(tmp_path, datasets):
    spec = save(datasets, tmp_path / "x", {"train": table(datasets)})
    with pytest.raises(UsageError, match="hf:x has no split test or validation, only train: write split=NAME"):
        opened(spec)
    check_known(f"{spec},split=train")


@pytest.mark.parametrize("name", ["org/missing", "missing"])
def test_a_name_that_is_not_in_the_cache_says_how_to_get_it(datasets, name):
    with pytest.raises(UsageError) as caught:
        opened(f"hf:{name}")
    assert str(caught.value) == (
        f"hf:{name}: neither a folder nor in the cache of `datasets`; nothing is downloaded: run "
        f"python -c \"import datasets; datasets.load_dataset('{name}')\" once"
    )


@pytest.mark.parametrize("name", ["csv", "./nothing", "a/b/c", "imagefolder"])
def test_names_that_are_no_folder_and_none_of_the_hub(datasets, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=f"hf:{name}: no such folder"):
        opened(f"hf:{name}")


def test_images_of_several_sizes_are_resized(tmp_path, datasets):
    images = [Image.fromarray(image[: 7 + i % 2]) for i, image in enumerate(known_images())]
    source = open_data(save(datasets, tmp_path / "x", {"test": table(datasets, image=(datasets.Image(), images))}))
    with pytest.raises(UsageError, match=r"images differ in size \(.*\); give --image-size"):
        source.samples("test")
    assert source.samples("test", Resize(6)).batch(range(COUNT))[0].shape == (COUNT, 3, 6, 6)


@pytest.mark.slow
def test_processes_read_the_same(tmp_path, datasets):
    samples = opened(saved(datasets, tmp_path / "known"))
    here, there = (list(batches(samples, 9, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(one[1], other[1]) for one, other in zip(here, there, strict=True))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"hf: needs Hugging Face's library datasets: pip install 'stein-bench\[hf\]'"):
        open_data("hf:mnist")

"""CIFAR through torchvision, on tiny files in the published format."""

from __future__ import annotations

import hashlib
import pickle
import socket
import sys
import urllib.error

import numpy as np
import pytest
import torch
from torchvision import datasets

from stein_bench.data import Resize, open_data
from stein_bench.data.cifar import CLASSES
from stein_bench.errors import UsageError

RNG = np.random.default_rng(5)
FORMATS = {
    "cifar10": (datasets.CIFAR10, ["data_batch_1", "data_batch_2"], ["test_batch"], "labels"),
    "cifar100": (datasets.CIFAR100, ["train"], ["test"], "fine_labels"),
}


def write(path, content):
    data = pickle.dumps(content)
    path.write_bytes(data)
    return [path.name, hashlib.md5(data).hexdigest()]


@pytest.fixture(params=FORMATS)
def tiny(request, tmp_path, monkeypatch):
    """A tiny CIFAR on the disk: its name, its root, and its test pixels (n, 3, 32, 32)."""
    kind, train, test, key = FORMATS[request.param]
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    pixels = {name: RNG.integers(0, 256, (4, 3072), dtype=np.uint8) for name in (*train, *test)}
    sums = {name: write(folder / name, {"data": data, key: [3, 1, 0, 9]}) for name, data in pixels.items()}
    meta = write(folder / kind.meta["filename"], {kind.meta["key"]: list(CLASSES[request.param])})
    monkeypatch.setattr(kind, "train_list", [sums[name] for name in train])
    monkeypatch.setattr(kind, "test_list", [sums[name] for name in test])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    return request.param, tmp_path, pixels[test[0]].reshape(-1, 3, 32, 32)


def test_images_labels_and_ids_arrive_in_the_published_order(tiny):
    name, root, pixels = tiny
    source = open_data(f"{name}:{root}")
    samples = source.samples("test")
    images, labels = samples.batch(range(4))
    assert torch.equal(images, torch.from_numpy(pixels) / 255)
    assert labels.tolist() == [3, 1, 0, 9]
    assert samples.ids[1] == f"{name}/test/0001"
    assert samples.shape == (source.channels, source.native_size, source.native_size)
    assert source.samples("train", Resize(16)).shape == (3, 16, 16)
    assert len(source.samples("train")) == (8 if name == "cifar10" else 4)


def test_class_names_are_those_of_the_published_sets():
    assert len(set(CLASSES["cifar10"])) == 10
    assert len(set(CLASSES["cifar100"])) == 100
    assert list(CLASSES["cifar100"]) == sorted(CLASSES["cifar100"])
    assert open_data("cifar10").classes[3] == "cat"
    assert (open_data("cifar100").classes[41], open_data("cifar100").classes[99]) == ("lawn_mower", "worm")


def test_damaged_and_missing_files_are_refused(tiny):
    name, root, _ = tiny
    source = open_data(f"{name}:{root}")
    file = next(path for path in (root / FORMATS[name][0].base_folder).iterdir() if "test" in path.name)
    file.write_bytes(file.read_bytes() + b"x")
    reason = r"files are missing, unreadable or damaged \(MD5\); get https://.*tar\.gz and unpack it in"
    with pytest.raises(UsageError, match=reason):
        source.samples("test")
    file.unlink()
    with pytest.raises(UsageError, match=reason):
        source.samples("train")


def test_a_root_without_the_folder_is_refused_when_opened(tmp_path):
    with pytest.raises(UsageError, match=r"cifar-10-batches-py: no such folder; cifar10:ROOT needs the unpacked"):
        open_data(f"cifar10:{tmp_path}")
    with pytest.raises(UsageError, match="cifar-100-python: no such folder"):
        open_data(f"cifar100:{tmp_path / 'none'}")
    with pytest.raises(UsageError, match="cifar10: no folder given"):
        open_data("cifar10:")


def test_the_inner_folder_given_as_root_is_noticed(tiny):
    name, root, _ = tiny
    with pytest.raises(UsageError, match=f"; write {name}:{root}$"):
        open_data(f"{name}:{root / FORMATS[name][0].base_folder}")


def test_without_root_the_cache_is_used_and_needs_no_network_when_full(tiny, monkeypatch, capsys):
    name, root, pixels = tiny
    folder = FORMATS[name][0].base_folder
    (root / "cache" / "data").mkdir(parents=True)
    (root / folder).rename(root / "cache" / "data" / folder)
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(root / "cache"))
    images, _ = open_data(name).samples("test").batch([2])
    assert torch.equal(images[0], torch.from_numpy(pixels[2]) / 255)
    assert capsys.readouterr().out == ""


def test_a_failed_download_says_how_to_place_the_files(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        sys.stdout.write("Downloading")
        assert socket.getdefaulttimeout() == 30
        raise urllib.error.URLError("no\nroute")

    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(UsageError) as caught:
        open_data("cifar10").samples("train")
    message = str(caught.value)
    assert message.startswith("cifar10 could not be downloaded (<urlopen error no route>); get https://")
    assert message.endswith(f"unpack it in {tmp_path / 'data'}")
    assert capsys.readouterr().out == ""
    assert socket.getdefaulttimeout() is None


def test_there_is_no_other_split(tiny):
    name, root, _ = tiny
    with pytest.raises(UsageError, match=f"{name} has no split 'val'; it has train and test"):
        open_data(f"{name}:{root}").samples("val")

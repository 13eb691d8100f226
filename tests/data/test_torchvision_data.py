"""MNIST and its kin, SVHN, STL-10 and Imagenette, on tiny files in the published formats."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms.functional import to_tensor

from stein_bench.config import make_config
from stein_bench.data import Resize, open_data
from stein_bench.errors import UsageError
from stein_bench.models.sources import find_model
from stein_bench.preparation.plan import check_model, prepare
from stein_bench.preparation.untrained import build_untrained
from tests.data.known import COUNT, LABELS, as_inputs, known_images, opened
from tests.data.published import register_stl10, register_svhn, write_idx, write_mnist, write_stl10, write_svhn
from tests.tiny import write_model

IMAGES = known_images()
TENTHS = np.arange(COUNT) % 10


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is ever downloaded."""
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a download was tried"))


def enlarged(side):
    """The known images, their pixels repeated (and cut) to fill `side`."""
    times = -(-side // 8)
    return IMAGES.repeat(times, 1).repeat(times, 2)[:, :side, :side]


def refusal(spec, split="test"):
    with pytest.raises(UsageError) as caught:
        open_data(spec).samples(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_as_torchvision(samples, dataset):
    """Check images and labels against torchvision's own, image by image."""
    images, labels = samples.batch(range(len(samples)))
    assert torch.equal(images, torch.stack([to_tensor(image) for image, _ in dataset]))
    assert labels.tolist() == [label for _, label in dataset]


@pytest.mark.parametrize(
    ("name", "class_name", "third"),
    [
        ("mnist", "MNIST", "3 - three"),
        ("fashion-mnist", "FashionMNIST", "Dress"),
        ("fashionmnist", "FashionMNIST", "Dress"),
        ("kmnist", "KMNIST", "tsu"),
    ],
)
def test_mnist_and_its_kin_keep_their_one_channel(tmp_path, name, class_name, third):
    gray = enlarged(28)[..., 0]
    write_mnist(tmp_path, class_name, gray, TENTHS)
    source = open_data(f"{name}:{tmp_path}")
    samples = source.samples("test")
    assert torch.equal(samples.batch(range(COUNT))[0], torch.from_numpy(gray)[:, None] / 255)
    assert samples.labels.tolist() == TENTHS.tolist()
    same_as_torchvision(samples, getattr(datasets, class_name)(str(tmp_path), train=False))
    same_as_torchvision(source.samples("train"), getattr(datasets, class_name)(str(tmp_path), train=True))
    assert (source.channels, source.native_size, samples.shape) == (1, 28, (1, 28, 28))
    assert (source.classes[3], len(source.classes)) == (third, 10)
    assert samples.ids[1].endswith("mnist/test/0001")


def test_a_gray_channel_is_repeated_when_asked_and_a_model_of_three_says_so(tmp_path):
    write_mnist(tmp_path, "MNIST", enlarged(28)[..., 0], TENTHS)
    gray, colored = (opened(f"mnist:{tmp_path}{option}") for option in ("", ",channels=3"))
    assert torch.equal(colored.batch([5])[0], gray.batch([5])[0].expand(-1, 3, -1, -1))
    assert colored.notes() == ("the gray channel is repeated to 3",)
    with pytest.raises(UsageError, match=r"takes images of 3 channels, not 1\. Add ,channels=3 to --data"):
        find_model("torchvision:resnet18").build(num_classes=10, in_channels=gray.shape[0])
    plan = prepare(make_config({"model": write_model(tmp_path), "data": f"mnist:{tmp_path}", "weights": "none"}))
    with pytest.raises(
        UsageError, match=r"rejects inputs of shape 1×28×28: .* for a model of three, add ,channels=3 to"
    ):
        check_model(plan, build_untrained(plan))


def test_svhn_is_checked_and_its_label_10_is_the_digit_0(tmp_path, monkeypatch):
    for split in ("train", "test"):
        register_svhn(monkeypatch, split, write_svhn(tmp_path, split, enlarged(32), TENTHS))
    source = open_data(f"svhn:{tmp_path}")
    samples = source.samples("test")
    assert torch.equal(samples.batch(range(COUNT))[0], as_inputs(enlarged(32)))
    assert samples.labels.tolist() == TENTHS.tolist()
    same_as_torchvision(samples, datasets.SVHN(str(tmp_path), split="test"))
    assert source.classes == tuple("0123456789")
    assert source.samples("train", Resize(16)).shape == (3, 16, 16)
    file = tmp_path / "test_32x32.mat"
    file.write_bytes(file.read_bytes() + b"x")
    assert refusal(f"svhn:{tmp_path}") == (
        f"{tmp_path}: the test split is unreadable or damaged (Dataset not found or corrupted); remove its files, and "
        f"torchvision.datasets.SVHN('{tmp_path}', split='test', download=True) gets them"
    )
    file.unlink()
    assert refusal(f"svhn:{tmp_path}") == (
        f"{tmp_path}: lacks test_32x32.mat; "
        f"torchvision.datasets.SVHN('{tmp_path}', split='test', download=True) gets them"
    )


def test_stl10_is_read_by_columns_and_needs_no_unlabeled_images(tmp_path, monkeypatch):
    for split in ("train", "test"):
        register_stl10(monkeypatch, split, write_stl10(tmp_path, split, enlarged(96), TENTHS))
    source = open_data(f"stl10:{tmp_path}")
    for split in source.splits:
        samples = source.samples(split)
        assert torch.equal(samples.batch(range(COUNT))[0], as_inputs(enlarged(96)))
        assert samples.labels.tolist() == TENTHS.tolist()
    monkeypatch.setattr(datasets.STL10, "train_list", datasets.STL10.train_list[:2])
    same_as_torchvision(samples, datasets.STL10(str(tmp_path), split="test"))
    assert (source.classes[0], source.classes[9], source.native_size) == ("airplane", "truck", 96)
    (tmp_path / "stl10_binary" / "test_y.bin").write_bytes(bytes(COUNT))
    assert "stl10_binary: the test split is unreadable or damaged (" in refusal(f"stl10:{tmp_path}")
    (tmp_path / "stl10_binary" / "train_X.bin").unlink()
    assert "stl10_binary: lacks train_X.bin; torchvision.datasets.STL10(" in refusal(f"stl10:{tmp_path}", "train")


def test_what_is_missing_or_damaged_or_elsewhere_is_said(tmp_path):
    folder = write_mnist(tmp_path, "MNIST", enlarged(28)[..., 0], TENTHS)
    for inner in (folder, folder.parent):
        assert f"but ROOT is the folder above; write mnist:{tmp_path}" in refusal(f"mnist:{inner}")
    assert "mnist: no folder given; write mnist:ROOT" in refusal("mnist:")
    assert "mnist has no split 'val'; it has train and test" in refusal(f"mnist:{tmp_path}", "val")
    write_idx(folder / "t10k-labels-idx1-ubyte", TENTHS[:5])
    assert "(24 images of 28×28, 5 labels); remove its files, and torchvision.datasets.MNIST(" in refusal(
        f"mnist:{tmp_path}"
    )
    write_idx(folder / "t10k-labels-idx1-ubyte", TENTHS + 7)
    assert "(labels from 7 to 16)" in refusal(f"mnist:{tmp_path}")
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"no images")
    assert "MNIST/raw: the test split is unreadable or damaged (" in refusal(f"mnist:{tmp_path}")
    (folder / "t10k-images-idx3-ubyte").unlink()
    assert refusal(f"mnist:{tmp_path}") == (
        f"{folder}: lacks t10k-images-idx3-ubyte; torchvision.datasets.MNIST('{tmp_path}', download=True) gets them"
    )
    packed = write_mnist(tmp_path / "packed", "KMNIST", enlarged(28)[..., 0], TENTHS, packed=True)
    assert f"{packed}: unpack train-images-idx3-ubyte.gz, train-labels" in refusal(f"kmnist:{tmp_path / 'packed'}")


WNIDS = ("n01440764", "n02102040", "n03888257")  # tench, English springer, parachute


def write_imagenette(folder):
    for split in ("train", "val"):
        for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
            path = folder / split / WNIDS[label] / f"ILSVRC2012_val_{index:08d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, "JPEG")


def test_imagenette_has_the_labels_of_imagenet(tmp_path):
    write_imagenette(tmp_path / "imagenette2-160")
    source = open_data(f"imagenette:{tmp_path}")
    samples = source.samples("test")
    images, labels = samples.batch(range(COUNT))
    theirs = datasets.Imagenette(str(tmp_path), split="val", size="160px")
    expected = {
        path.split("/")[-1]: (to_tensor(image), theirs.wnids[label])
        for (path, _), (image, label) in zip(theirs._samples, theirs, strict=True)
    }
    to_imagenet = dict(zip(WNIDS, (0, 217, 701), strict=True))
    for name, image, label in zip(samples.ids, images, labels.tolist(), strict=True):
        pixels, wnid = expected[name.split("/")[-1]]
        assert torch.equal(image, pixels)
        assert label == to_imagenet[wnid]
    assert (source.name, source.label_space, len(source.classes)) == ("imagenette:imagenette2-160", "imagenet-1k", 1000)
    assert source.splits == ("train", "test")


def test_the_size_of_imagenette_is_asked_for_if_there_are_several(tmp_path):
    root = tmp_path
    assert refusal(f"imagenette:{root}") == (
        f"{root}: holds no folder imagenette2 or imagenette2-320 or imagenette2-160; "
        f"torchvision.datasets.Imagenette('{root}', size='full', download=True) gets it"
    )
    write_imagenette(root / "imagenette2-160")
    write_imagenette(root / "imagenette2")
    assert f"{root}: has Imagenette in 2 sizes; add ,size=full|160px" in refusal(f"imagenette:{root}")
    assert opened(f"imagenette:{root},size=full").name == "imagenette:imagenette2"
    assert "holds no folder imagenette2-320; torch" in refusal(f"imagenette:{root},size=320px")
    assert "unknown size of imagenette '160'. Did you mean '160px'" in refusal(f"imagenette:{root},size=160")
    assert f"write imagenette:{root},size=160px" in refusal(f"imagenette:{root / 'imagenette2-160'}")
    (root / "other" / "imagenette2" / "cats").mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(root / "other" / "imagenette2" / "cats" / "a.png")
    assert "not Imagenette, which has train/ and val/" in refusal(f"imagenette:{root / 'other'}")

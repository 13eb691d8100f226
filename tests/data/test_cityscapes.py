"""Cityscapes in the official layout: the label table, sizes, order, and what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.data import Resize, batches, open_data
from stein_bench.data.cityscapes import training_ids
from stein_bench.errors import UsageError
from stein_bench.preparation.inputs import check_values
from stein_bench.progress import Silent
from stein_bench.tasks import IGNORE
from tests.street import COLORS, LABEL_IDS, write_tree

OFFICIAL = {
    "road": (7, 0), "sidewalk": (8, 1), "building": (11, 2), "wall": (12, 3), "fence": (13, 4), "pole": (17, 5),
    "traffic light": (19, 6), "traffic sign": (20, 7), "vegetation": (21, 8), "terrain": (22, 9), "sky": (23, 10),
    "person": (24, 11), "rider": (25, 12), "car": (26, 13), "truck": (27, 14), "bus": (28, 15), "train": (31, 16),
    "motorcycle": (32, 17), "bicycle": (33, 18),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "city", train=3, val=4)


def image_of(root: Path) -> Path:
    return next(iter(sorted((root / "leftImg8bit" / "val" / "lindau").iterdir())))


def label_of(root: Path) -> Path:
    return next(iter(sorted((root / "gtFine" / "val" / "lindau").iterdir())))


def test_the_table_is_the_official_one(root):
    table = training_ids()
    assert {name: int(table[label]) for name, (label, _) in OFFICIAL.items()} == {
        n: t for n, (_, t) in OFFICIAL.items()
    }
    assert (np.delete(table, [label for label, _ in OFFICIAL.values()]) == IGNORE).all()
    assert open_data(f"cityscapes:{root}").classes == tuple(OFFICIAL)


def test_pairs_come_as_the_model_gets_them(root):
    source = open_data(f"cityscapes:{root}")
    assert (source.task, source.splits, len(source.classes)) == ("segmentation", ("train", "test"), 19)
    samples = source.samples("test", Resize(64))
    assert (samples.shape, len(samples)) == ((3, 64, 128), 4)
    assert sorted(samples.ids)[0] == "val/lindau_000000_000019"
    images, labels = samples.batch(range(4))
    assert (images.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (4, 64, 128))
    assert (labels[:, :2] == IGNORE).all()
    table = training_ids()
    for label_id, color in zip(LABEL_IDS, COLORS, strict=True):
        pixels = images.movedim(1, -1)[labels == int(table[label_id])]
        assert pixels.mean(dim=0).mul(255).numpy() == pytest.approx(color, abs=5)  # RGB, not BGR


def test_images_are_256_by_512_unless_a_height_is_given_and_labels_are_never_mixed(root):
    source = open_data(f"cityscapes:{root}")
    assert source.samples("test").shape == (3, 256, 512)
    small = source.samples("test", Resize(16)).batch([0])[1]
    assert small.shape == (1, 16, 32)
    whole = source.samples("test", Resize(64)).batch([0])[1]
    assert torch.equal(small, whole[:, 2::4, 2::4])  # the pixel at the center of each 4×4 block
    assert set(small.unique().tolist()) <= set(whole.unique().tolist())


def test_the_order_mixes_cities_and_does_not_change(root):
    ids = open_data(f"cityscapes:{root}").samples("test", Resize(16)).ids
    assert ids == open_data(f"cityscapes:{root}").samples("test", Resize(16)).ids
    assert list(ids) != sorted(ids)


def test_labels_are_part_of_the_identity(root):
    def sha256():
        return open_data(f"cityscapes:{root}").samples("test", Resize(16)).sha256()

    before = sha256()
    assert open_data(f"cityscapes:{root}").samples("test", Resize(32)).sha256() != before
    labels = np.array(Image.open(label_of(root)))
    labels[30, 30] = 24
    Image.fromarray(labels).save(label_of(root))
    assert sha256() != before


def test_reading_ahead_changes_nothing(root):
    samples = open_data(f"cityscapes:{root}").samples("train", Resize(16))
    plain, ahead = (list(batches(samples, 2, workers=workers)) for workers in (0, 2))
    for (_, images, labels), (_, images_ahead, labels_ahead) in zip(plain, ahead, strict=True):
        assert torch.equal(images, images_ahead)
        assert torch.equal(labels, labels_ahead)


def test_the_license_plate_is_void(root):
    labels = np.array(Image.open(label_of(root)))
    labels[:] = 255
    Image.fromarray(labels).save(label_of(root))
    samples = open_data(f"cityscapes:{root}").samples("test", Resize(64))
    index = [sample_id.startswith("val/lindau_000000") for sample_id in samples.ids].index(True)
    assert (samples.batch([index])[1] == IGNORE).all()


def damage(root: Path, how: str) -> None:
    """Make the tree wrong in one way."""
    if how == "no-labels-folder":
        shutil.rmtree(root / "gtFine")
    elif how == "no-val":
        shutil.rmtree(root / "leftImg8bit" / "val")
    elif how == "empty-val":
        shutil.rmtree(root / "leftImg8bit" / "val" / "lindau")
        shutil.rmtree(root / "leftImg8bit" / "val" / "munster")
    elif how == "missing-label":
        label_of(root).unlink()
    elif how == "training-ids":
        label_of(root).rename(label_of(root).with_name("x_gtFine_labelTrainIds.png"))
    elif how == "size":
        Image.open(label_of(root)).resize((64, 32)).save(label_of(root))
    elif how == "color":
        Image.open(image_of(root)).save(label_of(root))
    elif how == "strange-id":
        Image.fromarray(np.full((64, 128), 77, np.uint8)).save(label_of(root))
    elif how == "no-image":
        label_of(root).write_bytes(b"no PNG")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "no-labels-folder",
            "has no folder gtFine; cityscapes:ROOT is the folder that contains leftImg8bit/ and gtFine/",
        ),
        ("no-val", "leftImg8bit: has no folder val, which contains the images to evaluate"),
        ("empty-val", r"holds no CITY/\*_leftImg8bit\.png"),
        ("missing-label", r"lindau_000000_000019_gtFine_labelIds\.png: no such file; every image needs its label IDs"),
        ("training-ids", r"lindau_000000_000019_gtFine_labelIds\.png: no such file"),
        ("size", r"labelIds\.png: 64×32 pixels, but its image has 128×64; they must agree"),
        ("color", r"labelIds\.png: mode RGB, not one 8-bit label ID per pixel"),
        ("strange-id", r"the label ID 77 is not one of Cityscapes' \(0 to 33\); is this another label file\?"),
        ("no-image", r"labelIds\.png: not a readable image"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(root, how, message):
    damage(root, how)
    with pytest.raises(UsageError, match=message) as caught:
        list(batches(open_data(f"cityscapes:{root}").samples("test", Resize(64)), 2))
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("how", ["color", "strange-id"])
def test_other_label_maps_are_refused_before_the_run(root, how):
    damage(root, how)
    with pytest.raises(UsageError, match=r"labelIds\.png: (mode RGB, not one|the label ID 77 is not one)"):
        check_values(open_data(f"cityscapes:{root}").samples("test", Resize(64)), Silent())


@pytest.mark.parametrize("kind", ["leftImg8bit", "gtFine"])
def test_a_pair_of_which_one_is_damaged_is_left_out_and_named(root, kind):
    every = open_data(f"cityscapes:{root}").samples("test", Resize(64))
    whole = dict(zip(every.ids, zip(*every.batch(range(4)), strict=True), strict=True))
    before = every.sha256()
    assert check_values(every, Silent()).sha256() == before
    _, broken, *_ = every.ids
    (path,) = (root / kind).glob(f"val/*/{broken.removeprefix('val/')}_*.png")
    path.write_bytes(path.read_bytes()[:-30])
    samples = check_values(open_data(f"cityscapes:{root}").samples("test", Resize(64)), Silent())
    name = path.relative_to(root)
    assert samples.notes() == (f"1 of 4 pairs of image and label map is damaged and left out: {name}",)
    assert samples.ids == tuple(one for one in every.ids if one != broken)
    images, labels = samples.batch(range(3))
    assert all(torch.equal(image, whole[one][0]) for one, image in zip(samples.ids, images, strict=True))
    assert all(torch.equal(label, whole[one][1]) for one, label in zip(samples.ids, labels, strict=True))
    with pytest.raises(UsageError) as caught:
        check_values(open_data(f"cityscapes:{root},damaged=refuse").samples("test", Resize(64)), Silent())
    assert re.fullmatch(
        rf"{root}: 1 of 4 pairs of image and label map is damaged: {name} \(.+\); repair or remove it, or omit "
        "damaged=refuse",
        str(caught.value),
    )
    path.unlink()
    assert samples.sha256() not in (before, every.first(1).sha256())  # the damaged file is not part of it


def test_a_header_that_cannot_be_read_is_left_to_the_survey(root):
    label_of(root).write_bytes(b"no PNG")
    assert len(check_values(open_data(f"cityscapes:{root}").samples("test"), Silent())) == 3


def test_16_bit_gray_images_are_noted(root):
    deep = np.full((64, 128), 40_000, np.uint16)
    Image.fromarray(deep).save(image_of(root))
    samples = check_values(open_data(f"cityscapes:{root}").samples("test", Resize(64)), Silent())
    assert samples.notes() == (
        "1 image has 16 bits per channel, of which the high 8 are used; the largest gray value is 40000 of 65535",
    )
    image = samples.batch([samples.ids.index("val/lindau_000000_000019")])[0]
    assert image.unique().mul(255).tolist() == [40_000 // 256]


@pytest.mark.parametrize(
    ("spec", "message"), [("cityscapes", "needs a path"), ("cityscapes:/no/such", "no such folder")]
)
def test_a_spec_without_a_folder_is_refused(spec, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        open_data(spec)


def test_without_training_images_there_is_one_split(root):
    shutil.rmtree(root / "leftImg8bit" / "train")
    assert open_data(f"cityscapes:{root}").splits == ("test",)

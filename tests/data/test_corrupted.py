"""CIFAR-10-C, CIFAR-100-C and ImageNet-C as published: pixels, labels, order, notes, and what is refused."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.config import make_config
from stein_bench.data import open_data
from stein_bench.data.corruptions import EXTRA, STANDARD, choose
from stein_bench.data.crossed import Crossed
from stein_bench.data.resize import Resize
from stein_bench.data.samples import IMAGENET, batches
from stein_bench.errors import UsageError
from stein_bench.preparation.plan import prepare
from tests.corrupted import BASE, WNIDS, write_cifarc, write_imagenetc
from tests.data.known import as_inputs
from tests.tiny import write_model

PRESENT = ("gaussian_noise", "snow", "fog")
"""The standard corruptions of the small set, in the paper's order."""


@pytest.fixture
def stored(tmp_path):
    """The images of a small CIFAR-10-C below the test's folder, by corruption."""
    return write_cifarc(tmp_path / "CIFAR-10-C")


@pytest.mark.parametrize("place", ["", "CIFAR-10-C"])
@pytest.mark.parametrize(
    ("options", "corruptions", "severities"),
    [
        ("", PRESENT, (1, 2, 3, 4, 5)),
        (",corruption=fog", ["fog"], (1, 2, 3, 4, 5)),
        (",corruption=fog,severity=3", ["fog"], (3,)),
        (",severity=3+1,corruption=fog+snow", ["snow", "fog"], (1, 3)),
        (",corruption=extra,severity=5", ["saturate"], (5,)),
        (",corruption=all,severity=2", [*PRESENT, "saturate"], (2,)),
        (",corruption=standard+saturate,severity=2", [*PRESENT, "saturate"], (2,)),
    ],
)
def test_images_and_labels_come_base_image_by_base_image(tmp_path, stored, place, options, corruptions, severities):
    source = open_data(f"cifar10-c:{tmp_path / place}{options}")
    samples = source.samples("test")
    cells = [(corruption, severity) for corruption in corruptions for severity in severities]
    expected = np.stack([stored[name][(severity - 1) * 4 + i] for i in range(4) for name, severity in cells])
    images, labels = samples.batch(range(len(samples)))
    assert torch.equal(images, as_inputs(expected))
    assert labels.tolist() == np.repeat(BASE, len(cells)).tolist()
    assert samples.cells == tuple(f"{name}/{severity}" for name, severity in cells)
    assert list(samples.ids) == [f"cifar10-c/{cell}/{i:04d}" for i in range(4) for cell in samples.cells]
    assert (source.splits, source.native_size, source.label_space) == (("test",), 32, "own")
    assert source.classes[3] == "cat"


def test_batches_of_any_size_and_copies_for_workers_have_the_same_images(tmp_path, stored):
    samples = open_data(f"cifar10-c:{tmp_path}").samples("test")
    whole, _ = samples.batch(range(60))
    assert torch.equal(torch.cat([images for _, images, _ in batches(samples, 7)]), whole)
    copied = pickle.dumps(samples)
    assert len(copied) < 10_000 < stored["fog"].nbytes
    assert torch.equal(pickle.loads(copied).batch(range(60))[0], whole)
    assert samples.batch([])[0].shape == (0, 3, 32, 32)
    assert samples.batch([59, 0])[1].tolist() == [1, 3]


def test_images_are_resized_one_by_one(tmp_path, stored):
    samples = open_data(f"cifar10-c:{tmp_path},corruption=fog,severity=2").samples("test", Resize(16))
    expected = torch.nn.functional.interpolate(
        as_inputs(stored["fog"][4:8]), (16, 16), mode="bilinear", align_corners=False, antialias=True
    )
    assert samples.shape == (3, 16, 16)
    assert torch.allclose(samples.batch(range(4))[0], expected, atol=1e-6)
    assert samples.batch([])[0].shape == (0, 3, 16, 16)


def test_the_hash_is_that_of_the_evaluated_samples(tmp_path, stored):
    """It changes with every pixel among the first 20 samples (image 0 in 15 cells, image 1 in 5), and with no other."""
    del stored
    spec = f"cifar10-c:{tmp_path}"
    before = open_data(spec).samples("test").first(20).sha256()
    path = tmp_path / "CIFAR-10-C" / "snow.npy"  # cells 5 to 9
    for place, changes in ((1, False), (4, True), (5, False), (16, True)):
        images = np.load(path)
        images[place, 0, 0, 0] ^= 1
        np.save(path, images)
        now = open_data(spec).samples("test").first(20).sha256()
        assert (now != before) == changes, place
        before = now


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (None, "4 base images in all of them"),
        (30, "2 base images in all of them"),
        (20, "1 base image in all of them, and one more in the first 5 cells only"),
        (16, "1 base image in all of them, and one more in the first cell only"),
        (7, "0 base images in all of them, and one more in the first 7 cells only"),
    ],
)
def test_a_limit_takes_whole_base_images_first_and_says_how_many(tmp_path, stored, limit, told):
    del stored
    few = open_data(f"cifar10-c:{tmp_path}").samples("test").first(limit)
    assert len(few) == len(few.ids) == len(few.labels) == (limit or 60)
    assert few.cluster == 15
    assert few.notes()[-1] == (
        f"every base image is 15 samples, one after another, one for each corruption and severity: {told}"
    )


def test_notes_say_what_was_chosen_missing_and_left_out(tmp_path, stored):
    del stored
    notes = open_data(f"cifar10-c:{tmp_path}").samples("test").notes()
    folder = tmp_path / "CIFAR-10-C"
    missing = ", ".join(name for name in STANDARD if name not in PRESENT)
    assert notes[:4] == (
        "the images are corrupted already: 'clean' means unattacked",
        "corruption gaussian_noise + snow + fog, severity 1 + 2 + 3 + 4 + 5",
        f"12 of the 15 standard corruptions are not in {folder} ({missing}): means are over the other 3",
        "not among the 15 standard corruptions and left out: saturate (corruption=all includes them)",
    )
    one = open_data(f"cifar10-c:{tmp_path},corruption=fog,severity=3").samples("test")
    assert one.notes() == (notes[0], "corruption fog, severity 3")
    assert one.cluster == 1


def test_the_whole_set_is_the_fifteen_corruptions_in_the_papers_order():
    choice = choose({}, sorted((*STANDARD, *EXTRA)), "here")
    assert (choice.corruptions, len(choice.cells)) == (STANDARD, 75)
    assert choice.remarks[1] == "the 15 standard corruptions, severity 1 + 2 + 3 + 4 + 5"
    everything = choose({"corruption": "all"}, sorted((*STANDARD, *EXTRA, "own")), "here")
    assert everything.corruptions == (*STANDARD, *EXTRA, "own")


def test_the_sanity_checks_get_one_sample_of_each_base_image(tmp_path, stored):
    del stored
    samples = open_data(f"cifar10-c:{tmp_path}").samples("test")
    assert samples.unrelated(100) == [0, 16, 32, 48]
    assert samples.unrelated(2) == [0, 16]
    assert samples.first(32).unrelated(100) == [0, 16, 30]  # of the third image there are two versions
    assert samples.first(5).unrelated(3) == [0]
    plain = open_data(f"cifar10-c:{tmp_path},corruption=fog,severity=3").samples("test")
    assert plain.unrelated(3) == [0, 1, 2]


def _changed(folder: Path, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


IMAGES = np.zeros((20, 32, 32, 3), np.uint8)
LABELS = np.tile(BASE, 5)


@pytest.mark.parametrize(
    ("options", "arrays", "message"),
    [
        ("corruption=fgo", {}, r"unknown corruption 'fgo'\. Did you mean 'fog'\?$"),
        ("corruption=frost", {}, r"corruption 'frost' is not there; it holds gaussian_noise, snow, fog, saturate$"),
        ("corruption=fog+", {}, r"corruption=fog\+: a value is missing beside a '\+'"),
        ("severity=6", {}, r"severity=6: '6' is not a severity; they are 1 to 5, several as severity=1\+3$"),
        ("severity=1-3", {}, r"severity=1-3: '1-3' is not a severity"),
        ("corupption=fog", {}, r"unknown option of cifar10-c 'corupption'\. Did you mean 'corruption'\?"),
        ("", {"labels": LABELS[:18]}, r"labels\.npy: 18 labels are not a multiple of five"),
        ("", {"labels": np.arange(20) % 10}, r"labels\.npy: the labels of the five severities differ"),
        ("", {"labels": LABELS * 10}, r"label 90 is not one of the 10 classes of cifar10$"),
        ("", {"labels": LABELS.astype(float)}, r"labels\.npy: holds 20 of float64, not a list of whole numbers$"),
        ("", {"labels": LABELS[:, None]}, r"labels\.npy: holds 20×1 of int64"),
        ("", {"fog": IMAGES[:15]}, r"fog\.npy: holds 15×32×32×3 of uint8, not 20×32×32×3 of uint8 \(an RGB image for"),
        ("", {"fog": IMAGES / 255}, r"fog\.npy: holds 20×32×32×3 of float64, not"),
        ("", {"fog": IMAGES.transpose(0, 3, 1, 2)}, r"fog\.npy: holds 20×3×32×32 of uint8"),
        ("", {"labels": np.tile(BASE, 10)}, r"gaussian_noise\.npy: holds 20×32×32×3 of uint8, not 40×32×32×3"),
        ("", {"fog": np.array([{}])}, r"fog\.npy: damaged or not readable \(.*\); write it again$"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(tmp_path, stored, options, arrays, message):
    del stored
    _changed(tmp_path / "CIFAR-10-C", **arrays)
    with pytest.raises(UsageError, match=message) as caught:
        open_data(f"cifar10-c:{tmp_path}{',' * bool(options)}{options}")
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_it_are_refused(tmp_path, stored):
    del stored
    folder = tmp_path / "CIFAR-10-C"
    for spec, message in {
        "cifar10-c": r"cifar10-c needs a path: cifar10-c:ROOT\[,corruption=NAME\]\[,severity=N\]",
        f"cifar10-c:{tmp_path}/nothing": "nothing: no such folder; write cifar10-c:ROOT",
        f"cifar10-c:{folder}/fog.npy": "not a folder",
        f"cifar100-c:{folder}": f"this is the folder of cifar10-c: write cifar10-c:{re.escape(str(folder))}$",
        f"cifar100-c:{tmp_path}": r"has no labels\.npy; cifar100-c:ROOT needs the unpacked CIFAR-100-C",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_data(spec)
    (folder / "fog.npy").write_bytes((folder / "fog.npy").read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"fog\.npy: damaged or not readable"):
        open_data(f"cifar10-c:{tmp_path}")
    for path in folder.glob("[fgs][oan][gou]*.npy"):
        path.unlink()
    shutil.copy(folder / "saturate.npy", folder / "mine.npy")
    with pytest.raises(UsageError, match="holds none of the 15 standard corruptions; it holds saturate, mine: choose"):
        open_data(f"cifar10-c:{tmp_path}")
    assert open_data(f"cifar10-c:{tmp_path},corruption=mine").samples("test").cells[0] == "mine/1"
    with pytest.raises(UsageError, match=r"cifar10-c has no split 'train', only test; train on cifar10$"):
        open_data(f"cifar10-c:{tmp_path},corruption=mine").samples("train")


def test_cifar100c_has_its_own_classes_and_refuses_labels_of_cifar10(tmp_path):
    write_cifarc(tmp_path / "CIFAR-100-C", np.array([0, 99]), ("fog",))
    source = open_data(f"cifar100-c:{tmp_path}")
    assert (source.name, len(source.classes)) == ("cifar100-c", 100)
    assert source.samples("test").labels.tolist() == [0] * 5 + [99] * 5
    np.save(tmp_path / "CIFAR-100-C" / "labels.npy", np.tile(np.arange(200) % 10, 5))
    with pytest.raises(UsageError, match="its labels are those of CIFAR-10: write cifar10-c:"):
        open_data(f"cifar100-c:{tmp_path}")


def test_a_network_without_weights_is_told_what_to_train_on(tmp_path, stored):
    del stored
    with pytest.raises(UsageError, match=r"Train it on cifar10 \(`stein-bench train .*--data cifar10`\) and give the"):
        prepare(make_config({"model": write_model(tmp_path), "data": f"cifar10-c:{tmp_path}"}))


@pytest.mark.parametrize(
    "places", [("fog", "shot_noise"), ("weather/fog", "noise/shot_noise"), ("fog", "noise/shot_noise")]
)
def test_imagenetc_in_either_layout(tmp_path, places):
    write_imagenetc(tmp_path, places)
    folders = {place.rpartition("/")[2]: place for place in places}
    source = open_data(f"imagenet-c:{tmp_path},severity=2+5")
    samples = source.samples("test")
    assert samples.cells == ("shot_noise/2", "shot_noise/5", "fog/2", "fog/5")
    assert (source.native_size, source.label_space, len(source.classes)) == (8, IMAGENET, 1000)
    assert len(samples) == 6 * 4
    images, labels = samples.batch(range(24))
    for index, sample_id in enumerate(samples.ids):
        corruption, severity, wnid, name = sample_id.split("/")
        path = tmp_path / folders[corruption] / severity / wnid / name
        assert torch.equal(images[index], as_inputs(np.array(Image.open(path))[None])[0])
        assert labels[index] == WNIDS.index(wnid)
        assert samples.cells[index % 4] == f"{corruption}/{severity}"
        assert sample_id.split("/")[2:] == samples.ids[index - index % 4].split("/")[2:]
    assert len({sample_id.split("/")[2] for sample_id in samples.ids[:12]}) > 1  # a limit takes more than one class
    assert samples.sha256() == source.samples("test").sha256() != source.samples("test").first(5).sha256()


def test_a_base_image_with_a_damaged_version_is_left_out_of_every_cell(tmp_path):
    """Otherwise cells would hold different images, and samples would be taken for versions of another image."""
    write_imagenetc(tmp_path, ("fog", "shot_noise"))
    samples = open_data(f"imagenet-c:{tmp_path},severity=2+5").samples("test")
    corruption, severity, wnid, name = samples.ids[9].split("/")
    (tmp_path / corruption / severity / wnid / name).write_bytes(b"truncated")
    assert list(samples.surveyed())[-1] == 24
    sound = samples.sound()
    assert list(sound.ids) == [*samples.ids[:8], *samples.ids[12:]]
    assert sound.labels.tolist() == [*samples.labels[:8], *samples.labels[12:]]
    assert torch.equal(sound.batch(range(8, 20))[0], samples.batch(range(12, 24))[0])
    assert "1 base image is left out of every corruption and severity, since a file is damaged" in sound.notes()
    assert any(f"1 of 24 files is damaged and left out: {corruption}/{severity}" in note for note in sound.notes())


@pytest.mark.parametrize(("limit", "bases"), [(3, "1 of 1"), (12, "2 of 3")])
def test_damage_in_most_base_images_is_refused(tmp_path, limit, bases):
    write_imagenetc(tmp_path, ("fog", "shot_noise"))
    samples = open_data(f"imagenet-c:{tmp_path},severity=2+5").samples("test").first(limit)
    for index in (1, 6)[: 1 + (limit > 4)]:
        (tmp_path / samples.ids[index]).write_bytes(b"truncated")
    plural = "image is" if limit == 3 else "images are"
    with pytest.raises(UsageError) as caught:
        samples.sound()
    assert str(caught.value) == (
        f"imagenet-c: {bases} base {plural} left out of every corruption and severity, since a file is damaged "
        f"({samples.ids[1]}); repair or remove these images"
    )


def test_imagenetc_is_not_cropped_twice(tmp_path):
    write_imagenetc(tmp_path, ("fog",))
    samples = open_data(f"imagenet-c:{tmp_path}").samples("test", Resize(16, 0.875, "bicubic"))
    corruption, severity, wnid, name = samples.ids[0].split("/")
    image = Image.open(tmp_path / corruption / severity / wnid / name).resize((16, 16), Image.Resampling.BICUBIC)
    assert torch.equal(samples.batch([0])[0], as_inputs(np.array(image)[None]))
    assert "images are cropped already: resized to 16 pixels without another crop" in samples.notes()


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("removed", "options", "message"),
    [
        ("fog/3", "", "has no folder fog/3; unpack it, or choose with severity=N and corruption=NAME"),
        ("fog/3/n01440764/ILSVRC2012_val_00000001.JPEG", "",
         r"n01440764/ILSVRC2012_val_00000001\.JPEG is in fog/1 but not in fog/3; every corruption and severity needs"),
        ("fog/1/n01443537", "", r"is in fog/2 but not in fog/1 \(2 files differ\)"),
        ("", ",corruption=snow", "corruption 'snow' is not there; it holds fog"),
        ("", "/fog", r"it is a corruption: write imagenet-c:.*,corruption=fog$"),
        ("", "/fog/3", "holds no folders of corruptions; the layout is ROOT/CORRUPTION/SEVERITY/CLASS/FILE"),
        ("", "/none", "no such folder"),
    ],
)  # fmt: skip
def test_an_incomplete_imagenetc_is_refused(tmp_path, removed, options, message):
    write_imagenetc(tmp_path, ("fog",))
    if removed:
        _remove(tmp_path / removed)
    with pytest.raises(UsageError, match=message):
        open_data(f"imagenet-c:{tmp_path}{options}").samples("test")


def test_a_corruption_in_two_places_is_refused_and_a_severity_that_is_not_needed_may_be_missing(tmp_path):
    write_imagenetc(tmp_path, ("fog", "weather/fog"))
    with pytest.raises(UsageError, match="holds fog and weather/fog; remove one of them"):
        open_data(f"imagenet-c:{tmp_path}")
    _remove(tmp_path / "weather")
    _remove(tmp_path / "fog" / "5")
    assert len(open_data(f"imagenet-c:{tmp_path},severity=1+4").samples("test")) == 12


def test_images_of_two_sizes_need_one(tmp_path):
    write_imagenetc(tmp_path, ("fog",))
    write_imagenetc(tmp_path, ("snow",), size=10)
    source = open_data(f"imagenet-c:{tmp_path}")
    assert (source.uniform, source.native_size) == (False, None)
    with pytest.raises(UsageError, match=r"images differ in size \(snow/1/.* 10×10 and fog/1/.* 8×8\); give --image-s"):
        source.samples("test")
    assert source.samples("test", Resize(8)).batch(range(3))[0].shape == (3, 3, 8, 8)


def test_crossed_names_are_a_sequence():
    names = Crossed(("a", "b"), ("x", "y", "z"))
    everything = ["x/a", "y/a", "z/a", "x/b", "y/b", "z/b"]
    assert list(names) == everything
    assert (len(names), names[-1], names[1:4], names[np.int64(4)]) == (6, "z/b", tuple(everything[1:4]), "y/b")
    with pytest.raises(IndexError):
        _ = names[6]

"""Arrays as people have them: every layout, type and naming gives the known samples, or a line on how to say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stein_bench.data import open_data
from stein_bench.errors import UsageError
from tests.data.known import (
    CLASSES,
    LABELS,
    as_inputs,
    check_known,
    clean_accuracy,
    known_images,
    opened,
    plain_accuracy,
)

IMAGES = known_images()
FIRST = IMAGES.transpose(0, 3, 1, 2)
UNIT = IMAGES.astype(np.float32) / np.float32(255)
NAMES = np.array(["bee", "cat", "dog"])[LABELS]
CORNERED = IMAGES.copy()
CORNERED[0, 0, 0] = 0, 255, 3
VOLUMES = IMAGES.reshape(6, 4, 8, 8, 3)
DRAWN = IMAGES > 128


def save(folder: Path, name: str = "own.npz", **arrays: np.ndarray) -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def refusal(spec: str) -> str:
    """The one-line message with which `spec` is refused, at the latest when its samples are surveyed."""
    with pytest.raises(UsageError) as caught:
        list(open_data(spec).samples("test").surveyed())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Case: (arrays, options, notes).
KNOWN = {
    "documented": ({"images": IMAGES, "labels": LABELS}, "", []),
    "channels first": (
        {"images": FIRST, "labels": LABELS}, "", ["`images` of own.npz is read as N×C×H×W: 24×3×8×8"],
    ),
    "layout said": (
        {"images": FIRST, "labels": LABELS}, ",layout=nchw", ["`images` of own.npz is read as N×C×H×W: 24×3×8×8"],
    ),
    "floats in [0, 1]": (
        {"images": UNIT, "labels": LABELS}, "",
        [f"`images` of own.npz has float32 values from {UNIT.min():.6g} to {UNIT.max():.6g}, taken as they are"],
    ),
    "double precision": (
        {"images": UNIT.astype(float), "labels": LABELS}, "",
        [
            f"`images` of own.npz has float64 values from {UNIT.min():.6g} to {UNIT.max():.6g}, taken as they are",
            "`images` of own.npz was rounded from float64 to float32",
        ],
    ),
    "floats in [0, 255]": (
        {"images": IMAGES.astype(np.float32), "labels": LABELS}, "",
        ["`images` of own.npz has float32 values from 60 to 217, divided by 255"],
    ),
    "scale said": (
        {"images": IMAGES.astype(np.float16), "labels": LABELS}, ",scale=255",
        ["`images` of own.npz has float16 values from 60 to 217, divided by 255 as scale= says"],
    ),
    "another white": (
        {"images": IMAGES.astype(np.uint16) * 257, "labels": LABELS}, ",scale=65535",
        ["`images` of own.npz has uint16 values from 15420 to 55769, divided by 65535 as scale= says"],
    ),
    "big-endian, Fortran order": (
        {"images": np.asfortranarray(IMAGES.astype(">i8")), "labels": LABELS.astype(">u4")}, "", [],
    ),
    "one-hot labels": (
        {"images": IMAGES, "labels": np.eye(3, dtype=np.float32)[LABELS]}, "",
        ["`labels` of own.npz is one-hot: 24×3"],
    ),
    "a column of whole floats": ({"images": IMAGES, "labels": LABELS[:, None].astype(float)}, "", []),
    "names": (
        {"images": IMAGES, "labels": NAMES}, "",
        ["`labels` of own.npz has names, which were numbered in sorted order (bee, cat, dog)"],
    ),
    "names as bytes, with classes": (
        {"images": IMAGES, "labels": NAMES.astype("S"), "classes": np.array(["bee", "cat", "dog", "elk"])}, "",
        ["`labels` of own.npz has names, which were numbered in the order of `classes` (bee, cat, dog, …)"],
    ),
    "Keras": (
        {"x_train": IMAGES[:9], "y_train": LABELS[:9], "x_test": IMAGES, "y_test": LABELS}, "",
        ["own.npz: `x_test` and `y_test` are the images and labels"],
    ),
    "MedMNIST": (
        {f"{split}_{what}": array[:n] for split, n in (("train", 9), ("val", 4), ("test", 24))
         for what, array in (("images", IMAGES), ("labels", LABELS[:, None]))}, "",
        [
            "own.npz: `test_images` and `test_labels` are the images and labels",
            "own.npz: `val_images` and `val_labels` are not used",
        ],
    ),
    "X and y": ({"X": IMAGES, "y": LABELS}, "", ["own.npz: `X` and `y` are the images and labels"]),
    "data and targets": (
        {"data": IMAGES, "targets": LABELS}, "", ["own.npz: `data` and `targets` are the images and labels"],
    ),
    "named": (
        {"pictures": IMAGES, "kind": LABELS, "x": IMAGES[:3], "y": LABELS[:3]}, ",images=pictures,labels=kind",
        ["own.npz: `pictures` and `kind` are the images and labels"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KNOWN)
def test_every_format_gives_the_known_samples_and_says_how_it_was_read(tmp_path, case):
    arrays, options, notes = KNOWN[case]
    samples = check_known(f"npz:{save(tmp_path, **arrays)}{options}")
    assert list(samples.notes()) == notes


@pytest.mark.parametrize("case", ["channels first", "floats in [0, 255]", "another white", "names", "MedMNIST"])
def test_clean_accuracy_is_that_of_plain_pytorch(tmp_path, case):
    arrays, options, _ = KNOWN[case]
    assert clean_accuracy(f"npz:{save(tmp_path, **arrays)}{options}", tmp_path) == plain_accuracy(tmp_path)


def test_a_compressed_file_and_one_with_the_channels_first_have_the_hash_of_the_documented_one(tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", images=IMAGES, labels=LABELS)
    specs = [
        tmp_path / "packed.npz",
        *(save(tmp_path, f"{i}.npz", images=a, labels=LABELS) for i, a in enumerate((IMAGES, FIRST))),
    ]
    assert len({opened(f"npz:{path}").sha256() for path in specs}) == 1


def test_floats_keep_their_bits_and_hash_by_value_and_scale(tmp_path):
    fine = (np.arange(24 * 192, dtype=np.float32) / (24 * 192)).reshape(24, 8, 8, 3)
    path = save(tmp_path, images=fine, labels=LABELS)
    samples = opened(f"npz:{path}")
    assert torch.equal(samples.batch(range(24))[0], torch.from_numpy(fine).permute(0, 3, 1, 2))
    halved = opened(f"npz:{path},scale=2")
    assert torch.equal(halved.batch([3])[0], samples.batch([3])[0] / 2)
    other = opened(f"npz:{save(tmp_path, 'other.npz', images=np.nextafter(fine, np.float32(1)), labels=LABELS)}")
    assert len({samples.sha256(), halved.sha256(), other.sha256(), samples.first(5).sha256()}) == 4
    assert (samples.scaling().method, halved.scaling().high) == ("none", 2)


def test_rounding_a_last_bit_outside_is_clipped(tmp_path):
    values = UNIT.copy()
    values[0, 0, 0, :2] = np.float32(1 + 5e-7), np.float32(-5e-7)
    loaded, _ = opened(f"npz:{save(tmp_path, images=values, labels=LABELS)}").batch([0])
    assert (loaded.min(), loaded.max()) == (0, 1)


def test_masks_are_black_and_white(tmp_path):
    samples = opened(f"npz:{save(tmp_path, images=DRAWN, labels=LABELS > 0)}")
    images, labels = samples.batch(range(24))
    assert torch.equal(images, torch.from_numpy(DRAWN).permute(0, 3, 1, 2).float())
    assert labels.tolist() == (LABELS > 0).tolist()
    assert samples.notes() == ("`images` of own.npz is bool: False became 0 and True 1",)


SHAPES = {  # stored shape → the shape of a sample, channels first
    (6, 28, 27): (1, 28, 27), (6, 4, 4, 3): (3, 4, 4), (6, 3, 4, 4): (3, 4, 4), (6, 4, 7, 8): (4, 7, 8),
    (6, 7, 8, 4): (4, 7, 8), (6, 1, 7, 8): (1, 7, 8), (6, 5, 7, 8, 1): (1, 5, 7, 8), (6, 1, 5, 7, 8): (1, 5, 7, 8),
    (6, 4, 5, 7, 8): (4, 5, 7, 8),
}  # fmt: skip


@pytest.mark.parametrize("stored", SHAPES)
def test_a_layout_is_recognized_where_only_one_fits(tmp_path, stored):
    values = np.random.default_rng(1).integers(0, 256, stored, dtype=np.uint8)
    source = open_data(f"npz:{save(tmp_path, images=values, labels=np.arange(6) % 2)}")
    samples = source.samples("test")
    sample = torch.from_numpy(values[4]) / 255
    expected = sample[None] if len(stored) == 3 else sample if sample.shape == SHAPES[stored] else sample.movedim(-1, 0)
    assert torch.equal(samples.batch([4])[0][0], expected)
    assert (samples.shape, source.channels) == (SHAPES[stored], SHAPES[stored][0])


UNCLEAR = {
    (6, 3, 32, 3): "could have its channels first or last; add ,layout=NHWC|NCHW|NDHW",
    (6, 1, 28, 1): "could have its channels first or last",
    (6, 4, 9, 4): "could have its channels first or last",
    (6, 9, 9, 7): "is 6×9×9×7 and has no axis of 1, 3 or 4 channels; add ,layout=NHWC|NCHW|NDHW",
    (6, 28, 28, 28): "has no axis of 1, 3 or 4 channels",
    (6, 3, 5, 6, 3): "could have its channels first or last; add ,layout=NDHWC|NCDHW",
    (6, 8, 3): "is 6×8×3, unlike images; if it is N×H×W, add ,layout=NHW",
}


@pytest.mark.parametrize("shape", UNCLEAR)
def test_an_unclear_layout_is_asked_for_and_taken_when_said(tmp_path, shape):
    path = save(tmp_path, images=np.full(shape, 200, np.uint8), labels=np.arange(6) % 2)
    message = refusal(f"npz:{path}")
    assert message.startswith(f"{path}: `images` is ")
    assert UNCLEAR[shape] in message
    last = {3: ("NHW", (1, *shape[1:])), 4: ("NDHW", (1, *shape[1:])), 5: ("NCDHW", shape[1:])}[len(shape)]
    assert opened(f"npz:{path},layout={last[0]}").shape == last[1]


def test_samples_on_the_last_axis_as_in_matlab_files_are_recognized(tmp_path):
    path = save(tmp_path, images=np.zeros((32, 32, 3, 6), np.uint8), labels=np.arange(6) % 2)
    reason = "`images` is 32×32×3×6, samples last? Store np.moveaxis(images, -1, 0), which is N×H×W×C"
    assert refusal(f"npz:{path}") == f"{path}: {reason}"


def test_the_volumes_of_medmnist_are_cubes_of_one_channel(tmp_path):
    cubes = np.random.default_rng(1).integers(0, 256, (6, 9, 9, 9), dtype=np.uint8)
    arrays = {f"{split}_images": cubes for split in ("train", "val", "test")}
    arrays |= {f"{split}_labels": np.arange(6)[:, None] % 2 for split in ("train", "val", "test")}
    source = open_data(f"npz:{save(tmp_path, **arrays)}")
    samples = source.samples("test")
    assert torch.equal(samples.batch([2])[0][0, 0], torch.from_numpy(cubes[2]) / 255)
    assert "`test_images` of own.npz is read as N×D×H×W: 6×9×9×9" in samples.notes()
    validation = opened(f"npz:{tmp_path / 'own.npz'},images=val_images,labels=val_labels")
    assert "own.npz: `test_images` and `test_labels` are not used" in validation.notes()


def test_both_splits_come_from_one_file_and_never_the_same_arrays(tmp_path):
    path = save(tmp_path, x_train=IMAGES[:9], y_train=LABELS[:9], x_test=IMAGES, y_test=LABELS)
    source = open_data(f"npz:{path}")
    assert source.splits == ("train", "test")
    assert torch.equal(source.samples("train").batch(range(9))[0], as_inputs(IMAGES[:9]))
    assert open_data(f"npz:{path},images=x_train,labels=y_train").splits == ("test",)
    assert "`x_test` is the test data; a model must not train on it" in refusal(
        f"npz:{path},train_images=x_test,train_labels=y_train"
    )
    other = save(tmp_path, "train.npz", a=IMAGES[:6], b=LABELS[:6])
    chosen = open_data(f"npz:{path},train={other},train_images=a,train_labels=b")
    assert len(chosen.samples("train")) == 6
    test = save(tmp_path, "test.npz", a=IMAGES, b=LABELS, images=IMAGES[:2], labels=LABELS[:2])
    assert len(open_data(f"npz:{test},train={other},images=a,labels=b").samples("train")) == 6


def test_a_gray_channel_is_repeated_when_asked(tmp_path):
    path = save(tmp_path, images=IMAGES[..., 0], labels=LABELS)
    gray, colored = opened(f"npz:{path}"), opened(f"npz:{path},channels=3")
    assert (gray.shape, colored.shape) == ((1, 8, 8), (3, 8, 8))
    assert torch.equal(colored.batch(range(24))[0], gray.batch(range(24))[0].expand(-1, 3, -1, -1))
    assert "the channel of `images` of own.npz is repeated to 3" in colored.notes()
    assert opened(f"npz:{save(tmp_path, 'color.npz', images=IMAGES, labels=LABELS)},channels=3").notes() == ()
    assert (
        colored.sha256()
        == opened(f"npz:{save(tmp_path, 'three.npz', images=IMAGES[..., [0] * 3], labels=LABELS)}").sha256()
    )


REFUSED = {
    "values of a standardized array": (
        {"images": (UNIT - 0.5) / 0.25}, "", "has values from .*: undo the standardization (x * std + mean)",
    ),
    "values in [-1, 1]": ({"images": UNIT * 2 - 1}, "", "if they are scaled to [-1, 1], store (x + 1) / 2"),
    "floats a little above 1": (
        {"images": UNIT * 1.4}, "", "neither [0, 1] nor [0, 255]; clip them to [0, 1], or name the value that is white",
    ),
    "floats up to 100": (
        {"images": UNIT * 100}, "", "neither [0, 1] nor [0, 255]; name the value that is white: add ,scale=100",
    ),
    "16 bits": (
        {"images": IMAGES.astype(np.uint16) * 257}, "",
        "has values from 15420 to 55769; store them as uint8, 0 to 255, or name the value that is white, e.g. add "
        ",scale=65535",
    ),
    "zeros and ones": (
        {"images": DRAWN.astype(np.uint8)}, "",
        "has only the values 0 and 1; add ,scale=1 if 1 is white, or ,scale=255",
    ),
    "NaN": (
        {"images": np.where(IMAGES > 200, np.nan, UNIT)}, "",
        f"has {(IMAGES > 200).sum()} values that are NaN or infinite; replace them, e.g. by 0",
    ),
    "infinity": ({"images": UNIT * np.inf}, "", f"has {UNIT.size} values that are NaN or infinite"),
    "beyond the scale": (
        {"images": UNIT * 2}, ",scale=1", "but 1 is taken as white; clip them to 0 … 1, or add ,scale=16",
    ),
    "a scale of masks": ({"images": DRAWN}, ",scale=255", "is bool, where True is white; leave out scale="),
    "no scale": ({}, ",scale=white", "scale=white; write the stored value that is white, e.g. scale=1"),
    "a scale of zero": ({}, ",scale=0", "scale=0; write the stored value that is white"),
    "no layout": ({}, ",layout=NHWD", "unknown layout 'NHWD'. Did you mean 'NHW'"),
    "a layout of other axes": ({}, ",layout=NDHW5", "unknown layout"),
    "a layout of fewer axes": ({}, ",layout=NHW", "`images` is 24×8×8×3, which is not N×H×W; correct layout="),
    "channels of colors": ({}, ",channels=1", "has 3 channels; channels=1 repeats a single one: leave it out"),
    "channels in words": ({}, ",channels=rgb", "channels=rgb; write a number of channels"),
    "soft labels": (
        {"labels": np.full((24, 3), 1 / 3)}, "",
        "`labels` is 24×3 and not one-hot (soft labels?); give one class per image",
    ),
    "several labels": (
        {"labels": np.tile([0, 1, 1], (24, 1))}, "",
        "`labels` is 24×3 with 2 ones in row 0: several labels per image (multi-label) are not evaluated",
    ),
    "no label": ({"labels": np.zeros((24, 14), int)}, "", "`labels` is 24×14 with 0 ones in row 0: several labels"),
    "labels of NaN": ({"labels": np.full(24, np.nan)}, "", "store class indices as whole numbers, not nan"),
    "an unlisted name": (
        {"labels": NAMES, "classes": np.array(["bee", "cat"])}, "",
        "`labels` has the name 'dog', which is not in `classes`",
    ),
    "pickled names": ({"labels": NAMES.astype(object)}, "", "or names with .astype(str)"),
    "one-hot rows of other classes": (
        {"labels": np.eye(5)[LABELS], "classes": np.array(["bee", "cat", "dog"])}, "",
        "`labels` is one-hot with 5 columns, but `classes` has 3; use the same classes",
    ),
    "two pairs": (
        {"x_test": IMAGES, "y_test": LABELS}, "",
        "`images` and `labels`, or `x_test` and `y_test`? Choose: add ,images=images,labels=labels",
    ),
    "a mistyped key": (
        {}, ",images=imags,labels=labels",
        "has no array 'imags'. Did you mean 'images'? It holds images (24×8×8×3, uint8), labels (24, int64)",
    ),
    "half a pair": ({}, ",images=images", "images=KEY and labels=KEY belong together; it holds images (24×8×8×3"),
    "a mistyped option": ({}, ",scal=1", "unknown option of npz 'scal'. Did you mean 'scale'?"),
    "an option twice": ({}, ",scale=1,scale=2", "gives 'scale' twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_a_guess_is_refused_in_one_line(tmp_path, case):
    arrays, options, reason = REFUSED[case]
    message = refusal(f"npz:{save(tmp_path, **({'images': IMAGES, 'labels': LABELS} | arrays))}{options}")
    for part in reason.split(".*"):
        assert part in message
    assert "own.npz" in message or "option of npz" in message


def test_only_training_arrays_are_no_test_data(tmp_path):
    message = refusal(f"npz:{save(tmp_path, x_train=IMAGES, y_train=LABELS)}")
    assert (
        "lacks `images` and `labels`; it holds x_train (24×8×8×3, uint8), y_train (24, int64); name them: " in message
    )


def test_one_hot_rows_tell_how_many_classes_there_are(tmp_path):
    """Even if the last ones do not occur: a network fitted to fewer outputs would be another one."""
    test, train = (save(tmp_path, f"{n}.npz", images=IMAGES, labels=np.eye(n)[LABELS]) for n in (5, 6))
    assert open_data(f"npz:{test}").classes == ("0", "1", "2", "3", "4")
    assert "is one-hot with 6 columns, but" in refusal(f"npz:{test},train={train}")


def test_names_of_both_splits_are_numbered_together(tmp_path):
    test = save(tmp_path, images=IMAGES, labels=np.where(LABELS == 0, "dog", "cat"))
    train = save(tmp_path, "train.npz", images=IMAGES, labels=np.where(LABELS == 0, "ape", "cat"))
    source = open_data(f"npz:{test},train={train}")
    assert source.classes == ("ape", "cat", "dog")
    assert source.samples("test").labels.tolist() == [2 if label == 0 else 1 for label in LABELS]
    numbers = save(tmp_path, "numbers.npz", images=IMAGES, labels=LABELS)
    assert "one has names, the other numbers; use one" in refusal(f"npz:{test},train={numbers}")


def test_numbers_as_text_are_class_indices_for_as_names_10_would_come_before_2(tmp_path):
    labels = np.arange(24) % 12
    path = save(tmp_path, images=IMAGES, labels=labels.astype(str))
    samples = opened(f"npz:{path}")
    assert samples.labels.tolist() == labels.tolist()
    assert samples.classes == tuple(map(str, range(12)))
    assert samples.notes() == ("`labels` of own.npz holds numbers as text, taken as class indices",)
    named = save(tmp_path, images=IMAGES, labels=labels.astype(str), classes=np.arange(12)[::-1].astype(str))
    assert opened(f"npz:{named}").labels.tolist() == (11 - labels).tolist()
    decimal = save(tmp_path, images=IMAGES, labels=labels.astype(float).astype(str))
    assert "`labels` holds numbers as text ('0.0'); store class indices as whole" in refusal(f"npz:{decimal}")


def test_dark_images_and_labels_that_never_are_zero_are_noted(tmp_path):
    path = save(tmp_path, images=(IMAGES // 14).astype(np.uint8), labels=LABELS + 1)
    samples = opened(f"npz:{path}")
    assert samples.notes() == (
        "`images` of own.npz has values from 4 to 15 only, and 255 is taken as white: if not, add scale=VALUE",
        "no label of `labels` of own.npz is 0: the smallest is 1, and class indices are taken to start at 0",
    )
    assert len(samples.classes) == CLASSES + 1
    assert opened(f"npz:{path},scale=16").batch([0])[0].max() > 0.5


def test_paths_and_values_may_hold_commas_and_equals_signs(tmp_path):
    folder = tmp_path / "lr=0.1,wd=5"
    folder.mkdir()
    test, train = (save(folder, name, images=IMAGES, labels=LABELS) for name in ("a.npz", "b.npz"))
    assert open_data(f"npz:{test},train={train}").splits == ("train", "test")
    assert open_data(f"npz:{test},train={train},scale=255").splits == ("train", "test")

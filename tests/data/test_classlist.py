"""Class lists: which label a folder gets, how that is said, and which lists are refused as unclear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageNetInfo

from stein_bench.data import open_data
from stein_bench.errors import UsageError
from tests.data.known import CLASSES, LABELS, check_known, clean_accuracy, known_images, plain_accuracy

WNIDS = list(ImageNetInfo().label_names())


def tree(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / folder / "0.png")
    return root


def labels(spec: str) -> dict[str, int]:
    samples = open_data(spec).samples("test")
    return {name.split("/")[-2]: int(label) for name, label in zip(samples.ids, samples.labels, strict=True)}


POSITIONS, WORDS, NUMBERS = (
    "the positions of the lines",
    "the positions of the first words",
    "the numbers before the names",
)
LISTS = {
    "names": ("eel\ndog\nowl\ncat\n", {"cat": 3, "dog": 1}, POSITIONS),
    "Windows, a mark, comments, blank lines at the ends": (
        "\ufeff# my classes\r\n\r\neel\r\ndog \r\n# more\r\ncat\r\n\r\n",
        {"cat": 2, "dog": 1},
        POSITIONS,
    ),
    "descriptions": ("dog a friend, of man\neel\ncat Felis catus\n", {"cat": 2, "dog": 0}, WORDS),
    "tabs": ("dog\ta friend\ncat\tanother\n", {"cat": 1, "dog": 0}, WORDS),
    "labels first": ("0 dog\n1 owl\n2 cat\n", {"cat": 2, "dog": 0}, NUMBERS),
    "labels first, not in order": ("2 cat\n0 dog\n1 owl\n", {"cat": 2, "dog": 0}, NUMBERS),
    "labels first, descriptions": (
        "0 dog a friend\n1 cat it\n",
        {"cat": 1, "dog": 0},
        "the numbers before the first words",
    ),
    "names of several words": ("polar fox\nsea lion\npolar bear\n", {"polar bear": 2, "sea lion": 1}, POSITIONS),
    "folders that are numbers": ("7\n3\n0\n", {"0": 2, "7": 0}, POSITIONS),
    "folders that are numbers, descriptions": ("0 cat\n1 dog\n2 eel\n", {"0": 0, "2": 2}, WORDS),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_gives_the_labels_and_the_report_says_how(tmp_path, kind):
    text, expected, how = LISTS[kind]
    root = tree(tmp_path / "data", *expected)
    (root / "classes.txt").write_text(text, "utf-8", newline="")
    source = open_data(f"imagefolder:{root}")
    assert labels(f"imagefolder:{root}") == expected
    assert source.label_space is None  # auto never takes these labels for those of pretrained weights
    (remark,) = source.samples("test").notes()
    assert remark == f"labels are {how} in classes.txt: 2 of its {len(source.classes)} classes have folders"


def test_a_list_may_be_elsewhere_or_given_relative_to_the_data(tmp_path):
    root = tree(tmp_path / "data", "cat", "dog")
    (root / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "other.txt").write_text("dog\ncat\n")
    (root / "third.txt").write_text("eel\ndog\ncat\n")
    assert labels(f"imagefolder:{root}") == {"cat": 0, "dog": 1}
    assert labels(f"imagefolder:{root},classes={tmp_path / 'other.txt'}") == {"cat": 1, "dog": 0}
    assert labels(f"imagefolder:{root},classes=third.txt") == {"cat": 2, "dog": 1}


def test_the_list_of_the_whole_counts_for_a_split_named_alone(tmp_path):
    root = tree(tmp_path / "data", "train/cat", "train/dog", "val/cat", "val/dog")
    (root / "classes.txt").write_text("eel\ndog\ncat\n")
    for spec in (f"imagefolder:{root}", f"imagefolder:{root / 'val'}"):
        assert labels(spec) == {"cat": 2, "dog": 1}
    assert len(open_data(f"imagefolder:{root}").samples("train")) == 2


def test_a_list_of_imagenets_wnids_gives_imagenets_labels_and_another_does_not(tmp_path):
    root = tree(tmp_path / "data", WNIDS[281], WNIDS[3])
    synsets = "".join(f"{wnid} tench, Tinca tinca\n" for wnid in WNIDS)  # as LOC_synset_mapping.txt
    (root / "classes.txt").write_text(synsets)
    source = open_data(f"imagefolder:{root}")
    assert source.label_space == source.samples("test").label_space == "imagenet-1k"
    assert labels(f"imagefolder:{root}") == {WNIDS[281]: 281, WNIDS[3]: 3}
    (root / "classes.txt").write_text("".join(f"{wnid}\n" for wnid in sorted(WNIDS[:300], reverse=True)))
    assert open_data(f"imagefolder:{root}").label_space == "own"
    assert labels(f"imagefolder:{root}") == {WNIDS[281]: 18, WNIDS[3]: 296}


UNCLEAR = {
    "folders that are not listed": (
        "cat\neel\n",
        r"classes\.txt: does not list the folders dog; add or remove them, or rename the file if it is no list of the "
        r"folders \(a class list has one name in each line, a name and its description, or the label \(from 0\) and",
    ),
    "numbers from 1": (
        "1 cat\n2 dog\n",
        r"classes\.txt: its numbers, from 1 to 2, are not 0 to 1, each once; correct them, or write only the names in",
    ),
    "a number twice": ("0 cat\n0 dog\n", r"from 0 to 0, are not 0 to 1, each once"),
    "a name twice": ("cat\ndog\ncat\n", r"classes\.txt: names 'cat' twice; name each class once$"),
    "a blank line inside": (
        "cat\n\ndog\n",
        r"classes\.txt, line 2: is blank; remove it, for it is unclear whether it counts",
    ),
    "nothing": ("# classes\n\n", r"classes\.txt: names no classes; write one name in each line, "),
    "another encoding": (b"c\xe4t\ndog\n", r"classes\.txt: not a readable text file in UTF-8 \("),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_an_unclear_list_is_refused(tmp_path, kind):
    text, message = UNCLEAR[kind]
    root = tree(tmp_path / "data", "cat", "dog")
    (root / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as caught:
        open_data(f"imagefolder:{root}")
    assert "\n" not in str(caught.value)


def test_numbers_that_may_be_names_or_labels_are_refused(tmp_path):
    root = tree(tmp_path / "data", "0", "1", "2")
    (root / "classes.txt").write_text("0 2\n1 1\n2 0\n")
    with pytest.raises(
        UsageError,
        match=r"classes\.txt: unclear, its labels may be the positions of the first words or the numbers before",
    ):
        open_data(f"imagefolder:{root}")
    (root / "classes.txt").write_text("2 cat\n0 dog\n1 eel\n")
    with pytest.raises(
        UsageError, match=r"classes\.txt: unclear, its labels may be the positions of the first words or the numbers"
    ):
        open_data(f"imagefolder:{root}")
    (root / "classes.txt").write_text("0 0\n1 1\n2 2\n")  # the same either way
    assert labels(f"imagefolder:{root}") == {"0": 0, "1": 1, "2": 2}


def test_a_list_that_does_not_exist_and_an_unknown_option_are_refused(tmp_path):
    root = tree(tmp_path / "data", "cat", "dog")
    with pytest.raises(UsageError, match=r"none\.txt: no such file; write classes=FILE$"):
        open_data(f"imagefolder:{root},classes={tmp_path}/none.txt")
    with pytest.raises(UsageError, match=r"^unknown option of imagefolder 'class'\. Did you mean 'classes'\?$"):
        open_data(f"imagefolder:{root},class=x.txt")


def write_known(root: Path) -> Path:
    """Write the known images into folders whose sorted names are in another order than the labels."""
    for index, (image, label) in enumerate(zip(known_images(), LABELS, strict=True)):
        folder = root / ("red", "green", "blue")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    return root


def test_the_known_images_and_their_accuracy_arrive(tmp_path):
    assert CLASSES == 3
    root = write_known(tmp_path / "data")
    check_known(f"imagefolder:{root}")
    assert clean_accuracy(f"imagefolder:{root}", tmp_path) == plain_accuracy(tmp_path)
    (root / "classes.txt").unlink()
    with pytest.raises(AssertionError):  # sorted names are other labels
        check_known(f"imagefolder:{root}")

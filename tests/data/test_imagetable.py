"""Image files listed in a table: labels by number or name, splits, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageNetInfo

from stein_bench.data import open_data
from stein_bench.errors import UsageError
from stein_bench.preparation.inputs import check_values
from stein_bench.progress import Silent
from tests.data.known import LABELS, check_known, clean_accuracy, known_images, plain_accuracy

WNIDS = list(ImageNetInfo().label_names())
NAMES = ("red", "green", "blue")


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), len(name), np.uint8)).save(root / name)
    return root


def table(root: Path, text: str, name: str = "t.csv") -> str:
    images(root, "a.png", "b.png", "c,d.png", "sub/e.png")
    (root / name).write_text(text, "utf-8", newline="")
    return f"csv:{root / name}"


def labels(spec: str, split: str = "test") -> dict[str, int]:
    samples = open_data(spec).samples(split)
    return dict(zip(samples.ids, samples.labels.tolist(), strict=True))


TABLES = {
    "numbers": ("path,label\na.png,2\nb.png,0\n", {"a.png": 2, "b.png": 0}),
    "names": ("path,label\na.png,owl\nb.png,cat\nsub/e.png,owl\n", {"a.png": 1, "b.png": 0, "sub/e.png": 1}),
    "further columns in another order": ("size,Label,PATH\n4,1,a.png\n4,0,b.png\n", {"a.png": 1, "b.png": 0}),
    "a mark, Windows line ends, blank lines": (
        "\ufeffpath,label\r\na.png,1\r\n\r\nb.png,0\r\n",
        {"a.png": 1, "b.png": 0},
    ),
    "quotes": ('path,label\n"c,d.png","big, red"\na.png,"a cat"\n', {"c,d.png": 1, "a.png": 0}),
    "tabs": ("path\tlabel\nc,d.png\t1\na.png\t0\n", {"c,d.png": 1, "a.png": 0}),
    "semicolons": ("path;label\nc,d.png;1\na.png;0\n", {"c,d.png": 1, "a.png": 0}),
    "Windows paths": ("path,label\nsub\\e.png,1\na.png,0\n", {"sub/e.png": 1, "a.png": 0}),
    "val": ("path,label,split\na.png,1,val\nb.png,0,Validation\n", {"a.png": 1, "b.png": 0}),
    "wnids": (f"path,label\na.png,{WNIDS[9]}\nb.png,{WNIDS[1]}\n", {"a.png": 9, "b.png": 1}),
    "leading zeros": ("path,label\na.png,001\nb.png,000\n", {"a.png": 1, "b.png": 0}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_files_and_labels(tmp_path, kind):
    text, expected = TABLES[kind]
    spec = table(tmp_path, text)
    source = open_data(spec)
    assert labels(spec) == expected
    assert source.splits == ("test",)
    assert source.label_space == {"wnids": "imagenet-1k", "names": "own", "quotes": "own"}.get(kind)
    assert source.samples("test").notes() == ()


def test_splits_and_classes_are_those_of_the_training_rows(tmp_path):
    spec = table(tmp_path, 'path,label,split\na.png,owl,train\nb.png,cat,Train\n"c,d.png",owl,val\n')
    source = open_data(spec)
    assert (source.splits, source.classes, source.name) == (("train", "test"), ("cat", "owl"), "csv:t.csv")
    assert (labels(spec), labels(spec, "train")) == ({"c,d.png": 1}, {"a.png": 1, "b.png": 0})


def test_the_test_split_comes_before_the_validation_split_and_that_is_said(tmp_path):
    spec = table(tmp_path, "path,label,split\na.png,0,test\nb.png,1,test\nsub/e.png,1,val\n")
    assert labels(spec) == {"a.png": 0, "b.png": 1}
    assert open_data(spec).samples("test").notes() == ("the 1 rows of the validation split are not used",)


def test_numbers_from_1_are_taken_as_they_are_and_that_is_said(tmp_path):
    spec = table(tmp_path, "path,label\na.png,1\nb.png,2\n")
    assert labels(spec) == {"a.png": 1, "b.png": 2}
    assert open_data(spec).samples("test").notes() == (
        "labels go from 1 to 2: if the model numbers its classes from 0, subtract 1 in the table",
    )


def test_a_missing_training_split_is_explained(tmp_path):
    with pytest.raises(UsageError, match=r"t\.csv: has no split 'train'; mark rows with it in a column 'split'$"):
        open_data(table(tmp_path, "path,label\na.png,1\nb.png,0\n")).samples("train")


@pytest.mark.parametrize(
    ("values", "listed", "expected"),
    [
        (("owl", "cat"), "cat\neel\nowl\n", (2, 0)),
        (("2", "0"), "cat\neel\nowl\n", (2, 0)),
        (("2", "0"), "0 cat\n1 eel\n2 owl\n", (2, 0)),
        (("7", "3"), "3\n5\n7\n", (2, 0)),
        (("owl", "cat"), "cat a pet\neel a fish\nowl a bird\n", (2, 0)),
    ],
)
def test_labels_by_a_class_list(tmp_path, values, listed, expected):
    (tmp_path / "names.txt").write_text(listed)
    spec = table(tmp_path, f"path,label\na.png,{values[0]}\nb.png,{values[1]}\n")
    source = open_data(f"{spec},classes=names.txt")
    assert labels(f"{spec},classes=names.txt") == dict(zip(("a.png", "b.png"), expected, strict=True))
    assert len(source.classes) == 3
    assert "names.txt: 2 of its 3 classes have rows" in source.samples("test").notes()[0]


@pytest.mark.parametrize(
    ("values", "listed", "message"),
    [
        (("owl", "cot"), "cat\nowl\n", r"names\.txt: does not list the labels cot; add or remove them \("),
        (
            ("2", "0"),
            "2 owl\n0 cat\n1 eel\n",
            r"names\.txt: unclear, its labels may be the positions of the first words or the numbers;",
        ),
        (
            ("2", "0"),
            "0 2\n1 1\n2 0\n",
            r"names\.txt: unclear, its labels may be the positions of the first words or the numbers before",
        ),
        (("2", "0"), "cat\nowl\n", r"names\.txt: does not list the labels 2, 0"),
        (
            ("1", "0"),
            "1\n0\n",
            r"names\.txt: unclear, its classes are numbers that differ from their labels; rename them$",
        ),
    ],
)
def test_labels_that_a_class_list_does_not_explain_are_refused(tmp_path, values, listed, message):
    (tmp_path / "names.txt").write_text(listed)
    with pytest.raises(UsageError, match=message):
        open_data(table(tmp_path, f"path,label\na.png,{values[0]}\nb.png,{values[1]}\n") + ",classes=names.txt")


HEAD = "path,label\n"
WRONG = {
    "no header": (
        "a.png,0\nb.png,1\n",
        r"t\.csv: begins with a\.png, 0, not with column names; write path,label above it$",
    ),
    "another name": (
        "path,labels\na.png,0\n",
        r"lacks the column 'label'; it holds path, labels\. Did you mean 'labels' for it\?$",
    ),
    "missing file": (HEAD + "a.png,0\nx.png,1\n", r"t\.csv, line 3: no such file: .*/x\.png$"),
    "named twice": (HEAD + "a.png,0\n./a.png,1\n", r"lines 2 and 3 name the same file, a\.png; name each once$"),
    "in both splits": (
        "path,label,split\na.png,0,test\na.png,0,train\n",
        r"lines 2 and 3 name the same file, a\.png; a model must not train on its test data$",
    ),
    "no label": (HEAD + "a.png,\n", r"line 2: label is empty$"),
    "no split": ("path,label,split\na.png,0,\n", r"line 2: split is empty$"),
    "unknown split": ("path,label,split\na.png,0,dev\n", r"line 2: split 'dev' is none of train, val and test$"),
    "nothing to evaluate": (
        "path,label,split\na.png,0,train\n",
        r"no row has the split test or val; there is nothing to",
    ),
    "no rows": (HEAD, r"t\.csv: has no rows below the column names$"),
    "numbers with a point": (
        HEAD + "a.png,0.0\nb.png,1.0\n",
        r"line 2: label 0\.0 is not a class index; write whole numbers",
    ),
    "negative": (HEAD + "a.png,0\nb.png,-1\n", r"line 3: label -1 is not a class index; write whole numbers from 0$"),
    "years": (HEAD + "a.png,0\nb.png,20240101\n", r"line 3: label 20240101 is not a class index \(0 to 99999\)$"),
    "both kinds": (
        HEAD + "a.png,3\nb.png,cat\n",
        r"line 3: label 'cat' is a name, others are numbers \(3\); write one kind$",
    ),
    "no ImageNet class": (HEAD + f"a.png,{WNIDS[0]}\nb.png,cat\n", r"there are other labels: cat; move them$"),
    "not trained": (
        "path,label,split\na.png,owl,train\nb.png,cat,train\nsub/e.png,eel,test\n",
        r"classes without a row of the split train: eel; add or remove them$",
    ),
    "one class": (HEAD + "a.png,cat\nb.png,cat\n", r"has only one class"),
    "too many cells": (HEAD + "a.png,0\nc,d.png,1\n", r"line 3: has 3 cells, but the header has 2 columns$"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_table_is_one_line(tmp_path, kind):
    text, message = WRONG[kind]
    with pytest.raises(UsageError, match=message) as caught:
        open_data(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_none_is_one_line(tmp_path):
    for spec, message in (
        (f"csv:{tmp_path}/x.csv", r"x\.csv: no such file; write csv:FILE$"),
        (f"csv:{tmp_path}", r"is not a file; write csv:FILE$"),
        ("csv:", r"^csv needs a table: csv:FILE, with the columns path, label and optionally split$"),
        (f"csv:{tmp_path}/x.csv,damage=y", r"^unknown option of csv 'damage'\. Did you mean 'damaged'\?$"),
    ):
        with pytest.raises(UsageError, match=message):
            open_data(spec)


def test_damaged_files_are_left_out_unless_that_is_refused(tmp_path):
    spec = table(tmp_path, HEAD + "a.png,0\nb.png,1\nsub/e.png,1\n")
    (tmp_path / "b.png").write_bytes(b"")
    samples = check_values(open_data(spec).samples("test"), Silent())
    assert sorted(samples.ids) == ["a.png", "sub/e.png"]
    assert samples.notes() == ("1 of 3 files is damaged and left out: b.png",)
    with pytest.raises(
        UsageError,
        match=r"1 of 3 files is damaged: b\.png \(cannot identify image file\); repair or remove it, or omit damaged=",
    ):
        check_values(open_data(f"{spec},damaged=refuse").samples("test"), Silent())


def write_known(root: Path) -> str:
    root.mkdir()
    rows = []
    for index, (image, label) in enumerate(zip(known_images(), LABELS, strict=True)):
        Image.fromarray(image).save(root / f"{index}.png")
        rows.append(f"{index}.png,{NAMES[label]}\n")
    (root / "t.csv").write_text(HEAD + "".join(rows))
    (root / "names.txt").write_text("red\ngreen\nblue\n")
    return f"csv:{root / 't.csv'},classes=names.txt"


def test_the_known_images_and_their_accuracy_arrive(tmp_path):
    spec = write_known(tmp_path / "data")
    check_known(spec)
    assert clean_accuracy(spec, tmp_path) == plain_accuracy(tmp_path)

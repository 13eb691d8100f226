"""Folders of image files: which label a folder means, in which order files come, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from stein_bench.data import Resize, batches, open_data
from stein_bench.errors import UsageError

RNG = np.random.default_rng(11)


def draw(path, size=(8, 8), mode="RGB", **options):
    """Save a random image of `size` (width, height) and return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def tree(root, *folders, count=1):
    for folder in folders:
        for index in range(count):
            draw(root / folder / f"{index}.png")
    return open_data(f"imagefolder:{root}")


def refusal(root):
    with pytest.raises(UsageError) as caught:
        open_data(f"imagefolder:{root}").samples("test").batch([0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels_by_folder(samples):
    return {path.split("/")[-2]: int(label) for path, label in zip(samples.ids, samples.labels, strict=True)}


def test_pixels_arrive_exactly_and_belong_to_their_ids(tmp_path):
    pixels = {f"{name}/{index}.png": draw(tmp_path / name / f"{index}.png") for name in "ab" for index in range(3)}
    samples = open_data(f"imagefolder:{tmp_path}").samples("test")
    images, _ = samples.batch(range(6))
    assert sorted(samples.ids) == sorted(pixels)
    assert samples.shape == (3, 8, 8)
    for image, name in zip(images, samples.ids, strict=True):
        assert torch.equal(image, torch.from_numpy(pixels[name]).permute(2, 0, 1) / 255)


def test_sorted_names_are_numbered(tmp_path):
    source = tree(tmp_path, "dog", "cat", "eel")
    assert source.classes == ("cat", "dog", "eel")
    assert source.label_space == "own"
    assert labels_by_folder(source.samples("test")) == {"cat": 0, "dog": 1, "eel": 2}


def test_whole_numbers_are_labels_themselves(tmp_path):
    source = tree(tmp_path, "10", "2", "007")
    assert source.classes == tuple(map(str, range(11)))
    assert labels_by_folder(source.samples("test")) == {"10": 10, "2": 2, "007": 7}
    assert source.label_space == "class-indices"


def test_a_subset_of_imagenet_wnids_keeps_the_imagenet_labels(tmp_path):
    source = tree(tmp_path, "n15075141", "n01440764", "n02123045")
    assert source.label_space == source.samples("test").label_space == "imagenet-1k"
    assert labels_by_folder(source.samples("test")) == {"n01440764": 0, "n02123045": 281, "n15075141": 999}
    assert len(source.classes) == 1000
    assert source.classes[281].startswith("tabby")


def test_folders_taken_as_class_indices_are_said_to_be(tmp_path):
    """Digits in folders 0 to 9 would else get ImageNet's weights without a word; torchvision sorts 10 before 2."""
    (said,) = tree(tmp_path / "digits", "0", "1").samples("test").notes()
    assert said == "folder names are whole numbers and taken as the model's class indices"
    (more,) = tree(tmp_path / "many", *map(str, range(11))).samples("test").notes()
    assert more == f"{said}; torchvision's ImageFolder numbers the sorted names instead, which gives other labels"


def test_wnids_among_other_names_are_refused_for_numbering_both_would_mean_nothing(tmp_path):
    with pytest.raises(UsageError, match="other folders: other; move them"):
        tree(tmp_path, "n01440764", "other")


def test_wnids_outside_imagenet_1k_are_refused_by_name(tmp_path):
    for name in ("n01440764", "n00000001", "n99999999"):
        draw(tmp_path / name / "a.png")
    assert "not classes of ImageNet-1k: n00000001, n99999999; remove or rename" in refusal(tmp_path)


@pytest.mark.parametrize("test_folder", ["val", "validation", "test"])
def test_training_and_test_folders_are_the_two_splits(tmp_path, test_folder):
    source = tree(tmp_path, "train/a", "train/b", "train/c", f"{test_folder}/c", f"{test_folder}/a")
    assert source.splits == ("train", "test")
    assert source.classes == ("a", "b", "c")
    assert labels_by_folder(source.samples("test")) == {"a": 0, "c": 2}
    assert labels_by_folder(source.samples("train")) == {"a": 0, "b": 1, "c": 2}
    assert set(source.samples("test").ids) == {f"{test_folder}/a/0.png", f"{test_folder}/c/0.png"}


def test_the_first_test_folder_that_holds_class_folders_is_taken(tmp_path):
    draw(tmp_path / "val" / "flat.png")
    source = tree(tmp_path, "train/a", "train/b", "test/a")
    assert source.samples("test").ids == ("test/a/0.png",)


def test_numbered_classes_are_counted_over_both_splits(tmp_path):
    assert tree(tmp_path, "train/0", "train/1", "val/5").classes == tuple("012345")


def test_a_class_without_training_folder_is_refused(tmp_path):
    for folder in ("train/a", "train/b", "val/a", "val/z"):
        draw(tmp_path / folder / "0.png")
    assert "classes without a folder in train/: z; add or remove them" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("folders", "named"), [(("train/a", "train/b"), "train"), (("val/a", "test/a"), "val"), (("train", "test"), None)]
)
def test_half_a_pair_of_splits_is_not_taken_for_classes(tmp_path, folders, named):
    for folder in folders:
        draw(tmp_path / folder / "0.png")
    message = refusal(tmp_path)
    assert "it needs train/ and one of val/, validation/ or test/, each with class folders" in message
    end = (
        f": add what is missing, or name one split: imagefolder:{tmp_path / named}"
        if named
        else ": add what is missing"
    )
    assert message.endswith(end)


@pytest.mark.parametrize("folder", ["val", "validation", "test"])
def test_a_test_split_that_is_all_there_is_is_evaluated_by_either_name(tmp_path, folder):
    whole = tree(tmp_path, f"{folder}/a", f"{folder}/b")
    half = open_data(f"imagefolder:{tmp_path / folder}")
    for source in (whole, half):
        assert (source.splits, source.classes) == (("test",), ("a", "b"))
        with pytest.raises(UsageError) as caught:
            source.samples("train")
        assert str(caught.value).endswith(
            f"has no split 'train'; put class folders into {tmp_path}/train/, beside those in {folder}/, and write "
            f"imagefolder:{tmp_path}"
        )
    assert set(whole.samples("test").ids) == {f"{folder}/a/0.png", f"{folder}/b/0.png"}
    for name in ("train/a", "train/b"):  # what the message says works
        draw(tmp_path / name / "0.png")
    assert open_data(f"imagefolder:{tmp_path}").splits == ("train", "test")


def test_a_missing_training_split_is_explained(tmp_path):
    with pytest.raises(UsageError, match="has no split 'train'; put class folders into train/"):
        tree(tmp_path, "a", "b").samples("train")


def test_data_order_mixes_the_classes_and_is_fixed(tmp_path):
    source = tree(tmp_path, "a", "b", count=12)
    ids = source.samples("test").ids
    assert set(source.samples("test").first(8).labels.tolist()) == {0, 1}
    assert ids == open_data(f"imagefolder:{tmp_path}").samples("test").ids
    assert ids != tuple(sorted(ids))
    assert ids[:5] == ("b/2.png", "a/11.png", "b/7.png", "b/6.png", "b/0.png")


def test_data_order_does_not_depend_on_the_order_of_creation(tmp_path):
    forward, backward = tmp_path / "x", tmp_path / "y"
    names = [f"{folder}/{index}.png" for folder in "ab" for index in range(5)]
    for name in names:
        draw(forward / name)
    for name in reversed(names):
        draw(backward / name)
    ids = [open_data(f"imagefolder:{root}").samples("test").ids for root in (forward, backward)]
    assert ids[0] == ids[1]


def test_images_that_torchvision_does_not_look_for_are_counted(tmp_path):
    tree(tmp_path, "a", "b")
    for name in ("a/0.gif", "b/1.gif", "b/2.heic", "b/.3.gif", "b/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert open_data(f"imagefolder:{tmp_path}").samples("test").notes() == (
        "3 files are left out for the suffix (2 .gif, 1 .heic), as in torchvision; a table, csv:FILE, may name any",
    )


@pytest.mark.integration
def test_nested_images_count_and_other_and_hidden_files_do_not(tmp_path):
    draw(tmp_path / "b" / "deep" / "er.PNG")
    draw(tmp_path / "a" / ".hidden.png")
    draw(tmp_path / "a" / ".cache" / "x.png")
    draw(tmp_path / ".git" / "x.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "readme.txt").write_text("no folder")
    source = tree(tmp_path, "a")
    assert source.classes == ("a", "b")
    assert sorted(source.samples("test").ids) == ["a/0.png", "b/deep/er.PNG"]


def test_images_of_one_size_tell_their_size(tmp_path):
    source = tree(tmp_path, "train/a", "train/b", "val/a")
    assert (source.native_size, source.uniform, source.channels) == (8, True, 3)


def test_images_of_several_sizes_need_a_resize(tmp_path):
    draw(tmp_path / "a" / "wide.png", (12, 9))
    source = tree(tmp_path, "a", "b")
    assert (source.native_size, source.uniform) == (None, False)
    message = refusal(tmp_path)
    assert "images differ in size (" in message
    assert "a/wide.png 12×9" in message
    assert message.endswith("; give --image-size")
    samples = source.samples("test", Resize(6, 0.9))
    images, _ = samples.batch(range(3))
    assert images.shape == (3, *samples.shape) == (3, 3, 6, 6)
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_is_damaged_while_it_is_used_is_named(tmp_path, workers):
    tree(tmp_path, "a", "b", count=3)
    content = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(content[: len(content) // 2])
    samples = open_data(f"imagefolder:{tmp_path}").samples("test")
    with pytest.raises(UsageError, match=r"b/1\.png: not a readable image \(.*\); repair or remove it"):
        list(batches(samples, 2, workers=workers))


def test_a_file_that_changes_size_after_it_was_looked_at_is_named(tmp_path):
    samples = tree(tmp_path, "a", "b").samples("test")
    draw(tmp_path / "a" / "0.png", (9, 8))
    with pytest.raises(UsageError, match=r"a/0\.png: 9×8 pixels, not 8×8"):
        samples.batch([0, 1])


def test_hash_follows_file_bytes_labels_and_resize(tmp_path):
    tree(tmp_path, "a", "b", count=2)

    def digest(resize=None, limit=None):
        return open_data(f"imagefolder:{tmp_path}").samples("test", resize).first(limit).sha256()

    before = digest()
    assert before == digest()
    assert len({before, digest(Resize(8)), digest(Resize(8, 0.9)), digest(limit=3)}) == 4
    draw(tmp_path / "a" / "1.png")
    after = digest()
    assert after != before
    (tmp_path / "a").rename(tmp_path / "c")  # the same files, but their labels are exchanged
    assert digest() != after


def test_folders_without_images_are_refused(tmp_path):
    assert "holds no folders; put the images of each class in a separate folder" in refusal(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("")
    assert "the class folders of the test split contain no images (.bmp, .jpeg" in refusal(tmp_path)
    draw(tmp_path / "a" / "0.png")
    assert open_data(f"imagefolder:{tmp_path}").classes == ("a", "b")


def test_paths_that_are_no_folder_are_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "none")
    draw(tmp_path / "file.png")
    assert "not a folder" in refusal(tmp_path / "file.png")


@pytest.mark.parametrize(("count", "noted"), [(10, False), (11, True)])
def test_class_indices_that_image_folder_would_number_otherwise_are_noted(tmp_path, count, noted):
    """As text 10 comes before 2, and a model trained on torchvision's ImageFolder has that order."""
    for index in range(count):
        draw(tmp_path / str(index) / "0.png")
    samples = open_data(f"imagefolder:{tmp_path}").samples("test")
    assert any("ImageFolder numbers the sorted names instead" in note for note in samples.notes()) == noted


def test_numbers_that_are_no_class_indices_are_refused(tmp_path):
    draw(tmp_path / "x" / "20240101" / "0.png")
    assert "folder 20240101 is not a class index (below 100000); rename it" in refusal(tmp_path / "x")
    draw(tmp_path / "y" / "1" / "0.png")
    draw(tmp_path / "y" / "01" / "0.png")
    assert "two folder names are the same number: 01, 1; merge them" in refusal(tmp_path / "y")


def test_a_single_class_is_refused(tmp_path):
    draw(tmp_path / "a" / "0.png")
    assert "has only one class" in refusal(tmp_path)

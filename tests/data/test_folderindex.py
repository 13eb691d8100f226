"""The index of class folders: with it a source is the same as without, whatever happened to folders or index."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from stein_bench.data import folderindex, listing, open_data
from stein_bench.data.folderindex import index_path
from stein_bench.errors import UsageError
from stein_bench.progress import shown_on


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep an index of any number of images, of folders made just now."""
    monkeypatch.setattr(folderindex, "FEW", 0)
    monkeypatch.setattr(folderindex, "SETTLED", -(10**18))
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def listings(monkeypatch):
    """Count how often folders are listed."""
    calls = []
    real = folderindex.list_images
    monkeypatch.setattr(folderindex, "list_images", lambda *given: calls.append(given) or real(*given))
    return calls


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def root(tmp_path):
    """Both splits, hidden files, other suffixes, folders in folders, links, and names that are not valid UTF-8."""
    root = tmp_path / "data"
    write(root, "train/a/1.png", "train/a-b/2.JPG", "train/a/.hidden.png", "train/b/.git/3.png", "train/b/3.png")
    write(root, "val/a/deep/er/4.webp", "val/a/5.gif", "val/b/6.png", "val/b/7.gif", "val/b/8.heic", "val/b/notes.txt")
    (root / "classes.txt").write_text("b\na\na-b\nunused\n")
    write(tmp_path, "elsewhere/9.png")
    (root / "val/a/linked").symlink_to(tmp_path / "elsewhere")
    (root / "val/b/link.png").symlink_to(tmp_path / "elsewhere" / "9.png")
    (root / "val" / os.fsdecode(b"a/\xff.png")).touch()
    return root


def described(root):
    """Return all that a source says of itself, and its files and labels in data order."""
    source = open_data(f"imagefolder:{root}")
    held = {split: source._ordered(split) for split in source.splits}
    files = {split: (tuple(f.paths), tuple(f.paths.readable()), f.labels.tolist()) for split, f in held.items()}
    return source.name, source.classes, source.label_space, source.remarks, source.missing_split, files


def twice(root, listings):
    """Return the description without an index and with it, which must be used."""
    shutil.rmtree(index_path(root).parent, ignore_errors=True)
    without, count = described(root), len(listings)
    assert described(root) == without
    assert len(listings) == count
    return without


def test_a_source_is_the_same_with_and_without_the_index(root, listings):
    *_, remarks, _, files = twice(root, listings)
    assert set(files["test"][0]) == {
        "val/a/deep/er/4.webp", "val/a/linked/9.png", "val/a/\udcff.png", "val/b/6.png", "val/b/link.png",
    }  # fmt: skip
    assert "val/a/\\xff.png" in files["test"][1]
    assert set(zip(*files["train"][::2], strict=True)) == {
        ("train/a/1.png", 1),
        ("train/a-b/2.JPG", 2),
        ("train/b/3.png", 0),
    }
    assert any("3 files are left out for the suffix (2 .gif, 1 .heic)" in remark for remark in remarks)


CHANGES = {
    "a file is added": lambda root: write(root, "val/b/new.png"),
    "a file is removed": lambda root: (root / "val/b/6.png").unlink(),
    "a file is renamed": lambda root: (root / "val/b/6.png").rename(root / "val/b/60.png"),
    "a file is added deep below": lambda root: write(root, "val/a/deep/er/new.png"),
    "a file is added behind a link": lambda root: write(root.parent, "elsewhere/new.png"),
    "a link leads elsewhere": lambda root: (write(root.parent, "more/x.png"), _relink(root.parent / "more", root)),
    "a class is added": lambda root: (write(root, "val/c/x.png", "train/c/y.png"), _list(root, "b\na\na-b\nc\n")),
    "a class is removed": lambda root: shutil.rmtree(root / "val/b"),
    "another list of classes": lambda root: _list(root, "a-b\nb\na\n"),
    "a split is removed": lambda root: shutil.rmtree(root / "train"),
    "a file is added and the time set back": lambda root: _unnoticed(root / "val/b"),
}


def _relink(target, root):
    (root / "val/a/linked").unlink()
    (root / "val/a/linked").symlink_to(target)


def _list(root, text):
    (root / "classes.txt").write_text(text)


def _unnoticed(folder):
    before = folder.stat()
    (folder / "new.png").touch()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_source_is_that_of_a_new_listing(root, listings, change):
    before = described(root)
    CHANGES[change](root)
    after = described(root)
    assert after != before
    assert after == twice(root, listings)


def test_any_damage_to_the_index_has_the_folders_listed_again(root, listings):
    without = described(root)
    path = index_path(root)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [content[: int(end)] for end in np.linspace(0, len(content) - 1, 25)]
    damaged += [
        content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        for place in rng.integers(0, len(content), 25).tolist()
    ]
    for bad in (*damaged, content + b"more", b"stein-bench index of folders 0"):
        path.write_bytes(bad)
        count = len(listings)
        assert described(root) == without
        assert len(listings) == count + 1
        assert path.read_bytes() == content


def test_an_index_of_another_folder_is_not_believed(root, listings, tmp_path):
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy/val/b/6.png").unlink()
    expected = described(tmp_path / "copy")
    described(root)
    shutil.copyfile(index_path(root), index_path(tmp_path / "copy"))
    assert described(tmp_path / "copy") == expected


def test_the_same_folder_by_another_spelling_has_the_same_index(root, listings, monkeypatch):
    without = described(root)
    monkeypatch.chdir(root.parent)
    for spelling in ("data", "./data/../data", f"{root}//"):
        assert described(spelling)[-1] == without[-1]
    assert len(listings) == 1


def test_a_cache_that_cannot_be_written_is_no_error(root, listings, cache):
    cache.write_text("a file, no folder")
    assert described(root) == described(root)
    assert len(listings) == 2


def test_folders_changed_a_moment_ago_get_no_index(root, listings, monkeypatch):
    """A further change within the resolution of the file system's clock would not show."""
    monkeypatch.setattr(folderindex, "SETTLED", 2 * 10**9)
    described(root)
    assert not index_path(root).exists()
    monkeypatch.setattr(folderindex.time, "time_ns", lambda real=folderindex.time.time_ns: real() + 3 * 10**9)
    described(root)
    assert index_path(root).exists()


def test_a_link_that_leads_nowhere_yet_prevents_an_index(root, listings):
    (root / "val/b/later").symlink_to(root.parent / "unmounted")
    before = described(root)
    assert not index_path(root).exists()
    write(root.parent, "unmounted/10.png")
    assert "val/b/later/10.png" in described(root)[-1]["test"][0]
    assert described(root) != before


def test_few_images_need_no_index(root, monkeypatch):
    monkeypatch.setattr(folderindex, "FEW", 100)
    described(root)
    assert not index_path(root).exists()


def test_a_split_without_images_is_refused_with_and_without_the_index(root, listings):
    for name in ("train/a/1.png", "train/a-b/2.JPG", "train/b/3.png"):
        (root / name).unlink()
    for _ in range(2):
        with pytest.raises(UsageError, match="the class folders of the train split contain no images"):
            open_data(f"imagefolder:{root}")


def test_a_long_listing_is_shown(root, monkeypatch):
    monkeypatch.setattr(listing, "LONG", -1)

    class Shown(list):
        def start(self, phase, total, done=0):
            self.append((phase, total, done))

        def advance(self, samples, note=""):
            self.append(samples)

        def finish(self):
            self.append("finish")

    shown = Shown()
    with shown_on(shown):
        open_data(f"imagefolder:{root}")
    assert shown == [("listing class folders", 5, 0), 1, 1, 1, 1, 1, "finish"]

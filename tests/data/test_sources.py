"""Specs: every listed data set opens, every other is refused with the nearest names."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stein_bench.data
from stein_bench.data import DATA_SUMMARIES, open_data
from stein_bench.data.rowfile import readable_array
from stein_bench.data.sources import _OPENERS
from stein_bench.errors import UsageError


def test_every_data_set_is_listed_and_every_listed_one_is_known():
    listed = {re.split(r"[:\[]", pattern)[0] for pattern in DATA_SUMMARIES}
    assert listed - {"FILE.py"} == set(_OPENERS)  # the user's own code


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("digts", r"unknown data set 'digts'\. Did you mean 'digits'\?"),
        ("cifar:/data", r"unknown data set 'cifar'\. Did you mean 'cifar10' or 'cifar100' or 'cifar10-c'\?"),
        ("", r"unknown data set ''\. See `stein-bench list data`\."),
        ("/data/photos", r"unknown data set '/data/photos'\. See `stein-bench list data`\."),
        ("test.npz", r"unknown data set 'test\.npz': write npz:test\.npz$"),
        ("nzp:test.npz", r"unknown data set 'nzp'\. Did you mean 'npz'"),
        ("NPZ:test.npz", r"unknown data set 'NPZ'\. Did you mean 'npz'"),
        ("photos.csv", r"unknown data set 'photos\.csv': write csv:photos\.csv$"),
        ("test-0.tar", r"unknown data set 'test-0\.tar': write wds:test-0\.tar$"),
        ("stein_bench", r"'stein_bench'\. For a folder write its kind first, e\.g\. imagefolder:stein_bench\. See"),
        ("images.npy", r"unknown data set 'images\.npy': write npy:images\.npy,LABELS\.npy$"),
        ("imagefolder", r"imagefolder needs a path: imagefolder:PATH"),
        ("imagefolder:", r"imagefolder needs a path: imagefolder:PATH"),
        ("npz:~nobody-of-that-name/a.npz", r"no such home folder"),
    ],
)
def test_specs_that_name_nothing_are_refused(spec, reason, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    with pytest.raises(UsageError, match=reason):
        open_data(spec)


@pytest.mark.parametrize("spec", ["csv:{}", "wds:{}", "imagefolder:{folder},classes={}", "npz:{}", "npy:{},{}"])
def test_files_that_may_not_be_read_are_not_called_damaged(tmp_path, monkeypatch, spec):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    file = tmp_path / "file"
    file.touch()
    (tmp_path / "cat").mkdir()
    for name in ("open", "read_text"):  # root may read everything
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UsageError, match=rf"^{file}: cannot be read \(Permission denied\)$"):
        open_data(spec.format(file, file, folder=tmp_path))


def test_an_array_that_may_not_be_read_is_not_called_damaged(tmp_path):
    with (
        pytest.raises(UsageError, match=r"array\.npy: cannot be read \(Permission denied\)$"),
        readable_array(tmp_path / "array.npy"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_listing_the_data_sets_imports_no_torch():
    code = "import sys, stein_bench.data.catalog; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_promised_name_is_found():
    for name in stein_bench.data.__all__:
        assert getattr(stein_bench.data, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = stein_bench.data.nothing

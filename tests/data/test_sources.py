"""Specs: every listed data set opens, every other is refused with the nearest names."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import stein_bench.data
from stein_bench.data import DATA_SUMMARIES, open_data
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
        ("images.npy", r"unknown data set 'images\.npy': write npy:images\.npy,LABELS\.npy$"),
        ("imagefolder", r"imagefolder needs a path: imagefolder:PATH"),
        ("imagefolder:", r"imagefolder needs a path: imagefolder:PATH"),
        ("npz:~nobody-of-that-name/a.npz", r"no such home folder"),
    ],
)
def test_specs_that_name_nothing_are_refused(spec, reason):
    with pytest.raises(UsageError, match=reason):
        open_data(spec)


def test_listing_the_data_sets_imports_no_torch():
    code = "import sys, stein_bench.data.catalog; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_promised_name_is_found():
    for name in stein_bench.data.__all__:
        assert getattr(stein_bench.data, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = stein_bench.data.nothing

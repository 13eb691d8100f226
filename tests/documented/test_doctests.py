"""Examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import stein_bench
import stein_bench.normalization

PACKAGE = Path(stein_bench.__file__).parent
MODULES = sorted(
    ".".join(("stein_bench", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "home", ["stein_bench.api.evaluating", "stein_bench.api.attacking", "stein_bench.normalization"]
)
def test_what_people_start_with_has_an_example(home):
    assert home in MODULES


@pytest.mark.parametrize("package", [stein_bench, stein_bench.normalization], ids=lambda package: package.__name__)
def test_every_public_name_can_be_imported_and_says_what_it_is(package):
    for name in package.__all__:
        found = getattr(package, name)
        assert name == "__version__" or (found.__doc__ or "").strip(), name

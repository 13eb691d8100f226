"""Estimator names: spelling, strengths, and what users are told about bad ones."""

import subprocess
import sys

import pytest

from stein_bench.errors import UsageError
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES, EstimatorName, parse_estimator


@pytest.mark.parametrize("family", ESTIMATOR_SUMMARIES)
def test_every_family_is_a_name(family):
    assert parse_estimator(family).family == family


@pytest.mark.parametrize(
    ("text", "strength", "canonical"),
    [
        ("ridge", 1e-3, "ridge:0.001"),
        ("lasso", 1e-3, "lasso:0.001"),
        ("ridge:0.3", 0.3, "ridge:0.3"),
        ("ridge:1.0", 1.0, "ridge:1"),
        ("lasso:-0", 0.0, "lasso:0"),
        ("ridge:1e-7", 1e-7, "ridge:1e-07"),
        ("ridge:0.12345678901", 0.12345678901, "ridge:0.12345678901"),
    ],
)
def test_strengths(text, strength, canonical):
    name = parse_estimator(text)
    assert name.strength == strength
    assert str(name) == canonical
    assert parse_estimator(canonical) == name


def test_the_canonical_name_without_strength_is_the_family():
    assert str(EstimatorName("james-stein")) == "james-stein"


@pytest.mark.parametrize("text", ["ridge:", "ridge:x", "ridge:-1", "lasso:nan", "lasso:inf", "ridge:1:2"])
def test_a_bad_strength_is_named_with_an_example(text):
    with pytest.raises(UsageError, match=r"λ must be a finite number, 0 or more, as in '(ridge|lasso):0.3'"):
        parse_estimator(text)


def test_a_strength_where_none_is_taken():
    with pytest.raises(UsageError, match="'stein' takes no strength"):
        parse_estimator("stein:0.3")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match=r"'jamesstein'.*Did you mean.*'james-stein'"):
        parse_estimator("jamesstein")


def test_names_and_the_package_import_without_torch():
    program = (
        "import sys, stein_bench, stein_bench.normalization.names as n; n.parse_estimator('ridge');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

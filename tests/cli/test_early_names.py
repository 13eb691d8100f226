"""Wrong names of models and data are refused before torch or timm is loaded; right ones, and doubtful ones, are not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stein_bench.data.catalog import DATA_SUMMARIES
from stein_bench.data.kinds import KINDS, check_kind
from stein_bench.data.sources import _OPENERS, open_data
from stein_bench.errors import UsageError
from stein_bench.models import sources
from stein_bench.models.sources import check_known, find_model


@pytest.fixture
def fresh(monkeypatch) -> None:
    """Check as a new process does, which has not loaded timm."""
    monkeypatch.setattr(sources, "sys", type("Fresh", (), {"modules": {}}))


@pytest.mark.parametrize(
    "spec", ["resnet81", "timm:resnet81", "torchvision:resnet81", "tim:resnet18", "zzz", "resnet18:make"]
)
def test_an_unknown_model_gets_the_error_that_it_gets_later(spec, fresh) -> None:
    with pytest.raises(UsageError) as early:
        check_known(spec)
    with pytest.raises(UsageError) as late:
        find_model(spec)
    assert str(early.value).partition(".")[0] == str(late.value).partition(".")[0]


@pytest.mark.parametrize(
    "spec",
    [
        "resnet18", "timm:resnet18", "torchvision:resnet18", "torchvision:fcn_resnet50", "resnet18.a1_in1k",
        "convnext_tiny_in22ft1k", "tv_resnet50", "test_resnet", "hf-hub:org/name", "paper:resnet9", "net.py:make",
        "weights.pt2", "package.module:make", "json:loads", "hub:o/r:entry", "seghead:resnet18", "python:net-1",
    ],
)  # fmt: skip
def test_what_is_known_or_doubtful_is_left_to_the_libraries(spec, fresh) -> None:
    check_known(spec)


def test_a_program_that_has_loaded_timm_may_have_models_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(sources, "sys", type("Loaded", (), {"modules": {"timm": None}}))
    check_known("resnet81")


@pytest.mark.parametrize("spec", ["digts", "cifar:/data", "", "/data/photos", "test.npz", "nzp:test.npz", "photos.csv"])
def test_an_unknown_kind_of_data_gets_the_error_that_it_gets_later(spec) -> None:
    with pytest.raises(UsageError) as early:
        check_kind(spec)
    with pytest.raises(UsageError) as late:
        open_data(spec)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    "spec", [*KINDS, "npz:a.npz", "fashionmnist:x", "data.py", "data.py:make", "a.b:make", "json:loads", "python:d-1"]
)
def test_known_and_doubtful_kinds_of_data_are_left_to_what_reads_them(spec) -> None:
    check_kind(spec)


def test_the_kinds_are_those_that_can_be_opened() -> None:
    assert set(KINDS) == set(_OPENERS)
    assert len(KINDS) == len(DATA_SUMMARIES) - 1


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "resnet81"],
        ["evaluate", "resnet18", "--data", "digts"],
        ["evaluate", "resnet81", "--dry-run"],
        ["evaluate", "resnet18", "--attack", "transfer.pgd", "--surrogate", "resnet81"],
        ["train", "resnet81", "--output", "w.safetensors"],
        ["inspect", "resnet81"],
    ],
)
def test_torch_is_not_loaded_for_a_wrong_name(words, tmp_path) -> None:
    script = (
        "import sys\nfrom stein_bench.cli.commands import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "sys.exit(', '.join({'torch', 'timm', 'torchvision'} & sys.modules.keys()) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("stein-bench: unknown ")

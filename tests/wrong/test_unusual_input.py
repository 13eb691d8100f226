"""Input that is unusual but no mistake is evaluated, and the report says what its figures are worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.wrong.good import write_good
from tests.wrong.models import network

CONSTANT = network("return good * 0 + torch.tensor([3., 2, 1])")
BARE = network("return good", base="nn.AdaptiveAvgPool2d(1), nn.Flatten()")
LOUD = network("print('hello')\nsys.stdout.flush()\nreturn good")
ANY_SIZE = network("return good", base="nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_good(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checks(result) -> dict[str, str]:
    """Return the messages of failed sanity checks by name of the check, of a report that is alone on stdout."""
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["diagnostics"]
    return {check["name"]: check["message"] for check in found if check["status"] == "fail"}


@pytest.mark.parametrize(
    ("text", "options", "failed"),
    [
        (CONSTANT, "", {"clean-accuracy": "has collapsed to 33.3 %", "input-gradients": "no input gradient"}),
        (BARE, "", {}),
        (LOUD, "--limit 6", {"clean-accuracy": "has collapsed"}),
        (ANY_SIZE, "--data npz:point.npz,layout=NHWC", {"clean-accuracy": "has collapsed"}),
        (ANY_SIZE, "--data npz:wide.npz,layout=NHWC", {"clean-accuracy": "has collapsed"}),
        (BARE, "--limit 1", {"clean-accuracy": "chance 33.3 %, which so few samples do not show"}),
    ],
    ids=["constant", "no parameters", "prints", "1×1", "1×4096", "one sample"],
)  # fmt: skip
def test_unusual_input_is_evaluated_and_judged(folder: Path, invoke, text, options, failed) -> None:
    (folder / "model.py").write_text(text)
    rng = np.random.default_rng(0)
    for name, shape in (("point", (1, 1)), ("wide", (1, 4096))):
        images = rng.integers(0, 256, (6, *shape, 3)).astype(np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(6) % 3)
    arguments = ["model.py:make", "--data", "npz:test.npz", "--weights", "none", "--attack", "fgsm", "--quiet"]
    found = checks(invoke("evaluate", *arguments, "--format", "json", *options.split()))
    assert found.keys() == failed.keys()
    for name, words in failed.items():
        assert words in found[name]

"""Training, inspection and theory on the imitated device: what they write is what they write on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stein_bench.progress import Silent
from stein_bench.training.config import make_train_config
from stein_bench.training.run import run_training
from tests.imitation import Device
from tests.imitation.problems import write_problem
from tests.tiny import write_data, write_model


def train(folder: Path, device: str, name: str, progress: Any = None, **options: Any) -> dict[str, torch.Tensor]:
    """Train the tiny network for two short epochs and return its weights."""
    settings = {"model": write_model(folder), "data": write_data(folder, n=4), "epochs": 2, "batch_size": 16, **options}
    settings |= {"device": device, "output": str(folder / f"{name}.safetensors")}
    return load_file(run_training(make_train_config(settings), command="", progress=progress).path)


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"bn": "sample"},
        {"bn": "stein", "recipe": "cifar10"},
        {"bn": "stein", "adversarial": "pgd:eps=8/255,steps=2"},
        {"bn": "sample", "precision": "bf16"},
    ],
)
def test_training(tmp_path: Path, imitation_cuda: Device, options: dict[str, Any]) -> None:
    expected = train(tmp_path, "cpu", "cpu", **options)
    assert not imitation_cuda.events
    found = train(tmp_path, "cuda", "cuda", **options)
    assert_close(found, expected)
    assert imitation_cuda.events
    assert not imitation_cuda.mixes


class _Interrupting(Silent):
    """Presses Ctrl-C at the note about the first epoch."""

    def note(self, message: str) -> None:
        if message.startswith("epoch 1/"):
            raise KeyboardInterrupt


def test_a_resumed_training(tmp_path: Path, imitation_cuda: Device) -> None:
    whole = train(tmp_path, "cuda", "whole", bn="stein")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "cuda", "cut", progress=_Interrupting(), bn="stein")
    resumed = train(tmp_path, "cuda", "cut", bn="stein", resume=True)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert not imitation_cuda.mixes


@pytest.mark.integration
def test_inspection_and_theory(tmp_path: Path, imitation_cuda: Device, invoke: Any) -> None:
    problem = write_problem(tmp_path)
    network = ["--data", problem["data"], "--weights", "none", "--format", "json"]
    for command in (
        ["inspect", problem["model"], *network],
        ["theory", "lipschitz", "--model", problem["model"], *network, "--batch-size", "5", "--starts", "1"],
    ):
        expected, found = (invoke(*command, "--device", device) for device in ("cpu", "cuda"))
        assert found.exit_code == expected.exit_code == 0, found.output
        assert imitation_cuda.events
        assert not imitation_cuda.mixes
        imitation_cuda.reset()
        _assert_close(json.loads(found.stdout), json.loads(expected.stdout))


def _assert_close(found: Any, expected: Any) -> None:
    """Compare documents: numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            _assert_close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            _assert_close(*pair)
    else:
        assert found == (pytest.approx(expected, rel=1e-3, abs=1e-6) if isinstance(expected, float) else expected)


def test_the_device_is_chosen_if_there_is_one(tmp_path: Path, imitation_cuda: Device, invoke: Any) -> None:
    problem = write_problem(tmp_path)
    output = tmp_path / "report.json"
    arguments = ["--data", problem["data"], "--weights", "none", "--attack", "fgsm", "--output", output]
    result = invoke("evaluate", problem["model"], *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text())["run"]["environment"]["device"] == "cuda (imitation)"

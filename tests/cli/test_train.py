"""`stein-bench train` at the command line: output, files and one-line errors."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stein_bench.cli.commands import app
from tests.interrupts import popen_interruptible


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def short(net: str, output: Path) -> list[str]:
    return ["train", net, "--limit", "300", "--epochs", "2", "--output", str(output)]


@pytest.mark.integration
def test_it_prints_the_epochs_and_writes_weights_card_and_picture(net: str, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    result = invoke(*short(net, output), "--recipe", "cifar10", "--bn", "stein")
    assert result.exit_code == 0, result.output
    assert "epoch 1/2: loss" in result.stderr
    assert "best so far" in result.stderr
    assert "(270 samples, 30 for validation), BN stein, recipe cifar10, seed 0" in " ".join(result.stdout.split())
    assert "kept" in result.stdout
    assert f"stein-bench evaluate {net} --data digits --weights {output}" in result.stdout
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "w.json").read_text())["command"].startswith("stein-bench")
    evaluated = invoke("evaluate", net, "--weights", str(output), "--limit", "50", "--attack", "fgsm")
    assert evaluated.exit_code == 0, evaluated.output


def test_json_alone_goes_to_stdout_and_the_picture_where_it_is_told(net: str, tmp_path: Path) -> None:
    picture = tmp_path / "curves.svg"
    result = invoke(*short(net, tmp_path / "w.safetensors"), "--format", "json", "--plot", str(picture), "--quiet")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["document"] == "stein-bench training"
    assert result.stderr == ""
    assert picture.read_text().startswith("<?xml")
    assert not (tmp_path / "w.png").exists()


def test_recipes_are_listed() -> None:
    result = invoke("list", "recipes")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("cifar10-published", "cityscapes-published", "fit"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--epochs", "0"], "--epochs: input should be greater than or equal to 1 (got 0)"),
        (["--epoch", "3"], "no such option: --epoch"),
        (["--recipe", "cifar"], "unknown recipe 'cifar'. Did you mean 'cifar10'"),
        (["--bn", "stien"], "unknown estimator 'stien'"),
        (["--plot", "a.jpg"], "--plot a.jpg: the name must end in .png, .svg, .pdf"),
        (["--plot", "no/a.png"], "--plot no/a.png: it must be a file in an existing folder"),
        (["--output", "w.pth"], "--output: the name must end in .safetensors"),
        (["--output", "no/w.safetensors"], "must be a file in an existing folder"),
        (["--config", "no.yaml"], "cannot read the configuration 'no.yaml'"),
        (["--weights", "no.pth"], "no such file: no.pth"),
        (["--device", "gpu"], "--device"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(net: str, tmp_path: Path, extra: list[str], message: str) -> None:
    result = invoke(*short(net, tmp_path / "w.safetensors"), *extra)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not list(tmp_path.glob("w*"))


def test_without_model_or_output_it_says_what_is_missing(net: str) -> None:
    assert "no output given. Name the file to write" in invoke("train", net).stderr
    assert "no model given. Name one" in invoke("train", "--output", "w.safetensors").stderr


@pytest.mark.slow
def test_control_c_leaves_a_checkpoint_from_which_resume_goes_on(net: str, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    command = [sys.executable, "-m", "stein_bench", *short(net, output), "--epochs", "300", "--device", "cpu"]
    process = popen_interruptible(command)
    left = Path(f"{output}.partial")
    until = time.monotonic() + 60
    while not left.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; the last finished epoch is in {left}: add --resume to continue." in errors
    assert "Traceback" not in errors
    assert left.exists()
    assert not output.exists()
    refused = invoke(*short(net, output))
    assert (refused.exit_code, "add --resume" in refused.stderr) == (2, True)

"""The command line end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner, Result

import stein_bench
from stein_bench.cli.commands import app
from stein_bench.config import make_config, read_config_file
from stein_bench.preparation.plan import prepare
from stein_bench.report.document import read_report, report_schema
from tests.interrupts import popen_interruptible
from tests.journals import units_in
from tests.tiny import write_data

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "report.json"


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


def one_line(result: Result) -> str:
    """The error a user sees: exactly one line on stderr, nothing on stdout, no traceback."""
    assert result.stdout == ""
    assert result.stderr.startswith("stein-bench: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_evaluate_prints_a_table_and_writes_a_valid_report(tmp_path: Path) -> None:
    data, output = write_data(tmp_path, n=9), tmp_path / "report.json"  # few, for a network that is not tiny
    arguments = ["test_resnet", "--data", data, "--bn", "sample", "--bn", "stein", "--attack", "pgd"]
    result = invoke("evaluate", *arguments, "--output", str(output))
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if "Linf" in row] == ["sample", "stein"]
    assert "fit stein" in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    report = read_report(output)
    jsonschema.validate(json.loads(output.read_text()), report_schema())
    assert report.model.source == "timm:test_resnet"
    assert report.run.environment.packages["stein-bench"] == stein_bench.__version__
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "report"))] == ["report.json"]


def test_a_shorthand_is_told_in_one_line_and_reported_under_its_full_name(
    model: str, data: str, tmp_path: Path
) -> None:
    reports = {}
    for typed in ("PGD3", "pgd:steps=3"):
        output = tmp_path / "report.json"
        arguments = ["--data", data, "--weights", "none", "--limit", "6", "--norm", "2", "--eps", "0.5/255 0.25"]
        result = invoke("evaluate", model, *arguments, "--attack", typed, "--output", str(output))
        assert result.exit_code == 0, result.output
        assert result.stderr.count("attack PGD3: taken as pgd:steps=3\n") == (typed == "PGD3")
        reports[typed] = read_report(output).variants[0].attacks
    assert [(attack.name, attack.norm, attack.eps) for attack in reports["PGD3"]] == [
        ("pgd", "L2", 1 / 510), ("pgd", "L2", 0.25),
    ]  # fmt: skip
    found, full = ([attack.model_dump(exclude={"seconds"}) for attack in attacks] for attacks in reports.values())
    assert [attack["label"] for attack in found] == [attack["label"] for attack in full]
    assert [attack["robust_accuracy"] for attack in found] == [attack["robust_accuracy"] for attack in full]


@pytest.mark.integration
def test_json_is_alone_on_stdout(model: str, data: str) -> None:
    result = invoke("evaluate", model, "--data", data, "--format", "json", "--attack", "fgsm")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["schema_version"] == 1
    assert "fit sample" in result.stderr
    assert invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--quiet").stderr == ""


def test_the_schema_command_prints_the_schema() -> None:
    assert json.loads(invoke("schema").stdout) == report_schema()


def fixed_model(folder: Path) -> str:
    """A network with explicit weights: its outputs do not depend on any library's random numbers."""
    (folder / "fixed.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def make():\n"
        "    net = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))\n"
        "    nn.init.eye_(net[3].weight)\n"
        "    nn.init.zeros_(net[3].bias)\n"
        "    return net\n"
    )
    return f"{folder / 'fixed.py'}:make"


def masked(document: dict[str, Any]) -> dict[str, Any]:
    """Remove what differs between runs and machines."""
    run = document["run"]
    run.update(id="*", created="*", command="*", config_sha256="*", wall_seconds="*", environment="*")
    run["config"].update(model="*", data="*", output="*")
    document["model"]["source"] = "*"
    for variant in document["variants"]:
        for part in (variant["clean"], *variant["attacks"]):
            part["seconds"] = "*"
    return document


def test_the_report_is_the_golden_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by this test with STEIN_BENCH_WRITE_GOLDEN=1; changes in it are visible to users."""
    grid = np.arange(12)
    images = np.full((12, 2, 2, 3), 120, np.uint8)
    images[grid, :, :, grid % 3] += (3 * grid).astype(np.uint8)[:, None, None]
    np.savez(tmp_path / "grid.npz", images=images, labels=(grid + (grid == 7)) % 3)
    output = tmp_path / "report.json"
    arguments = ["--data", f"npz:{tmp_path / 'grid.npz'}", "--weights", "none", "--attack", "fgsm", "--batch-size", "5"]
    arguments += ["--attack", "pgd:eps=4/255,random_start=false,steps=4", "--bn", "sample", "--bn", "jsnorm"]
    result = invoke("evaluate", fixed_model(tmp_path), *arguments, "--output", str(output))
    assert result.exit_code == 0, result.output
    document = masked(json.loads(output.read_text()))
    if os.environ.get("STEIN_BENCH_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(document, indent=2) + "\n")
    assert document == json.loads(GOLDEN.read_text())
    # What the golden numbers mean: class gaps are 3·i levels, one label is wrong, eps moves a gap by 2·eps.
    sample = document["variants"][0]
    assert sample["clean"]["accuracy"] == pytest.approx(11 / 12)
    gaps = [3 * i for i in grid if i != 7]
    assert sample["attacks"][0]["robust_accuracy"] == pytest.approx(sum(gap > 16 for gap in gaps) / 12)
    assert sample["attacks"][1]["robust_accuracy"] == pytest.approx(sum(gap > 8 for gap in gaps) / 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet8"], "unknown model 'resnet8'. Did you mean 'resnet18'"),
        (["test_resnet", "--attack", "pgdd"], "unknown attack 'pgdd'. Did you mean 'pgd'"),
        (["test_resnet", "--attack", "pgd:eps=0"], "must be above 0"),
        (["test_resnet", "--eps", "8/0"], "divides by zero"),
        (["test_resnet", "--eps", "2"], "above 1"),
        (["test_resnet", "--data", "npz:missing.npz"], "missing.npz: no such file"),
        (["test_resnet", "--data", "digit"], "Did you mean 'digits'? See `stein-bench list data`."),
        (["test_resnet", "--eps", "4/255", "8/255"], "(8/255). A list of numbers is one word, as in 4/255,8/255."),
        (["test_resnet", "--eps", "0,03"], "eps has a decimal comma: '0,03'. Write 0.03."),
        (["test_resnet", "--eps", "8"], "Did you mean 8/255?"),
        (["test_resnet", "--attack", "standard"], "give it with --battery standard."),
        (["test_resnet", "--battery", "pgd"], "give it with --attack pgd."),
        (["test_resnet", "--norm", "L7"], "--norm: input should be 'Linf', 'L2', 'L1' or 'L0' (got 'L7')."),
        (["test_resnet", "--atack", "pgd"], "no such option: --atack"),
        (["test_resnet", "--atack-precision", "bf16"], "no such option: --atack-precision"),
        (["test_resnet", "--attack-precision", "fp8"], "--attack-precision: input should be 'fp32', 'tf32' or 'bf16'"),
        (["test_resnet", "--device", "cpu", "--attack-precision", "tf32"], "tf32 has no effect on cpu"),
        (["test_resnet", "--limit", "many"], "invalid value for '--limit'"),
        (["test_resnet", "--stats", "runing"], "--stats: input should be 'running' or 'batch'"),
        (["test_resnet", "--resume"], "--resume needs --output"),
        (["test_resnet", "--output", "no/such/folder/r.json"], "there is no folder no/such/folder"),
        (["test_resnet", "--config", "missing.yaml"], "cannot read the configuration 'missing.yaml'"),
        (["test_resnet", "extra"], "several models (test_resnet, extra): give --output DIR/"),
        (["test_resnet", "--battery", "standart"], "unknown battery 'standart'. Did you mean 'standard'?"),
        (["test_vit", "--bn", "stein"], "has no BatchNorm layer"),
        (["test_resnet", "--attack", "torchattacks.TIFGSM:kernel_name=foo"], "does not take its parameters"),
        ([""], "MODEL: string should have at least 1 character"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke("evaluate", *arguments)
    assert message in one_line(result)
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("net.json", "the training card of"),
        ("net.safetensors", "the weights"),
        ("run.yaml", "the configuration"),
    ],
)
def test_a_report_does_not_overwrite_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in (("net.json", "{}"), ("net.safetensors", ""), ("run.yaml", "model: test_resnet")):
        (tmp_path / file).write_text(text)
    before = (tmp_path / name).read_bytes()
    result = invoke("evaluate", "--config", "run.yaml", "--weights", "net.safetensors", "--output", f"./{name}")
    assert f"--output ./{name} would overwrite {what}" in one_line(result)
    assert result.exit_code == 2
    assert (tmp_path / name).read_bytes() == before


def test_a_report_does_not_overwrite_data_battery_or_model(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("attacks: [fgsm]")
    (tmp_path / "net.py").write_text("Net = None")
    (tmp_path / "a.adversarials.npz").write_bytes(b"data")
    common = ["--weights", "none", "--quiet"]
    for arguments, what in (
        ([model, "--data", data, "--battery", "own.yaml", "--output", "own.yaml"], "would overwrite the battery"),
        (["net.py:Net", "--data", data, "--output", "net.py"], "would overwrite the model"),
        (["jit:own.yaml", "--data", data, "--output", "own.yaml"], "would overwrite the model"),
        ([model, "--data", "npz:a.adversarials.npz", "--output", "a.adversarials.npz"], "would overwrite the data"),
        (
            [model, "--data", "npz:a.adversarials.npz", "--save-adversarials", "1", "--output", "a.json"],
            "a.adversarials.npz) would overwrite the data",
        ),
    ):
        result = invoke("evaluate", *arguments, *common)
        assert what in one_line(result)
        assert result.exit_code == 2
    assert (tmp_path / "a.adversarials.npz").read_bytes() == b"data"


def test_a_report_may_have_the_name_of_a_kind_of_weights(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--limit", "9", "--output", "auto.json")
        assert result.exit_code == 0, result.output


def test_weights_without_a_name_are_one_line_also_with_an_output(tmp_path: Path) -> None:
    result = invoke("evaluate", "test_resnet", "--weights", ".", "--output", str(tmp_path / "r.json"))
    assert "is not a weights file" in one_line(result)


def test_an_unknown_command_names_the_nearest() -> None:
    result = invoke("evaluat")
    assert "Did you mean 'evaluate'?" in one_line(result)
    assert result.exit_code == 2


def test_dishonest_results_exit_with_3_and_are_still_written(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stein_bench.attacks import native

    monkeypatch.setattr(native, "fgsm", lambda network, inputs, *rest, **options: inputs + 0.5)
    output = tmp_path / "report.json"
    result = invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--output", str(output))
    assert result.exit_code == 3
    assert "fgsm: invalid" in result.stdout
    assert read_report(output).variants[0].attacks[0].status == "invalid"


@pytest.mark.integration
def test_ctrl_c_exits_with_130_and_keeps_what_is_done(data: str, tmp_path: Path) -> None:
    """A real process gets a real SIGINT in the middle of a long attack."""
    model, output = fixed_model(tmp_path), tmp_path / "report.json"
    command = [sys.executable, "-m", "stein_bench", "evaluate", model, "--data", data, "--output", str(output)]
    command += ["--weights", "none", "--attack", "fgsm", "--attack", "pgd:steps=100000", "--batch-size", "30"]
    process = popen_interruptible(command)
    journal = Path(f"{output}.partial")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and len(units_in(journal)) > 3):
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].endswith(f"finished batches are in {journal}: add --resume to continue.")
    assert not output.exists()


def test_a_failed_start_leaves_nothing_in_the_way_of_the_next(model: str, data: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    output = tmp_path / "report.json"
    arguments = ["evaluate", model, "--data", data, "--attack", "fgsm", "--output", str(output)]
    assert invoke(*arguments, "--weights", str(tmp_path / "bad.pth")).exit_code == 2
    assert invoke(*arguments).exit_code == 0


def test_a_network_that_prints_does_not_spoil_the_json(data: str, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from torch import nn\n\n\nclass Loud(nn.Sequential):\n    def forward(self, x):\n"
        "        print('hello from forward')\n        return super().forward(x)\n\n\n"
        "def make():\n    return Loud(nn.Flatten(), nn.Linear(192, 3))\n"
    )
    arguments = ["--data", data, "--weights", "none", "--attack", "fgsm", "--format", "json"]
    result = invoke("evaluate", f"{tmp_path / 'loud.py'}:make", *arguments)
    assert json.loads(result.stdout)["schema_version"] == 1
    assert "hello from forward" in result.stderr


def test_an_error_of_the_system_is_one_line(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/nowhere/x")

    with monkeypatch.context() as patched:
        patched.setattr("tempfile.TemporaryFile", refuse)
        result = invoke("evaluate", model, "--data", data, "--output", str(tmp_path / "r.json"))
        assert "cannot write into" in one_line(result)
    monkeypatch.setattr("stein_bench.evaluation.run.run_evaluation", refuse)
    result = invoke("evaluate", model, "--data", data)
    assert one_line(result) == "stein-bench: /nowhere/x: Permission denied.\n"
    assert result.exit_code == 2


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m stein_bench list models | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("what", "expected"),
    [("attacks", "torchattacks.PGD"), ("data", "digits"), ("bn", "stein"), ("batteries", "standard")],
)
def test_listings_name_what_there_is(what: str, expected: str) -> None:
    result = invoke("list", what)
    assert result.exit_code == 0
    assert expected in result.stdout


def test_listing_models_can_be_searched() -> None:
    names = invoke("list", "models", "resnet18").stdout.split()
    assert {"timm:resnet18", "torchvision:resnet18"} <= set(names)
    assert all("resnet18" in name for name in names)
    assert "no models with 'zzz'" in one_line(invoke("list", "models", "zzz"))


def test_version_and_help() -> None:
    assert invoke("--version").stdout == f"stein-bench {stein_bench.__version__}\n"
    text = invoke("evaluate", "--help").stdout
    assert "stein-bench evaluate resnet18 --attack pgd" in text
    for name in ("--data", "--weights", "--bn", "--stats", "--attack", "--eps", "--limit", "--compile", "--output"):
        assert name in text
    assert {"--attack-precision", "fp32|tf32|bf16"} <= set(text.split())


def test_every_option_is_a_config_key_and_the_other_way_round() -> None:
    from stein_bench.config import OPTION_NAMES
    from stein_bench.sweep.settings import SWEEP_NAMES

    options = {parameter.name.replace("_", "-") for parameter in get_command(app).commands["evaluate"].params}
    assert options - {"config", "dry-run"} == {*OPTION_NAMES, *SWEEP_NAMES}


RUN_CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if path.name != "gate.yaml")


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=lambda path: path.name)
def test_every_example_configuration_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read and merged; those that need no user files are also planned."""
    config = make_config({"trust_code": True}, path)
    assert read_config_file(path)
    if config.data == "digits":
        assert prepare(config).attacks


def test_there_are_example_configurations() -> None:
    assert len(RUN_CONFIGS) >= 2


def test_a_battery_runs_from_its_file_and_attacks_add_to_it(model: str, data: str, tmp_path: Path) -> None:
    file, output = tmp_path / "mine.yaml", tmp_path / "report.json"
    file.write_text("attacks: [fgsm, noise-rademacher]\n")
    arguments = ["evaluate", model, "--data", data, "--battery", str(file), "--attack", "mifgsm:steps=2"]
    result = invoke(*arguments, "--output", str(output), "--limit", "9")
    assert result.exit_code == 0, result.output
    (variant,) = read_report(output).variants
    assert [attack.name for attack in variant.attacks] == ["fgsm", "mifgsm"]
    assert [corruption.name for corruption in variant.corruptions] == ["noise-rademacher"]
    file.write_text("attacks: [pgdd]\n")
    assert "unknown attack 'pgdd'" in one_line(invoke(*arguments))


def test_listed_attacks_show_what_they_support_and_why_not() -> None:
    text = " ".join(invoke("list", "attacks", "apgd-t").stdout.split())
    assert "Linf, L2, L1; white-box; classification; at least 4 classes" in text
    assert "ignores ε" not in text
    assert "ignores ε" in " ".join(invoke("list", "attacks", "deepfool").stdout.split())
    assert "not available" in invoke("list", "attacks", "JSMA").stdout


def test_a_wrong_choice_is_named_without_the_parsers_words() -> None:
    result = invoke("list", "atacks")
    assert result.exit_code == 2
    assert "invalid value for 'KIND': 'atacks' is not one of" in one_line(result)


def test_a_config_file_runs(model: str, data: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    settings = {"model": model, "data": data, "attack": ["fgsm"], "eps": "4/255", "limit": 12}
    file.write_text(yaml.safe_dump(settings))
    result = invoke("evaluate", "--config", str(file), "--trust-code", "--format", "json", "--limit", "9")
    report = json.loads(result.stdout)
    assert report["data"]["samples"] == 9
    assert report["variants"][0]["attacks"][0]["eps"] == pytest.approx(4 / 255)

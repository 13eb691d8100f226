"""Adversarial examples kept beside a report: the right ones, lossless, at no cost to the results, resumed or not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from stein_bench.attacks import native
from stein_bench.cli.commands import app
from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.report.adversarials import Gallery, adversarials_path, read_adversarials
from stein_bench.report.document import Report, report_schema
from stein_bench.report.packing import unpack_bits

FIXED = """
from torch import nn


def make():
    \"\"\"The brightest channel, by BN that changes nothing; no training is needed.\"\"\"
    return nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
COMMON = {"weights": "none", "mean": "0", "std": "1", "eps": "12/255"}


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "fixed.py").write_text(FIXED)
    return f"{tmp_path / 'fixed.py'}:make"


def run(model: str, data: str, **options: Any) -> Report:
    return run_evaluation(make_config({"model": model, "data": data, **COMMON, **options}))


def kept(report: Report, output: Path) -> Gallery:
    gallery = read_adversarials(report, output)
    assert gallery is not None
    return gallery


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_the_first_samples_that_broke_are_kept_and_others_fill_up(model: str, data: str, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    options = {"bn": ["sample", "jsnorm"], "attack": ["fgsm:eps=1/255", "pgd"], "batch_size": 7}
    report = run(model, data, **options, output=str(output), save_adversarials=4)
    gallery = kept(report, output)
    assert (report.adversarials.file, report.adversarials.per_attack) == ("report.adversarials.npz", 4)
    assert report.adversarials.examples == len(gallery.examples) == 16
    jsonschema.validate(report.model_dump(mode="json"), report_schema())
    for variant in report.variants:
        clean = unpack_bits(variant.outcomes.clean_correct, 60)
        for attack in variant.attacks:
            robust = unpack_bits(variant.outcomes.robust[attack.label], 60)
            own = [e for e in gallery.examples if (e.variant, e.attack) == (f"{variant.bn}/running", attack.label)]
            broken = np.flatnonzero(clean & ~robust)[:4].tolist()
            others = np.flatnonzero(~(clean & ~robust))[: 4 - len(broken)].tolist()
            assert [e.index for e in own] == broken + others
            assert [e.broken for e in own] == [True] * len(broken) + [False] * len(others)
            for e in own:
                assert (e.clean_prediction == e.label) == clean[e.index]
                assert e.broken == (clean[e.index] and e.adv_prediction != e.label)
                assert e.inputs.dtype == e.adv_inputs.dtype == np.float32
                assert np.abs(e.adv_inputs.astype(float) - e.inputs).max() <= attack.eps * (1 + 1e-5) + 1e-6
    assert run(model, data, **options).variants[1].outcomes == report.variants[1].outcomes


@pytest.mark.usefixtures("unchecked")
def test_what_is_kept_is_what_was_verified(model: str, data: str, tmp_path: Path) -> None:
    """The stored float32 inputs fool the network again; rounding them to eighths would not."""
    from stein_bench.evaluation.networks import build_network
    from stein_bench.preparation.plan import prepare
    from stein_bench.progress import Silent

    output = tmp_path / "report.json"
    options = {"attack": "pgd", "output": str(output), "save_adversarials": 60}
    settings = make_config({"model": model, "data": data, **COMMON, **options})
    report = run_evaluation(settings)
    examples = kept(report, output).examples
    plan = prepare(settings)
    network = plan.wrap(build_network(plan, "sample", Silent()).network)
    with torch.no_grad():
        predicted = network(torch.from_numpy(np.stack([e.adv_inputs for e in examples]))).argmax(1).tolist()
    assert predicted == [int(e.adv_prediction) for e in examples]
    clean, robust = report.variants[0].clean.accuracy, report.variants[0].attacks[0].robust_accuracy
    assert 0 < sum(e.broken for e in examples) == round((clean - robust) * 60)


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_a_resumed_run_keeps_the_same_examples(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("whole.json", "resumed.json")]
    options: dict[str, Any] = {"attack": ["fgsm", "pgd"], "batch_size": 8, "save_adversarials": 5}
    whole = run(model, data, **options, output=str(files[0]))
    attack, calls = native.refill, 0

    def interrupting(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return attack(*args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(native, "refill", interrupting)
        run(model, data, **options, output=str(files[1]))
    resumed = run(model, data, **options, output=str(files[1]), resume=True)
    assert resumed.variants[0].outcomes == whole.variants[0].outcomes
    assert adversarials_path(files[0]).read_bytes() == adversarials_path(files[1]).read_bytes()


@pytest.mark.usefixtures("unchecked")
def test_examples_of_finished_units_are_made_again_only_where_they_are_needed(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after everything was attacked: of twenty batches of one, those with the first three broken samples."""
    from stein_bench.evaluation import run as composition

    output = tmp_path / "report.json"
    options: dict[str, Any] = {"attack": ["pgd"], "batch_size": 1, "limit": 20, "output": str(output)}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(composition, "model_checks", _interrupt)
        run(model, data, **options)
    attack, calls = native.refill, 0

    def counting(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return attack(*args, **kwargs)

    monkeypatch.setattr(native, "refill", counting)
    report = run(model, data, **options, resume=True, save_adversarials=3)
    assert sum(e.broken for e in kept(report, output).examples) == 3
    assert 3 <= calls <= 6  # those that broke, and the first three, which might have had to fill up


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("unchecked")
def test_batch_statistics_are_kept_as_attacked(model: str, data: str, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    report = run(model, data, bn="stein", stats="batch", batch_size=20, output=str(output), save_adversarials=2)
    gallery = kept(report, output)
    assert [e.variant for e in gallery.examples] == ["stein/batch"] * 2 + ["sample/batch"] * 2
    assert gallery.class_name(0) == "0"


def test_a_missing_or_edited_file_is_said_plainly(model: str, data: str, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    report = run(model, data, attack="fgsm", output=str(output), save_adversarials=2)
    file = tmp_path / "report.adversarials.npz"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"!")
    with pytest.raises(UsageError, match=r"is not the file written with .*report\.json"):
        read_adversarials(report, output)
    file.write_bytes(b"no archive")
    named = report.adversarials.model_copy(update={"sha256": hashlib.sha256(b"no archive").hexdigest()})
    with pytest.raises(UsageError, match="does not contain adversarial examples"):
        read_adversarials(report.model_copy(update={"adversarials": named}), output)
    file.unlink()
    with pytest.raises(UsageError, match="Keep it beside the report"):
        read_adversarials(report, output)
    assert read_adversarials(report.model_copy(update={"adversarials": None}), output) is None


def test_it_needs_an_output(model: str, data: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", model, "--data", data, "--save-adversarials", "2"])
    assert result.exit_code == 2
    assert (
        result.stderr == "stein-bench: --save-adversarials needs --output: the examples are stored beside the report.\n"
    )


class _Random(nn.Module):
    """Draws from the global generator in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * inputs.flatten(2).mean(2) + 0.03 * torch.randn(len(inputs), 3)


RANDOM = """
import sys
sys.path.insert(0, {folder!r})
from tests.evaluation.test_examples import _Random


def make():
    return _Random()
"""


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_keeping_draws_nothing_that_the_verdicts_depend_on(data: str, tmp_path: Path) -> None:
    """A network with random outputs: the predictions for the file must not shift those of the evaluation."""
    (tmp_path / "random_net.py").write_text(RANDOM.format(folder=str(Path(__file__).parents[2])))
    options: dict[str, Any] = {"attack": ["fgsm", "pgd"], "batch_size": 9}
    spec = f"{tmp_path / 'random_net.py'}:make"
    plain = run(spec, data, **options)
    keeping = run(spec, data, **options, output=str(tmp_path / "r.json"), save_adversarials=3)
    assert plain.variants[0].outcomes == keeping.variants[0].outcomes
    assert 0 < plain.variants[0].attacks[0].robust_accuracy < 1

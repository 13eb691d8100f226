"""A whole run on a tiny network: what is in the report, and that it does not depend on what it should not."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from stein_bench.attacks import native
from stein_bench.config import make_config
from stein_bench.errors import RunError, UsageError
from stein_bench.evaluation.journal import journal_path
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.weights import read_weights
from stein_bench.progress import Progress, Silent
from stein_bench.render.report.table import print_report
from stein_bench.report.document import Report
from stein_bench.report.packing import unpack_bits


def run(model: str, data: str, progress: Progress | None = None, **options: Any) -> Report:
    config = make_config({"model": model, "data": data, "eps": "12/255", **options})
    return run_evaluation(config, progress=progress)


class LastShown(Silent):
    """Keeps what is shown last in each phase."""

    def __init__(self) -> None:
        self.phase, self.last = "", dict[str, str]()

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phase = phase

    def advance(self, samples: int, note: str = "") -> None:
        self.last[self.phase] = note


def outcomes(report: Report) -> list[tuple[str, dict[str, str]]]:
    return [(variant.outcomes.clean_correct, variant.outcomes.robust) for variant in report.variants]


@pytest.mark.integration
def test_a_run_fits_evaluates_and_reports(model: str, data: str) -> None:
    report = run(model, data, bn=["sample", "stein"], attack=["fgsm", "pgd"])
    assert [variant.bn for variant in report.variants] == ["sample", "stein"]
    assert [variant.conversion for variant in report.variants] == ["none", "before-training"]
    assert [variant.converted_layers for variant in report.variants] == [0, 1]
    assert report.model.batchnorm_layers == 1
    assert report.model.classes == 3
    assert report.data.samples == 60
    assert not report.dishonest()
    for variant in report.variants:
        assert variant.clean.accuracy > 0.9
        assert variant.layers_of_unknown_count == 0
        assert [attack.name for attack in variant.attacks] == ["fgsm", "pgd"]
        fgsm, pgd = variant.attacks
        assert fgsm.robust_accuracy is not None
        assert pgd.robust_accuracy is not None
        assert pgd.robust_accuracy <= fgsm.robust_accuracy < variant.clean.accuracy
        assert pgd.perturbation_linf is not None
        assert pgd.perturbation_linf.max <= pgd.eps * (1 + 1e-5) + 1e-6
        # Work on a sample ends where it breaks: more than one pass each, and not all ten.
        assert 60 < pgd.forward_passes == pgd.backward_passes < 600
        assert (fgsm.forward_passes, fgsm.backward_passes) == (60, 60)


def test_rates_are_those_of_the_kept_outcomes(model: str, data: str) -> None:
    (variant,) = run(model, data, attack=["fgsm", "pgd"]).variants
    clean = unpack_bits(variant.outcomes.clean_correct, 60)
    robust = [unpack_bits(text, 60) for text in variant.outcomes.robust.values()]
    assert clean.mean() == pytest.approx(variant.clean.accuracy)
    for bits, attack in zip(robust, variant.attacks, strict=True):
        assert bits.mean() == pytest.approx(attack.robust_accuracy)
        assert not (bits & ~clean).any()
        assert 1 - bits.sum() / clean.sum() == pytest.approx(attack.attack_success_rate)
    assert (robust[0] & robust[1]).mean() == pytest.approx(variant.worst_case_accuracy)


@pytest.mark.integration
def test_verdicts_do_not_depend_on_the_batch_size_or_the_order_of_attacks(model: str, data: str) -> None:
    whole = run(model, data, attack=["pgd", "fgsm"])
    other = run(model, data, attack=["fgsm", "pgd"], batch_size=7, workers=2)
    assert outcomes(whole) == [(clean, dict(sorted(robust.items(), reverse=True))) for clean, robust in outcomes(other)]


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_the_seed_decides_and_nothing_else(model: str, data: str) -> None:
    first = run(model, data)
    torch.manual_seed(123)
    assert outcomes(run(model, data)) == outcomes(first)
    weights = {run(model, data, seed=seed).model.weights.sha256 for seed in (0, 0, 1)}
    assert len(weights) == 2


def test_the_global_rng_is_left_alone(model: str, data: str) -> None:
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    run(model, data, attack=["pgd", "torchattacks.APGD"])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_a_fit_is_cached_and_belongs_to_everything_that_matters(model: str, data: str, own_cache: Path) -> None:
    run(model, data)
    (first,) = (own_cache / "fits").iterdir()
    written = first.stat().st_mtime_ns
    run(model, data, attack="fgsm", limit=10)
    assert [path.stat().st_mtime_ns for path in (own_cache / "fits").iterdir()] == [written]
    run(model, data, seed=1)
    run(model, data, bn="stein")
    run(model, data, mean="0.5")
    file = Path(model.rpartition(":")[0])
    file.write_text(file.read_text() + "\n# edited\n")
    run(model, data)
    assert len(list((own_cache / "fits").iterdir())) == 5


@pytest.mark.integration
@pytest.mark.usefixtures("trained_anew")
def test_a_damaged_cache_is_trained_again(model: str, data: str, own_cache: Path) -> None:
    first = run(model, data)
    (file,) = (own_cache / "fits").iterdir()
    file.write_bytes(b"damaged")
    assert run(model, data).model.weights == first.model.weights
    assert read_weights(file).card is not None


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_weights_of_this_tool_carry_their_bn(model: str, data: str, own_cache: Path, tmp_path: Path) -> None:
    fitted = run(model, data, bn="stein")
    (file,) = (own_cache / "fits").iterdir()
    saved = file.rename(tmp_path / "stein.safetensors")
    loaded = run(model, data, weights=str(saved))
    assert loaded.variants[0].bn == "stein"
    assert loaded.variants[0].conversion == "before-training"
    assert loaded.model.weights.kind == "file"
    assert outcomes(loaded) == outcomes(fitted)
    with pytest.raises(UsageError, match="were trained with --bn stein; --bn sample cannot be applied to them"):
        run(model, data, weights=str(saved), bn="sample")


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_plain_weights_are_converted_after_loading(model: str, data: str, own_cache: Path, tmp_path: Path) -> None:
    run(model, data)
    (file,) = (own_cache / "fits").iterdir()
    saved = file.rename(tmp_path / "plain.safetensors")
    report = run(model, data, weights=str(saved), bn=["sample", "stein"])
    assert [variant.conversion for variant in report.variants] == ["none", "after-training"]
    assert report.variants[1].layers_of_unknown_count == 1
    assert not report.variants[1].function_preserved
    plain, converted = outcomes(report)
    assert plain != converted
    preserved = run(model, data, weights=str(saved), bn=["sample", "stein"], preserve_function=True)
    assert [variant.function_preserved for variant in preserved.variants] == [False, True]
    assert outcomes(preserved) == [plain, plain]


@pytest.mark.parametrize(("bn", "weights"), [("stein", "fit"), ("sample", "file"), ("stein", "none")])
def test_preserving_the_function_needs_trained_plain_weights_that_are_converted(
    model: str, data: str, own_cache: Path, bn: str, weights: str
) -> None:
    if weights == "file":
        run(model, data)
        weights = str(next((own_cache / "fits").iterdir()))
    with pytest.raises(UsageError, match="--preserve-function is for trained plain-BN weights"):
        run(model, data, weights=weights, bn=bn, preserve_function=True)


def test_a_layer_that_cannot_take_up_the_change_is_named_before_anything_runs(data: str, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(192, 3))\n"
    )
    torch.save(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(192, 3)).state_dict(),
               tmp_path / "bare.pth")  # fmt: skip
    settings = {"weights": str(tmp_path / "bare.pth"), "bn": ["sample", "stein"], "preserve_function": True}
    with pytest.raises(UsageError, match=r"layer '0': it has no γ and β"):
        run(f"{tmp_path / 'bare.py'}:make", data, **settings)


@pytest.mark.integration
def test_a_stein_variant_under_batch_statistics_gets_its_control(model: str, data: str) -> None:
    report = run(model, data, bn="stein", stats="batch")
    assert [(v.bn, v.stats, v.control) for v in report.variants] == [
        ("stein", "batch", False),
        ("sample", "batch", True),
    ]
    assert all(v.clean.assumes_independence for v in report.variants)
    assert report.model.weights.sha256 is None


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_batch_statistics_really_are_the_batchs(model: str, data: str) -> None:
    """Under batch statistics the partition is part of the result; under running statistics it is not."""
    whole, parts = (run(model, data, stats=["running", "batch"], batch_size=size) for size in (60, 4))
    assert outcomes(whole)[0] == outcomes(parts)[0]
    assert outcomes(whole)[1] != outcomes(parts)[1]


class Lying:
    """Replaces the native FGSM by an attack with a fault."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
        def attack(network: nn.Module, inputs: Tensor, *_: Any, eps: float, **_options: Any) -> Tensor:
            return fault(inputs, eps)

        monkeypatch.setattr(native, "fgsm", attack)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "fault",
    [
        lambda x, eps: x + 3 * eps,
        lambda x, eps: (x + eps) * 1.5,
        lambda x, eps: x * torch.nan,
    ],
    ids=["leaves the ball", "leaves the box", "returns NaN"],
)
def test_dishonest_attacks_are_invalid_and_break_nothing(
    model: str, data: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lying(monkeypatch, fault)
    report = run(model, data, attack=["fgsm", "pgd"])
    fgsm, pgd = report.variants[0].attacks
    assert fgsm.status == "invalid"
    assert fgsm.invalid == 60
    assert fgsm.robust_accuracy == report.variants[0].clean.accuracy
    assert pgd.status == "ok"
    assert len(report.dishonest()) == 1


@pytest.mark.usefixtures("unchecked")
def test_an_attack_that_raises_is_failed_and_the_others_go_on(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(inputs: Tensor, eps: float) -> Tensor:
        raise RuntimeError("out of\nluck")

    Lying(monkeypatch, fault)
    report = run(model, data, attack=["fgsm", "pgd"])
    fgsm, pgd = report.variants[0].attacks
    assert (fgsm.status, fgsm.message, fgsm.robust_accuracy) == ("failed", "RuntimeError: out of luck", None)
    assert pgd.status == "ok"
    assert report.variants[0].worst_case_accuracy is None
    assert list(report.variants[0].outcomes.robust) == [pgd.label]


@pytest.mark.usefixtures("unchecked")
def test_an_interrupted_run_goes_on_where_it_was(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "report.json")
    options = {"attack": ["fgsm", "pgd"], "batch_size": 20, "output": output}
    expected = run(model, data, attack=["fgsm", "pgd"], batch_size=20)
    real, calls = native.refill, []

    def interrupting(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(native, "refill", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run(model, data, **options)
    assert journal_path(output).exists()
    with pytest.raises(UsageError, match="add --resume to continue"):
        run(model, data, **options)
    with pytest.raises(UsageError, match=r"belongs to another run \(differs in config_sha256\)"):
        run(model, data, **options, resume=True, seed=5)
    calls.clear()
    calls.append(0)
    monkeypatch.setattr(native, "refill", lambda *a, **k: calls.append(1) or real(*a, **k))
    shown = LastShown()
    resumed = run(model, data, shown, **options, resume=True)
    assert sum(calls) == 2
    assert outcomes(resumed) == outcomes(expected)
    robust = [attack.robust_accuracy for attack in expected.variants[0].attacks]
    assert shown.last["pgd sample/running"] == f"accuracy {100 * robust[1]:.1f} %"  # not only of the new samples


@pytest.mark.usefixtures("unchecked")
def test_a_battery_whose_file_changed_is_another_run(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration names the file only: what is in it counts."""
    file, output = tmp_path / "mine.yaml", str(tmp_path / "report.json")
    file.write_text("attacks: [fgsm, pgd]\n")

    def interrupting(*args: Any, **kwargs: Any) -> Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(native, "refill", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run(model, data, battery=str(file), output=output)
    file.write_text("attacks: [fgsm, 'pgd:steps=3']\n")
    with pytest.raises(UsageError, match=r"belongs to another run \(differs in attacks\)"):
        run(model, data, battery=str(file), output=output, resume=True)
    file.write_text("attacks: [fgsm, pgd]\n")
    resumed = run(model, data, battery=str(file), output=output, resume=True)
    assert [attack.name for attack in resumed.variants[0].attacks] == ["fgsm", "pgd"]


def test_a_network_that_diverges_is_a_failed_run(tmp_path: Path, data: str) -> None:
    (tmp_path / "bad.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(192, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        y = self.linear(x.flatten(1))\n"
        "        return y * torch.nan if self.training else y\n"
    )
    with pytest.raises(RunError, match="training became unstable"):
        run(f"{tmp_path / 'bad.py'}:Net", data)


def test_outputs_that_are_not_finite_are_wrong_and_reported(tmp_path: Path, data: str) -> None:
    (tmp_path / "bad.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(192, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        y = self.linear(x.flatten(1))\n"
        "        bright = x[:, 0].mean(dim=(1, 2)) > 0.45\n"
        "        return torch.where(bright[:, None] & (not self.training), y * torch.nan, y)\n"
    )
    report = run(f"{tmp_path / 'bad.py'}:Net", data, weights="none")
    assert report.variants[0].clean.nonfinite_outputs >= 10
    assert report.dishonest()


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_a_resumed_run_is_not_mixed_with_another_network(
    model: str, data: str, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test data are the same; what the network was trained on is not."""
    output = str(tmp_path / "report.json")
    with monkeypatch.context() as patched:
        patched.setattr(native, "fgsm", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(model, data, attack="fgsm", output=output)
    with np.load(tmp_path / "train.npz") as train:
        np.savez(tmp_path / "train.npz", images=train["images"], labels=np.roll(train["labels"], 1))
    with pytest.raises(UsageError, match="holds results of another network for sample/running"):
        run(model, data, attack="fgsm", output=output, resume=True)


def _interrupt(*_: Any, **__: Any) -> Tensor:
    raise KeyboardInterrupt


@pytest.mark.integration
def test_a_network_that_draws_in_evaluation_gives_the_same_report_again(data: str, tmp_path: Path) -> None:
    (tmp_path / "random_net.py").write_text(
        "from torch import nn\nfrom torch.nn import functional as F\n\n\n"
        "class Random(nn.Sequential):\n    def forward(self, x):\n"
        "        return F.dropout(super().forward(x), 0.5, training=True)\n\n\n"
        "def make():\n    return Random(nn.Flatten(), nn.Linear(192, 3))\n"
    )
    options = {"weights": "none", "attack": ["fgsm", "pgd"]}
    first = run(f"{tmp_path / 'random_net.py'}:make", data, **options)
    torch.rand(1)
    second = run(f"{tmp_path / 'random_net.py'}:make", data, **options)
    assert outcomes(first) == outcomes(second)


@pytest.mark.integration
def test_the_control_accounts_for_its_layers_as_the_variant_does(model: str, data: str) -> None:
    stein, control = run(model, data, bn="stein", stats="batch").variants
    assert control.control
    assert (control.converted_layers, control.conversion) == (stein.converted_layers, "none")


@pytest.mark.integration
def test_without_a_control_the_table_and_the_notes_say_so(
    model: str, data: str, own_cache: Path, tmp_path: Path
) -> None:
    run(model, data, bn="stein")
    (file,) = (own_cache / "fits").iterdir()
    saved = file.rename(tmp_path / "stein.safetensors")
    report = run(model, data, weights=str(saved), stats="batch")
    assert [(v.bn, v.stats) for v in report.variants] == [("stein", "batch")]
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=200))
    assert "no plain-BN control" in stream.getvalue()


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_attacks_that_make_the_perturbation_small_report_how_far_they_had_to_go(
    model: str, data: str, tmp_path: Path
) -> None:
    """Distances of all samples, beyond the budget too; the budget decides what counts as broken all the same."""
    attacks = ["fab:steps=10,eps=2/255", "torchattacks.DeepFool:eps=0.1", "pgd:steps=20,eps=2/255"]
    report = run(model, data, attack=attacks)
    report = Report.model_validate_json(report.to_json())
    (variant,) = report.variants
    fab, deepfool, pgd = variant.attacks
    assert pgd.distances is None
    assert fab.distances is not None
    assert deepfool.distances is not None
    assert fab.distances.samples == round(60 * variant.clean.accuracy)
    assert fab.distances.found > round(60 * (variant.clean.accuracy - fab.robust_accuracy)) + 10
    assert fab.over_budget > 10
    assert fab.robust_accuracy == pytest.approx(pgd.robust_accuracy, abs=2 / 60)
    for eps, robust in fab.distances.curve[::5]:
        (attack,) = run(model, data, attack=f"pgd:steps=20,eps={max(eps, 1e-4)!r}").variants[0].attacks
        assert attack.robust_accuracy == pytest.approx(robust, abs=4 / 60)
    console = Console(file=io.StringIO(), width=150)
    print_report(report, console)
    text = " ".join(console.file.getvalue().split())
    median = f"{255 * fab.distances.median:.3g}/255"
    assert f"fab 2/255: nearest adversarial inputs found: Linf median {median}, mean" in text
    assert f"for {fab.distances.found} of {fab.distances.samples} samples" in text

"""Evaluations on the imitated device: the results are those of the CPU, and no operation mixes devices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stein_bench.attacks import native, starts
from stein_bench.attacks.catalog import NATIVE, NOISE, TRANSFERS
from stein_bench.attacks.torchattacks_catalog import TORCHATTACKS
from stein_bench.evaluation import attack_choice
from stein_bench.evaluation.memory_format import FORMATS
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES
from stein_bench.report.adversarials import read_adversarials
from tests.attacks import known
from tests.imitation import Device
from tests.imitation.compare import assert_complete, assert_same, evaluate, evaluate_on_both
from tests.imitation.problems import write_problem, write_street, write_volumes

NATIVE_SPECS = (
    "fgsm", "pgd:steps=4", "mifgsm:steps=3", "apgd-ce:steps=3", "apgd-dlr:steps=3", "apgd-t:steps=3", "fab-t:steps=3",
    "fab:steps=3", "square:queries=20", "autoattack:steps=2,queries=5", "nes:queries=14,samples=4",
    "spsa:queries=14,samples=4", "rays:queries=20", "hopskipjump:queries=20", "pma:steps=3", "mm:steps=2",
    "fast-ensemble:steps=3,queries=5,drawn=0.5", "strongest-ensemble:steps=2,queries=5", "deepfool:steps=3,eps=0.3",
    "ddn:steps=5,eps=0.3", "cw:steps=3,search_steps=2,eps=0.3", "fmn:steps=5", "adaptive:steps=3,queries=5",
    "pgd:norm=L2,eps=0.3,steps=3",
)  # fmt: skip
OTHER_NORMS = (
    "pgd:restarts=2,steps=3",
    "mifgsm:norm=L2,eps=0.3,steps=5", "apgd-ce:steps=5,norm=L2,eps=0.3", "fab-t:steps=5,norm=L2,eps=0.3",
    "fab:steps=3,norm=L2,eps=0.3", "square:queries=10,norm=L2,eps=0.3", "pgd:norm=L1,eps=1,steps=5",
    "apgd-ce:steps=5,norm=L1,eps=1", "fab-t:steps=5,norm=L1,eps=1", "square:queries=10,norm=L1,eps=1",
    "hopskipjump:queries=20,norm=L2,eps=0.3", "deepfool:norm=Linf,steps=3", "fmn:norm=L2,steps=5,eps=0.3",
)  # fmt: skip
QUICK = {**known.QUICK, "AutoAttack": "eps=0.5"}  # so much that all samples break at once
"""Parameters that make slow classes quick."""
LIBRARY_SPECS = [
    ":".join(part for part in (info.name, QUICK.get(info.name.removeprefix("torchattacks."))) if part)
    for info in TORCHATTACKS
    if not info.unavailable
]


@pytest.fixture
def problem(tmp_path: Path) -> dict[str, Any]:
    return write_problem(tmp_path)


def shares(report: Any) -> list[float | None]:
    return [attack.robust_accuracy for variant in report.variants for attack in variant.attacks]


@pytest.mark.integration
def test_every_native_attack_and_every_noise(problem: dict[str, Any]) -> None:
    asked = [*NATIVE_SPECS, *(f"{info.name}:seeds=2" for info in NOISE)]
    _, found = evaluate_on_both(**problem, attack=asked, batch_size=5, workers=1)
    (variant,) = found.variants
    assert {attack.name for attack in variant.attacks} == {info.name for info in NATIVE} - {"segpgd"}
    assert {corruption.name for corruption in variant.corruptions} == {info.name for info in NOISE}
    assert len(set(shares(found))) > 2  # the problem is neither trivial nor hopeless


@pytest.mark.slow
def test_other_norms(problem: dict[str, Any]) -> None:
    _, found = evaluate_on_both(**problem, attack=OTHER_NORMS, batch_size=5, workers=1)
    assert len(set(shares(found))) > 2


@pytest.mark.slow
def test_every_class_of_torchattacks(problem: dict[str, Any]) -> None:
    _, found = evaluate_on_both(**problem, attack=LIBRARY_SPECS)
    assert len(found.variants[0].attacks) == 36
    assert len(set(shares(found))) > 2


@pytest.mark.slow
def test_every_estimator_and_both_sources_of_statistics(problem: dict[str, Any]) -> None:
    """In two batches, with replays of those under batch statistics."""
    _, found = evaluate_on_both(
        **problem, bn=list(ESTIMATOR_SUMMARIES), stats=["running", "batch"], attack="pgd:steps=2", batch_size=2, limit=4
    )
    assert len(found.variants) == 2 * len(ESTIMATOR_SUMMARIES)
    for variant in found.variants:
        assert {attack.replay is not None for attack in variant.attacks} == {variant.stats == "batch"}


@pytest.mark.slow
def test_every_native_attack_under_batch_statistics(problem: dict[str, Any]) -> None:
    short = [re.sub(r"(steps|queries)=\d+(?!,samples)", r"\1=2", spec) for spec in NATIVE_SPECS]
    _, found = evaluate_on_both(**problem, bn="stein", stats="batch", attack=short, limit=4)
    assert len(found.variants[0].attacks) == len(NATIVE_SPECS)


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_controls(problem: dict[str, Any]) -> None:
    _, found = evaluate_on_both(**problem, bn="stein", attack="pgd:steps=3", controls=True)
    assert [f"{v.bn}/{v.stats}" for v in found.variants] == [
        "stein/running", "sample/running", "sample/batch", "stein/batch",
    ]  # fmt: skip
    assert found.variants[0].effects


@pytest.mark.integration
def test_the_checks_of_a_model_are_the_same(problem: dict[str, Any]) -> None:
    expected, found = evaluate_on_both(**problem, attack="pgd:steps=5")
    assert [check.name for check in found.diagnostics] == [check.name for check in expected.diagnostics]
    assert len(found.diagnostics) > 5


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_transfer_attacks_from_a_surrogate(problem: dict[str, Any], tmp_path: Path) -> None:
    surrogate = {"surrogate": f"{tmp_path / 'networks.py'}:other"}
    surrogate["surrogate_weights"] = str(tmp_path / "other.safetensors")
    _, found = evaluate_on_both(**problem, **surrogate, attack=[info.name for info in TRANSFERS])
    assert len(found.variants[0].attacks) == len(TRANSFERS)
    assert min(share for share in shares(found) if share is not None) < 1


@pytest.mark.slow
def test_segmentation(tmp_path: Path) -> None:
    attacks = ["fgsm", "pgd:steps=3", "mifgsm:steps=3", "segpgd:steps=3", "apgd-ce:steps=3", "noise-gaussian:std=0.1"]
    _, found = evaluate_on_both(
        **write_street(tmp_path), bn=["sample", "stein"], stats=["running", "batch"], attack=attacks, batch_size=2
    )
    assert found.data.task == "segmentation"


@pytest.mark.integration
@pytest.mark.parametrize(
    "variants",
    [
        {"bn": "stein", "stats": "batch"},
        pytest.param({"bn": ["sample", "stein"], "stats": ["running", "batch"]}, marks=pytest.mark.slow),
    ],
)
def test_volumes_with_one_logit(tmp_path: Path, variants: dict[str, Any]) -> None:
    attacks = [
        "fgsm",
        "pgd:steps=3,eps=0.05",
        "apgd-ce:steps=3",
        "fab-t:steps=3",
        "square:queries=5",
        "noise-salt-and-pepper",
    ]
    _, found = evaluate_on_both(**write_volumes(tmp_path), **variants, attack=attacks, batch_size=4)
    assert (found.data.task, found.data.shape) == ("binary", (1, 6, 5, 4))
    assert len(set(shares(found))) > 2


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_bfloat16(problem: dict[str, Any]) -> None:
    """Plain BN only: the CUDA kernels of batch statistics round otherwise than the CPU's."""
    _, found = evaluate_on_both(**problem, attack=["pgd", "torchattacks.APGD"], precision="bf16")
    single = evaluate("cpu", **problem, attack=["pgd", "torchattacks.APGD"])
    assert found.variants[0].attacks[0].perturbation_l2 != single.variants[0].attacks[0].perturbation_l2


@pytest.mark.usefixtures("unchecked")
def test_automatic_batch_sizes_change_no_verdict(problem: dict[str, Any], imitation_cuda: Device) -> None:
    expected = evaluate("cpu", **problem, attack=["pgd"], batch_size=3)
    found = evaluate("cuda", **problem, attack=["pgd"], batch_size="auto")
    assert found.variants[0].outcomes == expected.variants[0].outcomes
    assert not imitation_cuda.mixes


@pytest.mark.usefixtures("unchecked")
def test_saved_adversarial_examples_are_the_same(
    problem: dict[str, Any], tmp_path: Path, imitation_cuda: Device
) -> None:
    galleries = []
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.json"
        report = evaluate(device, **problem, attack=["pgd", "fgsm"], save_adversarials=4, output=str(path))
        galleries.append(read_adversarials(report, path))
    expected, found = galleries
    assert expected is not None
    assert found is not None
    assert len(found.examples) == 8
    for one, other in zip(found.examples, expected.examples, strict=True):
        assert np.array_equal(one.adv_inputs, other.adv_inputs)
        assert one.broken == other.broken
    assert not imitation_cuda.mixes


@pytest.mark.integration
def test_channels_last_is_timed_on_the_device_and_changes_no_verdict(
    problem: dict[str, Any], imitation_cuda: Device
) -> None:
    options = {**problem, "attack": ["pgd", "fgsm"], "batch_size": 3}
    expected = evaluate("cuda", **options)
    timed: list[float] = []

    def chosen(seconds: Any) -> str:
        timed.extend(seconds(name) for name in FORMATS)
        return "channels_last"

    # Put back here: the device has replaced the first one too, and is removed before a test's other replacements.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attack_choice, "remembered_format", lambda _, choose: choose())
        patched.setattr(attack_choice, "faster_format", chosen)
        found = evaluate("cuda", **options)
    assert len(timed) == 2
    assert found.run.attack_network is not None
    assert found.run.attack_network.memory_format == "channels_last"
    assert [variant.outcomes for variant in found.variants] == [variant.outcomes for variant in expected.variants]
    assert [attack.verdict_differences for attack in found.variants[0].attacks] == [0, 0]
    assert not imitation_cuda.mixes


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_attacks_at_lower_precision_are_verified_at_full(
    problem: dict[str, Any], precision: str, imitation_cuda: Device
) -> None:
    found = evaluate("cuda", **problem, attack=["pgd", "apgd-ce:steps=5"], attack_precision=precision)
    assert_complete(found)
    assert found.run.attack_network is not None
    assert found.run.attack_network.precision == precision
    assert all(attack.verdict_differences is not None for attack in found.variants[0].attacks)
    assert not imitation_cuda.mixes


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_an_interrupted_run_goes_on_where_it_was(
    problem: dict[str, Any], stats: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imitation_cuda: Device
) -> None:
    options = {**problem, "attack": ["fgsm", "mifgsm"], "batch_size": 3, "stats": stats}
    expected = evaluate("cuda", **options)
    options["output"] = str(tmp_path / "report.json")
    name = "refill" if stats == "running" else "whole_batch"
    real, calls = getattr(native, name), []

    def interrupted(*arguments: Any, **rest: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **rest)

    if stats == "running":
        options["refill"] = False  # a call of its own for every batch
    monkeypatch.setattr(native, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate("cuda", **options)
    resumed = evaluate("cuda", **options, resume=True)
    assert_complete(resumed)
    assert_same(resumed, expected)
    assert not imitation_cuda.mixes


class Stuck(Tensor):
    """A tensor that stays where it is."""

    def to(self, *_: Any, **__: Any) -> Tensor:
        return self


@pytest.mark.integration
def test_a_tensor_on_the_wrong_device_turns_an_evaluation_red(
    problem: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random starts that nobody brings to the device are found, as they would be on a GPU."""
    real = starts.random_start
    monkeypatch.setattr(starts, "random_start", lambda *args: real(*args).cpu().as_subclass(Stuck))
    with pytest.raises(AssertionError, match="mixed devices"):
        evaluate_on_both(**problem, attack=["pgd", "fgsm"])


@pytest.mark.usefixtures("unchecked")
def test_a_result_that_differs_turns_an_evaluation_red(
    problem: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = native.fgsm

    def other(model: Any, inputs: Tensor, *rest: Any, **options: Any) -> Tensor:
        return inputs if inputs.is_cuda else real(model, inputs, *rest, **options)

    monkeypatch.setattr(native, "fgsm", other)
    with pytest.raises(AssertionError):
        evaluate_on_both(**problem, attack=["fgsm"])


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_nothing_of_the_device_is_left_in_caches(problem: dict[str, Any]) -> None:
    """A run on the CPU after one on the device, in the same process, finds no tensor of it."""
    _, found = evaluate_on_both(**problem, attack=["square:queries=5,norm=L2,eps=0.3", "apgd-t:steps=2"])
    again = evaluate("cpu", **problem, attack=["square:queries=5,norm=L2,eps=0.3", "apgd-t:steps=2"])
    assert not torch.cuda.is_available()
    assert_same(found, again)

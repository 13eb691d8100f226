"""Dry runs of a tiny network: what they check, what they find, and that they leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stein_bench.attacks import native
from stein_bench.attacks.attack import Attack
from stein_bench.attacks.passes import Passes
from stein_bench.config import RunConfig, make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.costs import tries
from stein_bench.evaluation.costs.results import DryRun, PhaseCost
from stein_bench.evaluation.dry_run import UNTRAINED, dry_run
from stein_bench.evaluation.run import run_evaluation
from stein_bench.progress import Silent

QUICK = ("fgsm", "pgd:steps=8,restarts=2", "noise-gaussian")


def config(model: str, data: str, **options: Any) -> RunConfig:
    return make_config({"model": model, "data": data, "eps": "12/255", "attack": list(QUICK), **options})


def found(run: DryRun, name: str, stats: str = "running") -> PhaseCost:
    return next(one for one in run.phases if one.variant == f"sample/{stats}" and one.phase.split(":")[0] == name)


@pytest.mark.integration
def test_passes_are_those_of_the_run(model: str, data: str, unchecked: None) -> None:
    settings = config(
        model, data, attack=[*QUICK, "apgd-ce:steps=5", "square:queries=30", "fab:steps=2", "deepfool:steps=5"]
    )
    report = run_evaluation(settings)  # trains the network, which the dry run finds in the cache
    run = dry_run(settings)
    assert UNTRAINED not in run.notes
    for attack in report.variants[0].attacks:
        cost = found(run, attack.name)
        assert cost.bounds is not None
        assert cost.expected is not None
        made = attack.forward_passes / 60, attack.backward_passes / 60
        for least, expected, most, real in zip(cost.bounds.least, cost.expected, cost.bounds.most, made, strict=True):
            assert least <= real <= most
            assert expected == pytest.approx(real, rel=0.02), attack.name  # all 60 samples were tried
        assert cost.seconds > 0
        assert cost.peak_bytes


@pytest.mark.integration
def test_every_phase_has_a_cost_in_the_order_of_the_run(model: str, data: str) -> None:
    shown: list[str] = []

    class Phases(Silent):
        def start(self, phase: str, total: int, done: int = 0) -> None:
            shown.append(phase.split(" sample/")[0].removesuffix("sample/running").removesuffix("sample/batch").strip())

    settings = config(model, data, weights="none", stats=["running", "batch"], limit=24, batch_size=8)
    run_evaluation(settings, progress=Phases())
    run = dry_run(settings)
    titles = [one.title for one in run.phases[1:]]
    assert shown[-len(titles) :] == titles
    assert run.phases[0].kind == "start"
    assert run.batches == 3
    assert run.processes() == (1, 2)
    assert found(run, "replay fgsm", "batch").parts == 1
    assert found(run, "pgd").parts == 3
    assert found(run, "checks").parts == 2  # one for each variant


def test_an_untrained_network_is_said_to_be_one_and_nothing_is_written(
    model: str, data: str, tmp_path: Path, own_cache: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    run = dry_run(config(model, data, output=str(tmp_path / "report.json")))
    assert UNTRAINED in run.notes
    after = {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    assert after - set(before) - set(own_cache.rglob("*")) - {own_cache} == set()
    assert not list(own_cache.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "options",
    [{"attack": ["pgd:steps=0"]}, {"data": "npz:missing.npz"}, {"weights": "missing.safetensors"}],
)
def test_bad_input_is_refused_as_in_the_run(model: str, data: str, options: dict[str, Any]) -> None:
    messages = []
    for run in (run_evaluation, dry_run):
        with pytest.raises(UsageError) as refused:
            run(config(model, **{"data": data, **options}))
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_attacks_that_take_long_are_cut_short(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stein_bench.evaluation.dry_run.LEAST", 0.3)
    monkeypatch.setattr("stein_bench.evaluation.dry_run.MOST", 0.3)
    run = dry_run(config(model, data, weights="none", eps="0.001", attack=["square:queries=10000"]))
    cost = found(run, "square")
    assert cost.tried == tries.FIRST
    assert cost.above > 0 or cost.below > 0
    assert cost.expected is not None
    assert 10 < cost.expected.forward <= 10000


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("torchattacks.PGD", "fab")]


@pytest.mark.parametrize("attack", ["torchattacks.VMIFGSM", "transfer.pgd", "adaptive", *SLOW])
def test_all_kinds_of_attacks_are_tried(model: str, data: str, net: str, attack: str) -> None:
    options = {"surrogate": model, "surrogate_weights": "fit"} if attack.startswith("transfer") else {}
    spec = f"{attack}:steps=3" if attack != "adaptive" else "adaptive:steps=4,queries=20"
    run = dry_run(config(model, data, weights="none", attack=[spec], **options))
    cost = found(run, attack)
    assert cost.expected is not None
    assert cost.expected.forward >= 1
    assert not cost.at_least
    assert any(one.kind == "trial" for one in run.phases) == (attack == "adaptive")


def test_a_random_model_makes_all_passes(model: str, data: str, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import torch\nfrom net import make\n\n\ndef noisy(num_classes=3):\n    network = make(num_classes)\n"
        "    network.register_forward_pre_hook(lambda m, x: (x[0] + 0.1 * torch.randn_like(x[0]),))\n"
        "    return network\n"
    )
    run = dry_run(config(f"{tmp_path / 'noisy.py'}:noisy", data, weights="none", attack=["pgd:steps=3"], draws=2))
    cost = found(run, "pgd")
    assert cost.expected is not None
    assert cost.expected.forward == 3  # no sample leaves early
    clean = found(run, "clean")
    assert clean.expected is not None
    assert clean.expected.forward == 4  # two sets of two draws
    fog = dry_run(config(f"{tmp_path / 'noisy.py'}:noisy", data, weights="none", attack=["fog:severity=3"], draws=2))
    assert found(fog, "fog").expected == Passes(2, 0)


def test_the_first_variant_makes_the_images_under_corruptions(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others take those that were kept, as in the run; the batch that is not timed must not keep them for it."""
    made: list[str] = []
    chosen = Attack.corrupted

    def counted(attack: Attack, *rest: Any) -> Any:
        made.append(attack.label)
        return chosen(attack, *rest)

    monkeypatch.setattr(Attack, "corrupted", counted)
    settings = {"weights": "none", "attack": ["fog:severity=3"]}
    dry_run(config(model, data, **settings))
    alone = len(made)
    made.clear()
    dry_run(config(model, data, **settings, stats=["running", "batch"]))
    assert alone < len(made) < 2 * alone


def test_an_attack_that_fails_is_a_note(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setitem(native.NATIVE_ATTACKS, "fmn", broken)
    run = dry_run(config(model, data, weights="none", attack=["fmn", "fgsm"]))
    assert any("fmn" in note and "boom" in note for note in run.notes)
    assert found(run, "fgsm").seconds > 0

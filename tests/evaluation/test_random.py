"""Runs on random models: expected accuracies in closed form, a worst case that selection does not lower, resuming."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from stein_bench.attacks import native
from stein_bench.comparison.compare import compare
from stein_bench.comparison.gate import gate
from stein_bench.comparison.leaderboard import Named
from stein_bench.comparison.pairing import subjects
from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.measures import MEASURES, RightOrWrong
from stein_bench.models.randomness import is_random
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.random_models import with_battery_for_random
from stein_bench.preparation.untrained import with_untrained
from stein_bench.progress import Silent
from stein_bench.render.report.expected import expected_notes
from stein_bench.render.report.files import report_csv, report_junit, report_markdown
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.report.document import Report
from stein_bench.report.results import VariantResult

SIGMA, EPS = 0.05, 10 / 255

MODELS = '''
import random

import numpy as np
import torch
from torch import nn


class Score(nn.Module):
    """Mean pixel above 1/2, plus what `noise` gives for each of n samples; `outputs` logits or one."""

    def __init__(self, noise, outputs=2):
        super().__init__()
        self.noise, self.outputs = noise, outputs
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        score = self.weight * (x.flatten(1).mean(dim=1) - 0.5) + self.noise(len(x)).to(x)
        if self.outputs == 1:
            return score
        return torch.stack([torch.zeros_like(score), score, *[score - 9] * (self.outputs - 2)], dim=1)


SIGMA = 0.05


def gaussian(num_classes=2):
    return Score(lambda n: SIGMA * torch.randn(n))


def single(num_classes=2):
    return Score(lambda n: SIGMA * torch.randn(n), outputs=1)


def three(num_classes=3):
    return Score(lambda n: SIGMA * torch.randn(n), outputs=3)


def quiet(num_classes=2):
    return Score(lambda n: torch.zeros(n))


def idle(num_classes=2):
    return Score(lambda n: 0 * torch.randn(n))


def numpy(num_classes=2):
    return Score(lambda n: torch.tensor(SIGMA * np.random.randn(n)))


def python(num_classes=2):
    return Score(lambda n: torch.tensor([random.gauss(0, SIGMA) for _ in range(n)]))


def own(num_classes=2):
    generator = torch.Generator().manual_seed(0)
    return Score(lambda n: SIGMA * torch.randn(n, generator=generator))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models and flat gray images that the noiseless score gets right."""
    folder = tmp_path_factory.mktemp("random")
    (folder / "nets.py").write_text(MODELS)
    labels = np.arange(120) % 2
    values = np.where(labels == 1, 130, 125) + (2 * labels - 1) * (np.arange(120) // 6)
    images = np.broadcast_to(values[:, None, None, None], (120, 4, 4, 3)).astype(np.uint8)
    np.savez(folder / "test.npz", images=images, labels=labels)
    return folder


def run(folder: Path, model: str = "gaussian", progress: Silent | None = None, **options: Any) -> Report:
    settings = {"eps": str(EPS), "weights": "none", "mean": "0,0,0", "std": "1,1,1", "batch_size": 120, **options}
    asked = {"model": f"{folder / 'nets.py'}:{model}", "data": f"npz:{folder / 'test.npz'}"}
    return run_evaluation(make_config({**asked, **settings}), progress=progress)


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """Two attacks on the model with Gaussian noise, one of which cannot do anything."""
    return run(folder, attack=["pgd:steps=4", f"pgd:steps=2,eps={1e-6}"], draws=30)


def chances(folder: Path, eps: float) -> np.ndarray:
    """Return the probability that a sample, moved by eps against its label, is right: Φ(margin/σ)."""
    with np.load(folder / "test.npz") as found:
        values, labels = found["images"][:, 0, 0, 0] / 255, found["labels"]
    margins = np.where(labels == 1, values - 0.5, 0.5 - values) - eps
    return np.array([NormalDist().cdf(margin / SIGMA) for margin in margins])


def assert_near(value: float, chance: np.ndarray, draws: int) -> None:
    """Within four standard errors over the draws, the samples being fixed."""
    error = math.sqrt(float((chance * (1 - chance)).sum()) / draws) / len(chance)
    assert abs(value - float(chance.mean())) < 4 * error


def test_expected_accuracies_are_those_in_closed_form(report: Report, folder: Path) -> None:
    (variant,) = report.variants
    strong, idle = variant.attacks
    for expected, eps in ((variant.clean, 0.0), (strong, EPS), (idle, 0.0)):
        assert expected.expected_accuracy is not None
        assert expected.expected_accuracy.draws == 30
        assert_near(expected.expected_accuracy.value, chances(folder, eps), 30)
        low, high = expected.expected_accuracy.ci95
        assert low < expected.expected_accuracy.value < high
    assert variant.worst_case_expected_accuracy is not None
    assert_near(variant.worst_case_expected_accuracy.value, chances(folder, EPS), 30)
    # The majority of 30 draws is nearly always that of the sign of the margin.
    assert variant.clean.accuracy > 0.85
    assert strong.robust_accuracy == pytest.approx((chances(folder, EPS) > 0.5).mean(), abs=0.06)


def test_accuracies_are_the_shares_of_majorities_and_robust_ones_are_right_on_the_clean_input(report: Report) -> None:
    (variant,) = report.variants
    measure = MEASURES["classification"]
    clean, robust = measure.unpacked(variant.outcomes)
    assert isinstance(clean, RightOrWrong)
    assert clean.drawn is not None
    assert (clean.correct == (2 * clean.drawn.right.sum(axis=1) > 30)).all()
    assert clean.value() == pytest.approx(variant.clean.accuracy)
    for attack in variant.attacks:
        found = robust[attack.label]
        assert isinstance(found, RightOrWrong)
        assert not (found.correct & ~clean.correct).any()
        assert found.value() == pytest.approx(attack.robust_accuracy)
        assert found.expected() == attack.expected_accuracy
    assert measure.worst_case(list(robust.values())).expected() == variant.worst_case_expected_accuracy


def test_every_command_reads_the_report(report: Report, tmp_path: Path) -> None:
    again = Report.model_validate_json(report.to_json())
    assert again == report
    assert gate(again, report).verdict == "passed"
    assert any("more than half of its draws" in line for line in compare([Named("a", report), Named("b", again)]).notes)
    (subject,) = subjects(again, "it")
    assert subject.worst_case(subject.battery).value() == again.variants[0].worst_case_accuracy
    text = io.StringIO()
    print_report(report, Console(file=text, width=120))
    expected = report.variants[0].attacks[0].expected_accuracy
    assert expected is not None
    shown = f"{100 * expected.value:.1f} ("
    assert f"E {shown}" in text.getvalue()
    assert "expected accuracy" in text.getvalue()
    page = re.sub("<[^>]*>", "", html_page([Source("a", report)]))
    for text_file in (page, report_markdown([("a", report)])):
        assert "expected" in text_file
        assert shown in text_file
    assert "expected accuracy" in report_csv([("a", report)])
    assert "expected accuracies over 30 draws" in report_junit([("a", report)])


def test_damaged_draws_are_refused(report: Report) -> None:
    packed = report.variants[0].outcomes.drawn
    assert packed is not None
    for change in ({"right": "AA=="}, {"selecting": "AA=="}, {"selecting": "?"}):
        broken = packed.model_copy(update={"clean": packed.clean.model_copy(update=change)})
        with pytest.raises(UsageError, match="packed"):
            RightOrWrong.unpacked(report.variants[0].outcomes.model_copy(update={"drawn": broken}))


def test_the_check_warns_instead_of_calling_every_figure_unreliable(report: Report) -> None:
    (check,) = [check for check in report.diagnostics if check.name == "repeatable"]
    assert check.status == "warn"
    assert "figures are expected accuracies over 30 draws" in check.message
    assert [c.name for c in report.diagnostics if c.status == "fail"] == []


def test_autoattack_on_a_random_model_is_called_what_it_is_before_the_run_and_in_the_report(folder: Path) -> None:
    progress = Notes()
    report = run(folder, "gaussian", progress, attack=["autoattack:steps=1,queries=1"], draws=1, limit=4)
    told = "AutoAttack is for models that are not random: use --battery random"
    assert any(told in note for note in progress.notes)
    notes = list(expected_notes(report))
    assert sum(told in note for note in notes) == 1
    assert "the share of 1 draw that is right" in notes[0]


@pytest.mark.usefixtures("unchecked")
def test_many_attacks_do_not_lower_the_worst_case(folder: Path) -> None:
    """All find the corner of the ball, so the worst of them is any one; picking unlucky draws would give far less."""
    specs = ["fgsm", *(f"pgd:steps={steps},random_start=false" for steps in range(1, 8))]
    (variant,) = run(folder, attack=specs).variants
    assert variant.worst_case_expected_accuracy is not None
    assert_near(variant.worst_case_expected_accuracy.value, chances(folder, EPS), 10)
    _, robust = RightOrWrong.unpacked(variant.outcomes)
    unlucky = np.min([outcome.drawn.right.mean(axis=1) for outcome in robust.values() if outcome.drawn], axis=0)
    assert unlucky.mean() < chances(folder, EPS).mean() - 0.05  # this is how it would be too low
    least = min(attack.robust_accuracy or 0.0 for attack in variant.attacks)
    assert variant.worst_case_accuracy is not None
    assert variant.worst_case_accuracy > least - 0.05
    assert np.min([outcome.correct for outcome in robust.values()], axis=0).mean() < least - 0.05


@pytest.mark.slow
def test_a_budget_has_its_own_worst_case(folder: Path) -> None:
    (variant,) = run(folder, attack="pgd", eps=f"{EPS / 2},{EPS}", draws=20).variants
    for budget, eps in zip(variant.budgets, (EPS / 2, EPS), strict=True):
        assert budget.expected_accuracy is not None
        assert_near(budget.expected_accuracy.value, chances(folder, eps), 20)


def results(report: Report) -> list[VariantResult]:
    """Return the results without their times."""

    def timeless(variant: VariantResult) -> VariantResult:
        attacks = [attack.model_copy(update={"seconds": 0.0}) for attack in variant.attacks]
        clean = variant.clean.model_copy(update={"seconds": 0.0})
        return variant.model_copy(update={"clean": clean, "attacks": attacks})

    return [timeless(variant) for variant in report.variants]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "model", ["gaussian", *(pytest.param(name, marks=pytest.mark.slow) for name in ("numpy", "python"))]
)
def test_the_same_seed_gives_the_same_report_and_another_seed_other_draws(folder: Path, model: str) -> None:
    first, again, other = (run(folder, model, attack="pgd:steps=2", draws=2, seed=seed) for seed in (0, 0, 1))
    assert results(first) == results(again)
    assert first.variants[0].outcomes.drawn != other.variants[0].outcomes.drawn
    assert first.variants[0].clean.expected_accuracy is not None


def test_an_interrupted_run_gives_the_same_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"attack": ["fgsm:eot=2", "pgd:steps=3,eot=2"], "save_adversarials": 3, "draws": 2, "batch_size": 60}
    real, calls = native.most_often_wrong, []

    def interrupting(*args: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(native, "most_often_wrong", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run(folder, **options, output=str(tmp_path / "a.json"))
    monkeypatch.undo()
    whole = run(folder, **options, output=str(tmp_path / "b.json"))
    resumed = run(folder, **options, output=str(tmp_path / "a.json"), resume=True)
    assert results(resumed) == results(whole)
    examples = [np.load(tmp_path / f"{name}.adversarials.npz") for name in ("a", "b")]
    assert examples[0].files == examples[1].files
    for name in examples[0].files:
        assert np.array_equal(examples[0][name], examples[1][name])


@pytest.mark.usefixtures("unchecked")
def test_a_single_logit_keeps_its_metrics(folder: Path) -> None:
    report = run(folder, "single", attack="pgd:steps=3")
    (variant,) = report.variants
    assert report.data.task == "binary"
    assert variant.clean.expected_accuracy is not None
    assert_near(variant.clean.expected_accuracy.value, chances(folder, 0.0), 10)
    assert variant.clean.metrics is not None
    assert variant.attacks[0].metrics is not None
    clean, robust = (metrics["auc"].value for metrics in (variant.clean.metrics, variant.attacks[0].metrics))
    assert robust is not None
    assert robust < (clean or 0.0)


@pytest.mark.parametrize(
    ("model", "random"),
    [("gaussian", True), ("numpy", True), ("python", True), ("own", True), ("quiet", False), ("idle", False)],
)
def test_a_model_is_random_if_its_outputs_differ(folder: Path, model: str, random: bool) -> None:
    scope: dict[str, Any] = {}
    exec(MODELS, scope)
    network = scope[model]().eval()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert is_random(network, (3, 4, 4), torch.device("cpu")) == random
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numpy_state


@pytest.mark.parametrize("model", ["quiet", "idle"])
def test_models_that_are_not_random_have_no_draws_and_hear_that_the_options_are_in_vain(
    folder: Path, model: str
) -> None:
    progress = Notes()
    report = run(folder, model, progress, attack=["pgd:steps=2,eot=3"], draws=5)
    assert report.variants[0].clean.expected_accuracy is None
    assert report.variants[0].outcomes.drawn is None
    assert "expected" not in report.variants[0].model_dump_json()
    assert any("--draws has no effect" in note for note in progress.notes)
    assert any("eot=K makes attacks take K times as long" in note for note in progress.notes)


@pytest.mark.parametrize(
    ("model", "battery", "attacks", "notes"),
    [
        ("three", "standard", ["apgd-ce", "apgd-dlr", "square"], ["the battery random is used instead"]),
        ("gaussian", "standard", ["apgd-ce", "square"], ["the battery random is used instead", "without apgd-dlr"]),
        ("single", "standard", ["apgd-ce", "square"], ["the battery random is used instead", "without apgd-dlr"]),
        ("quiet", "standard", ["autoattack"], []),
        ("quiet", "random", ["apgd-ce", "square"], ["without apgd-dlr"]),
        ("three", "random", ["apgd-ce", "apgd-dlr", "square"], []),
        ("three", "full", ["fgsm", "mifgsm", "pgd", "apgd-ce", "autoattack", "adaptive"], []),
    ],
)
def test_the_standard_battery_of_a_random_model_is_the_one_for_random_models(
    folder: Path, model: str, battery: str, attacks: list[str], notes: list[str]
) -> None:
    config = make_config(
        {"model": f"{folder / 'nets.py'}:{model}", "data": f"npz:{folder / 'test.npz'}", "weights": "none",
         "mean": "0,0,0", "std": "1,1,1", "battery": battery}
    )  # fmt: skip
    plan, network = with_untrained(prepare(config))
    changed = with_battery_for_random(plan, network)
    assert [attack.name for attack in changed.attacks if not attack.info.is_corruption] == attacks
    added = [note for note in changed.notes if note not in plan.notes]
    assert [part in note for part, note in zip(notes, added, strict=True)] == [True] * len(notes)
    if "square" in attacks:
        assert {attack.params["eot"] for attack in changed.attacks} == {20}


@pytest.mark.parametrize("battery", ["standard", "random"])
def test_the_battery_for_random_models_keeps_the_adaptive_attack(folder: Path, battery: str) -> None:
    config = make_config(
        {"model": f"{folder / 'nets.py'}:three", "data": f"npz:{folder / 'test.npz'}", "weights": "none",
         "mean": "0,0,0", "std": "1,1,1", "battery": battery, "adaptive": True}
    )  # fmt: skip
    changed = with_battery_for_random(*with_untrained(prepare(config)))
    assert [attack.name for attack in changed.attacks] == ["apgd-ce", "apgd-dlr", "square", "adaptive"]


def test_under_batch_statistics_each_verdict_stays_that_of_a_single_draw(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "dropped.py").write_text(
        "from torch import nn\n\n\nclass Dropped(nn.Dropout):\n"
        "    def forward(self, x):\n        return nn.functional.dropout(x, 0.5, training=True)\n\n\n"
        "def make(num_classes=2):\n"
        "    return nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), Dropped(), nn.Linear(48, num_classes))\n"
    )
    report = run_evaluation(
        make_config(
            {"model": f"{tmp_path / 'dropped.py'}:make", "data": f"npz:{folder / 'test.npz'}", "weights": "none",
             "mean": "0,0,0", "std": "1,1,1", "stats": ["running", "batch"], "attack": "fgsm", "eps": EPS}
        )
    )  # fmt: skip
    found = {variant.stats: variant.clean.expected_accuracy for variant in report.variants}
    assert found["running"] is not None
    assert found["batch"] is None
    told = {check.variant: check.message for check in report.diagnostics if check.name == "repeatable"}
    assert "no result here is reliable" in told["sample/batch"]

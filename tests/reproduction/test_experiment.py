"""Experiments: built-in ones, the user's own, and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.attacks.attack import resolve_attacks
from stein_bench.errors import UsageError
from stein_bench.reproduction.contrasts import sought
from stein_bench.reproduction.experiment import FOLDER, PRESETS, SYSTEMS, experiment_file, read_experiment
from stein_bench.training.recipes import find_recipe

SHOWN = Path(__file__).parents[2] / "configs" / "paper"
BUILT_IN = [(system, preset) for system in SYSTEMS for preset in PRESETS]


def built_in(system, preset, **overrides):
    return read_experiment(experiment_file(system, preset), {"data": "npz:x.npz", **overrides})


def test_the_files_in_configs_are_those_of_the_package() -> None:
    names = {f"{system}-{preset}.yaml" for system, preset in BUILT_IN}
    assert {path.name for path in FOLDER.glob("*.yaml")} == names
    for name in names:
        assert (SHOWN / name).read_bytes() == (FOLDER / name).read_bytes()


@pytest.mark.parametrize(("system", "preset"), BUILT_IN)
def test_every_experiment_refers_to_existing_recipes_and_attacks(system: str, preset: str) -> None:
    experiment = built_in(system, preset)
    assert (experiment.name, experiment.preset) == (system, preset)
    assert experiment.bn[0] == "sample"
    families = {bn.partition(":")[0] for bn in experiment.bn}
    assert families == {"sample", "stein", "stein-mean", "jsnorm", "james-stein", "ridge", "lasso"}
    for part in experiment.parts:
        find_recipe(part.recipe)
        assert resolve_attacks(part.attack)


def test_the_published_preset_gives_each_bn_the_source_of_the_published_code() -> None:
    experiment = built_in("cifar10", "published")
    sources = {bn: experiment.sources(experiment.parts[0], bn) for bn in experiment.bn}
    assert {bn for bn, source in sources.items() if source == ("running",)} == {"sample", "ridge:0.001", "lasso:0.001"}
    assert {bn for bn, source in sources.items() if source == ("batch",)} == {
        "stein", "stein-mean", "jsnorm", "james-stein",
    }  # fmt: skip


def test_the_controlled_preset_gives_every_bn_both() -> None:
    experiment = built_in("cifar10", "controlled")
    assert {experiment.sources(experiment.parts[0], bn) for bn in experiment.bn} == {("running", "batch")}


def test_the_published_attacks_are_those_of_the_paper() -> None:
    attacks, noise = built_in("cifar10", "published").parts
    fgsm, pgd = resolve_attacks(attacks.attack)
    assert (fgsm.eps, pgd.eps, pgd.params["alpha"], pgd.params["steps"]) == (0.03, 0.03, pytest.approx(1 / 255), 5)
    assert (attacks.batch_size, noise.batch_size, noise.train["batch-size"]) == (128, 64, 64)
    levels = [255 * float(attack.params["std"]) for attack in resolve_attacks(noise.attack)]
    assert levels == pytest.approx([10, 25, 40, 50, 77])
    (fgsm, pgd) = resolve_attacks(built_in("cityscapes", "published").parts[0].attack)
    assert pgd.params["alpha"] == pytest.approx(pgd.eps / 5)
    assert (pgd.params["steps"], pgd.params["random_start"]) == (5, False)


def test_pgd_of_the_controlled_preset_can_cross_the_eps_ball() -> None:
    for part in built_in("cifar10", "controlled").parts:
        for attack in resolve_attacks(part.attack):
            if attack.info.name == "pgd":
                assert float(attack.params["alpha"]) * int(attack.params["steps"]) >= 2 * attack.eps


def test_overrides_reach_every_part_and_leave_the_rest() -> None:
    changed = built_in("cifar10", "published", limit=50, train={"epochs": 2}, seeds=2, attack=("fgsm",))
    assert {(part.limit, part.train["epochs"], part.attack) for part in changed.parts} == {(50, 2, ("fgsm",))}
    assert changed.parts[1].train["batch-size"] == 64
    assert (changed.seeds, built_in("cifar10", "published").seeds) == (2, 5)


def test_parts_can_be_chosen() -> None:
    assert [part.name for part in built_in("cifar10", "published", part=("noise",)).parts] == ["noise"]
    with pytest.raises(UsageError, match=r"unknown part of the experiment 'nois'.*'noise'"):
        built_in("cifar10", "published", part=("nois",))


@pytest.mark.parametrize(
    ("name", "preset", "message"),
    [
        ("cifar", "controlled", "unknown experiment 'cifar'.*'cifar10'"),
        ("cifar10", "publshed", "unknown preset 'publshed'.*'published'"),
        ("missing.yaml", None, "cannot read the experiment 'missing.yaml'"),
    ],
)
def test_missing_systems_presets_and_files_are_named(name: str, preset: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_experiment(experiment_file(name, preset), {})


def test_data_that_is_not_included_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"ppmi-published comes without data: give yours with --data nifti:CSV"):
        read_experiment(experiment_file("ppmi", "published"), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("bn: [sample, stien]", "unknown estimator 'stien'.*'stein'"),
        ("bn: [ridge, 'ridge:0.001']", "'ridge:0.001' is given twice"),
        ("stats: [batch, batch]", "each once"),
        ("seeds: 0", "seeds.*greater than or equal to 1"),
        ("nots: []", "unknown key.*'nots'.*'notes'"),
        ("parts: []", "parts"),
    ],
)
def test_an_error_in_a_file_is_reported_with_its_place(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    key = change.partition(":")[0]
    lines = {
        "name": "name: mine", "preset": "preset: controlled", "summary": "summary: a test", "model": "model: m",
        "data": "data: digits", "bn": "bn: [sample]", "parts": "parts: [{name: a, recipe: fit, attack: [pgd]}]",
    }  # fmt: skip
    path.write_text("\n".join({**lines, key: change}.values()))
    with pytest.raises(UsageError, match=message):
        read_experiment(path, {})


def test_an_override_that_is_wrong_is_named_as_an_option() -> None:
    with pytest.raises(UsageError, match=r"--seeds: .*greater than or equal to 1"):
        built_in("cifar10", "controlled", seeds=0)
    with pytest.raises(UsageError, match=r"--limit: .*greater than or equal to 1"):
        built_in("cifar10", "controlled", limit=0)


@pytest.mark.parametrize(
    "name",
    [f"cifar10-{name}" for name in ("small", "question", "question-secondary", "question-gpu", "question-adversarial")],
)
def test_the_experiments_of_the_results_can_be_read(name: str) -> None:
    experiment = read_experiment(SHOWN / f"{name}.yaml", {})
    for part in experiment.parts:
        find_recipe(part.recipe)
        assert resolve_attacks(part.attack)
    if name.startswith("cifar10-question"):
        assert experiment.contrasts[0].bn == ("james-stein" if name.endswith("secondary") else "stein")
        assert sought(experiment, "classification")[0].part == experiment.parts[0].name

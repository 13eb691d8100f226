"""Recipes: built-in YAML files, copied in configs/, or the user's own; errors are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stein_bench.errors import UsageError
from stein_bench.training.recipes import FOLDER, RECIPE_KEYS, Recipe, find_recipe, recipe_names

SHOWN = Path(__file__).parents[2] / "configs" / "recipes"
NEEDED = "optimizer: sgd\nschedule: constant\nlearning-rate: 1e-1\nweight-decay: 0\nepochs: 2\nbatch-size: 8\n"


def test_the_files_in_configs_are_those_of_the_package() -> None:
    assert recipe_names() == ["cifar10", "cifar10-published", "cityscapes-published", "fit", "ppmi-published"]
    assert {path.name: path.read_bytes() for path in SHOWN.iterdir()} == {
        path.name: path.read_bytes() for path in FOLDER.iterdir()
    }
    assert all(find_recipe(name).summary for name in recipe_names())


def test_published_settings_are_those_of_the_paper() -> None:
    cifar = find_recipe("cifar10-published")
    assert (cifar.optimizer, cifar.learning_rate, cifar.momentum, cifar.nesterov) == ("sgd", 1e-3, 0.9, True)
    assert (cifar.weight_decay, cifar.batch_size, cifar.patience) == (1e-4, 128, 5)
    assert (cifar.validation_share, cifar.validation_seed, cifar.stratified) == (0.2, 6, False)
    cityscapes = find_recipe("cityscapes-published")
    assert (cityscapes.optimizer, cityscapes.learning_rate, cityscapes.batch_size) == ("sgd", 5e-4, 16)
    for name in ("cifar10-published", "ppmi-published", "cityscapes-published"):
        comments = (FOLDER / f"{name}.yaml").read_text()
        assert "alias of the" in comments
        assert "γ and β" in comments
        assert find_recipe(name).keep == "best"


def test_the_cache_key_of_a_fit_does_not_change_with_new_recipe_keys() -> None:
    assert find_recipe("fit").identity() == {
        "optimizer": "adamw", "schedule": "one-cycle", "epochs": 8, "batch_size": 64, "learning_rate": 1e-3,
        "weight_decay": 1e-2,
    }  # fmt: skip


def test_a_recipe_file_takes_hyphens_or_underscores(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(NEEDED + "crop_padding: 4\nclip-norm: 1/2\n")
    found = find_recipe(str(file))
    assert (found.learning_rate, found.crop_padding, found.clip_norm) == (0.1, 4, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEEDED + "lable-smoothing: 0.1", "Did you mean 'label-smoothing'"),
        (NEEDED + "momentum: 1", "momentum: input should be less than 1 (got 1)"),
        (NEEDED + "momentum: much", "momentum: should be a number such as 0.03, 1e-3 or 1/2 (got 'much')"),
        (NEEDED + "nesterov: true\nmomentum: 0", "nesterov needs a momentum above 0"),
        (NEEDED + "patience: 2", "patience needs a validation-share above 0"),
        (NEEDED + "warmup-epochs: 2", "warmup-epochs must be below the 2 epochs"),
        (NEEDED + "step-epochs: [1]", "schedule 'step' and step-epochs need each other"),
        (NEEDED.replace("constant", "linear"), "schedule: input should be 'constant'"),
        (NEEDED.replace("epochs: 2", "epochs: true"), "epochs: should be a whole number"),
        ("optimizer: sgd", "it lacks schedule"),
        ("- sgd", "expected option names with values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_recipe(str(file))
    assert message in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_suggested_for_unknown_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'cifar'.*'cifar10'"):
        find_recipe("cifar")
    with pytest.raises(UsageError, match="cannot read the recipe"):
        find_recipe("missing.yaml")


def test_options_change_a_recipe_and_are_checked_with_it() -> None:
    found = find_recipe("cifar10").changed({"epochs": 3, "batch_size": None}, "there")
    assert (found.epochs, found.batch_size, found.crop_padding) == (3, 128, 4)
    with pytest.raises(UsageError, match="there: epochs: input should be greater"):
        find_recipe("cifar10").changed({"epochs": 0}, "there")


def test_recipes_are_frozen_and_every_key_has_a_name() -> None:
    with pytest.raises(ValidationError):
        find_recipe("fit").epochs = 3  # type: ignore[misc]
    assert len(RECIPE_KEYS) == len(Recipe.model_fields)
    documented = str(Recipe.__doc__)
    assert all(name in documented for name in Recipe.model_fields)

"""Training recipes: typed and frozen, read from YAML files without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from stein_bench.config import error_message, hyphenate, read_yaml_mapping
from stein_bench.errors import UsageError, unknown_name
from stein_bench.specs import parse_number

FOLDER = Path(__file__).parent / "recipes"
DEFAULT = "fit"


def _number(value: object) -> object:
    """Parse ``1e-3``, which YAML reads as text, and fractions as numbers."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    if not isinstance(value, str):
        return value
    try:
        return float(parse_number(value, "it"))
    except UsageError:
        raise ValueError("should be a number such as 0.03, 1e-3 or 1/2") from None


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a whole number")
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]


class Recipe(BaseModel):
    """How a network is trained. YAML keys are these names with hyphens (underscores are accepted).

    Attributes:
        summary: one line about the recipe.
        optimizer: ``sgd`` or ``adamw`` (decoupled weight decay).
        learning_rate: its peak value.
        momentum, nesterov: for ``sgd``.
        weight_decay: applied to every parameter.
        schedule: ``constant``, ``cosine`` (to 0), ``one-cycle`` (Smith and Topin 2019, from 1/25 of the peak up to it
            and down to almost 0) or ``step`` (multiplied by `step_factor` after each of `step_epochs`).
        step_epochs, step_factor: for ``step``: after which epochs the rate is multiplied, and by what.
        warmup_epochs: epochs of linear warm-up; for ``one-cycle`` the length of its rise (0: three tenths of all
            epochs).
        cycle_momentum: ``one-cycle`` also cycles the momentum (AdamW's β1) from 0.95 to 0.85 and back.
        epochs, batch_size: passes over the training part; approximate samples per step, as each epoch is split evenly.
        crop_padding: zeros added around each sample before a random crop to its size; 0 for no crop.
        horizontal_flip: flip every second sample, on average, along its last axis.
        label_smoothing: share of the target spread evenly over all classes; classification only.
        clip_norm: maximum L2 norm of the gradient over all parameters.
        validation_share, validation_seed: share of the training split held out for validation, and the seed of the
            draw.
        stratified: hold out the same share of each class.
        monitor: the validation metric that decides which epoch is best: ``accuracy`` or ``loss``; in adversarial
            training the one under attack.
        patience: epochs without improvement after which training ends.
        keep: ``best`` (a copy of the best epoch's weights) or ``last``; without validation always the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=hyphenate, populate_by_name=True)

    optimizer: Literal["sgd", "adamw"]
    schedule: Literal["constant", "cosine", "one-cycle", "step"]
    learning_rate: Number = Field(gt=0)
    weight_decay: Number = Field(ge=0)
    epochs: Whole = Field(ge=1, le=100_000)
    batch_size: Whole = Field(ge=1)
    summary: str = ""
    momentum: Number = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    warmup_epochs: Number = Field(default=0.0, ge=0)
    step_epochs: tuple[Whole, ...] = ()
    step_factor: Number = Field(default=0.1, gt=0, le=1)
    cycle_momentum: bool = True
    crop_padding: Whole = Field(default=0, ge=0, le=1000)
    horizontal_flip: bool = False
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    clip_norm: Number | None = Field(default=None, gt=0)
    validation_share: Number = Field(default=0.0, ge=0, lt=1)
    validation_seed: Whole = Field(default=0, ge=0, lt=2**63)
    stratified: bool = True
    monitor: Literal["accuracy", "loss"] = "accuracy"
    patience: Whole | None = Field(default=None, ge=1)
    keep: Literal["best", "last"] = "best"

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.nesterov and not self.momentum > 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.patience is not None and self.validation_share == 0:
            raise ValueError("patience needs a validation-share above 0, to tell which epoch is best")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup-epochs must be below the {self.epochs} epochs")
        if (self.schedule == "step") != bool(self.step_epochs):
            raise ValueError("schedule 'step' and step-epochs need each other")
        return self

    def document(self) -> dict[str, Any]:
        """Return all settings as plain JSON values."""
        return self.model_dump(mode="json", exclude={"summary"})

    def identity(self) -> dict[str, Any]:
        """Return the six required settings and those that differ from their defaults: the cache key of a fit.

        It does not change when recipes gain keys whose default changes nothing.
        """
        return self.model_dump(mode="json", exclude={"summary"}, exclude_defaults=True)

    def changed(self, options: dict[str, Any], where: str) -> Recipe:
        """Return the recipe with its values replaced by those `options` that are not None.

        Raises:
            UsageError: a value is invalid or inconsistent with the others; the message names `where`.
        """
        given = {key: value for key, value in options.items() if value is not None}
        return _made({**self.model_dump(), **given}, where) if given else self


RECIPE_KEYS = tuple(hyphenate(name) for name in Recipe.model_fields)


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_recipe(name: str) -> Recipe:
    """Return the built-in recipe of this name, or the one in this YAML file.

    Raises:
        UsageError: there is no such recipe or file, or the file is not a valid recipe; for an unknown key the nearest
            known one is suggested.
    """
    if name in recipe_names():
        return _read(FOLDER / f"{name}.yaml", f"recipe {name}")
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return _read(path, f"recipe {name}")
    raise unknown_name("recipe", name, recipe_names(), "Name one of `stein-bench list recipes`, or a YAML file.")


def _read(path: Path, where: str) -> Recipe:
    return _made(read_yaml_mapping(path, "recipe", RECIPE_KEYS), where)


def _made(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {error_message(error)}") from None

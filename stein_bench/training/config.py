"""The configuration of a training run, from a YAML file and command-line options with the same names."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from stein_bench.config import LARGEST_IMAGE, Device, Format, Precision, RunConfig, Settings, merge_settings
from stein_bench.training.recipes import DEFAULT, Number, Recipe, find_recipe

FROM_SCRATCH = "none"
OVERRIDES = ("epochs", "batch_size", "learning_rate", "weight_decay")
"""Recipe keys that are also options."""


def _one(value: object) -> object:
    """Accept a list of one name, since YAML files for `evaluate` have lists here."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


class TrainConfig(Settings):
    """All settings of `stein-bench train`. Field names are the option names, with underscores.

    Raises pydantic's ValidationError; `make_train_config` turns it into a `UsageError`.

    Attributes:
        weights: what training starts from: ``none`` (random initialization), ``pretrained`` or a file.
        weights_key: where in that file the weights are.
        output: the ``.safetensors`` file to write.
    """

    model: str = Field(min_length=1)
    data: str = "digits"
    bn: Annotated[str, BeforeValidator(_one)] = "sample"
    recipe: str = Field(default=DEFAULT, min_length=1)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: Number | None = Field(default=None, gt=0)
    weight_decay: Number | None = Field(default=None, ge=0)
    weights: str = Field(default=FROM_SCRATCH, min_length=1)
    weights_key: str | None = Field(default=None, min_length=1)
    preserve_function: bool = False
    adversarial: str | None = Field(default=None, min_length=1)
    limit: int | None = Field(default=None, ge=2)
    workers: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Device = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = Field(default=None, ge=1, le=LARGEST_IMAGE)
    output: str = Field(min_length=1)
    plot: str | None = Field(default=None, min_length=1)
    format: Format = "table"
    resume: bool = False
    trust_code: bool = Field(default=False, exclude_if=operator.not_)
    offline: bool = Field(default=False, exclude_if=operator.not_)
    quiet: bool = False

    @field_validator("output")
    @classmethod
    def _safetensors(cls, value: str) -> str:
        if Path(value).suffix != ".safetensors":
            raise ValueError("the name must end in .safetensors")
        return value

    def chosen_recipe(self) -> Recipe:
        """Return the recipe with the values that options override.

        Raises:
            UsageError: there is no such recipe, or a value in it is invalid.
        """
        options = {name: getattr(self, name) for name in OVERRIDES}
        return find_recipe(self.recipe).changed(options, f"recipe {self.recipe} with the options given")

    def as_run_config(self, weights: str) -> RunConfig:
        """Return an evaluation config with the same model and data and these `weights`, to resolve and check them."""
        attack = {"attack": (self.adversarial,)} if self.adversarial is not None else {}
        return RunConfig(
            model=self.model, data=self.data, weights=weights, weights_key=self.weights_key, workers=self.workers,
            seed=self.seed, device=self.device, precision=self.precision, mean=self.mean, std=self.std,
            image_size=self.image_size, trust_code=self.trust_code, offline=self.offline, **attack,
        )  # fmt: skip


def make_train_config(options: Mapping[str, Any], file: str | Path | None = None) -> TrainConfig:
    """Merge a configuration file with command-line `options`; the command line wins.

    Raises:
        UsageError: a value is missing or invalid; the message names the option and, if the value came from a file, the
            file.
    """
    needed = {
        "model": "Name one, e.g. stein-bench train resnet18 --output weights.safetensors",
        "output": "Name the file to write, e.g. --output weights.safetensors",
    }
    return merge_settings(TrainConfig, options, file, needed)

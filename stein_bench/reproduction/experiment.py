"""Experiments: typed and frozen descriptions, read from YAML files without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from stein_bench.config import Device, Precision, Settings, Stats, hyphenate, read_yaml_mapping
from stein_bench.errors import UsageError, unknown_name, without_prefix
from stein_bench.normalization.names import parse_estimator, published_source

FOLDER = Path(__file__).parent / "experiments"
SYSTEMS = ("cifar10", "ppmi", "cityscapes")
PRESETS = ("controlled", "published")
Preset = Literal["controlled", "published"]


class ExperimentPart(Settings):
    """One table of an experiment: how its networks are trained and attacked.

    Attributes:
        name: heading of the table.
        recipe: name or file of the training recipe.
        train: further options of `stein-bench train`, by name, e.g. ``batch-size``.
        attack: attack and corruption specs, in order.
        batch_size: samples per batch in evaluation; under batch statistics it changes the result.
        limit: evaluate only the first samples, up to this number.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    recipe: str
    train: dict[str, bool | int | float | str] = Field(default_factory=dict)
    attack: tuple[str, ...] = Field(min_length=1)
    batch_size: Annotated[int, Field(ge=1)] = 100
    limit: int | None = Field(default=None, ge=1)


class Experiment(Settings):
    """The experiment that `stein-bench reproduce` runs. Keys of its file are these names with hyphens.

    Attributes:
        name, preset: e.g. ``cifar10`` and ``controlled``.
        summary: one line.
        notes: differences from the published code, and how to read the tables.
        model, data: specs as `evaluate` takes them.
        data_form: form of `--data`, for an experiment without data of its own.
        mean, std: input scaling, if it is not the model's own.
        image_size: as in `evaluate`, if images are resized.
        bn: estimators; plain BN, if included, comes first as the reference.
        stats: statistics sources of every BN; with ``published`` each has the one of the published code.
        parts: the tables.
        seeds, seed: number of training runs per BN, and the first one's seed.
        device, precision: as in `evaluate`.
    """

    name: str = Field(min_length=1)
    preset: Preset
    summary: str
    notes: tuple[str, ...] = ()
    model: str
    data: str
    data_form: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = Field(default=None, ge=1)
    bn: tuple[str, ...] = Field(min_length=1)
    stats: tuple[Stats, ...] | Literal["published"] = ("running", "batch")
    parts: tuple[ExperimentPart, ...] = Field(min_length=1)
    seeds: int = Field(default=5, ge=1, le=1000)
    seed: int = Field(default=0, ge=0, lt=2**62)
    device: Device = "auto"
    precision: Precision = "fp32"

    @field_validator("bn")
    @classmethod
    def _known_estimators(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        canonical = tuple(str(parse_estimator(name)) for name in names)
        repeated = next((name for i, name in enumerate(canonical) if name in canonical[:i]), None)
        if repeated is not None:
            raise ValueError(f"{repeated!r} is given twice")
        return canonical

    @field_validator("stats")
    @classmethod
    def _one_or_both(cls, value: tuple[Stats, ...] | str) -> tuple[Stats, ...] | str:
        if isinstance(value, tuple) and len(set(value)) != max(1, len(value)):
            raise ValueError("name running, batch or both, each once")
        return value

    @model_validator(mode="after")
    def _of_its_preset(self) -> Experiment:
        if (self.preset == "published") != (self.stats == "published"):
            raise ValueError("preset published and stats published need each other")
        return self

    @model_validator(mode="after")
    def _named_apart(self) -> Experiment:
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError("two parts have the same name")
        return self

    def sources(self, bn: str) -> tuple[Stats, ...]:
        """Return the statistics sources that the networks with this BN are evaluated under."""
        if self.stats != "published":
            return self.stats
        return (published_source(bn),)


def experiment_file(name: str, preset: str) -> Path:
    """Return the file of a built-in experiment or of the user's own experiment.

    Raises:
        UsageError: there is no such experiment, preset or file.
    """
    if name in SYSTEMS:
        if preset not in PRESETS:
            raise unknown_name("preset", preset, PRESETS)
        return FOLDER / f"{name}-{preset}.yaml"
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        return path
    raise unknown_name("experiment", name, SYSTEMS, "Name one of cifar10, ppmi, cityscapes, or a YAML file.")


def read_experiment(path: Path, overrides: Mapping[str, Any]) -> Experiment:
    """Read an experiment; `overrides` (option names with underscores, None if not given) take precedence.

    ``recipe``, ``train``, ``attack``, ``batch_size`` and ``limit`` apply to every part; ``part`` selects parts by name.

    Raises:
        UsageError: the file is missing or invalid, or an override is invalid; the message names the place.
    """
    known = tuple(hyphenate(name) for name in Experiment.model_fields)
    content = read_yaml_mapping(path, "experiment", known)
    given = {key: value for key, value in overrides.items() if value is not None}
    wanted = given.pop("part", None)
    for_parts: dict[str, Any] = {
        key: given.pop(key) for key in ("recipe", "attack", "batch_size", "limit") if key in given
    }
    train = given.pop("train", {})
    if "data" not in content and "data" not in given:
        form = content.get("data-form", "SPEC")
        raise UsageError(f"{path.stem} comes without data: give yours with --data {form}.")
    try:
        experiment = Experiment.model_validate({**content, **{hyphenate(key): v for key, v in given.items()}})
        parts = [_changed(part, for_parts, train) for part in _chosen(experiment.parts, wanted)]
        return Experiment.model_validate({**experiment.document(), "parts": parts})
    except ValidationError as error:
        raise UsageError(_first_error(error, path, {**given, **for_parts})) from None


def _chosen(parts: tuple[ExperimentPart, ...], wanted: tuple[str, ...] | None) -> list[ExperimentPart]:
    names = [part.name for part in parts]
    for name in wanted or ():
        if name not in names:
            raise unknown_name("part of the experiment", name, names)
    return [part for part in parts if wanted is None or part.name in wanted]


def _changed(part: ExperimentPart, changes: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    document = part.model_dump(mode="json", by_alias=True)
    return {
        **document,
        **{hyphenate(key): value for key, value in changes.items()},
        "train": {**document["train"], **train},
    }


def _first_error(error: ValidationError, path: Path, given: Mapping[str, Any]) -> str:
    detail = error.errors()[0]
    location = [str(part) for part in detail["loc"]] or ["experiment"]
    name = next((part for part in reversed(location) if part.replace("-", "_") in given), None)
    where = f"--{hyphenate(name)}" if name is not None else f"{path}: {'.'.join(location)}"
    message = without_prefix(detail["msg"])
    shown = repr(detail["input"])
    value = f" (got {shown})" if len(shown) < 60 else ""
    return f"{where}: {message[0].lower()}{message[1:]}{value}."

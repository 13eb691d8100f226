"""Experiments: typed and frozen descriptions, read from YAML files without importing torch."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from stein_bench.comparison.pairing import CLEAN, WORST_CASE
from stein_bench.config import Device, Precision, Settings, Stats, hyphenate, read_yaml_mapping
from stein_bench.errors import UsageError, unknown_name, without_prefix
from stein_bench.normalization.names import parse_estimator, published_source
from stein_bench.parts.trust import check_trusted_keys

FOLDER = Path(__file__).parent / "experiments"
SYSTEMS = ("cifar10", "ppmi", "cityscapes")
PRESETS = ("controlled", "published")
Preset = Literal["controlled", "published"]
PLAIN = "sample"
OUTCOMES = (CLEAN, WORST_CASE)
"""The outcomes that every part has, if it has an attack."""


SET_ELSEWHERE = (
    "model", "data", "bn", "seed", "recipe", "mean", "std", "image-size", "device", "output", "resume", "config",
)  # fmt: skip
"""Options of `stein-bench train` that belong to the experiment: its cells would not be what their names say."""


class ExperimentPart(Settings):
    """One table of an experiment: how its networks are trained and attacked.

    Attributes:
        name: heading of the table.
        recipe: name or file of the training recipe.
        train: further options of `stein-bench train`, by name, e.g. ``batch-size``.
        attack: attack and corruption specs, in order.
        batch_size: samples per batch in evaluation; under batch statistics it changes the result.
        limit: evaluate only the first samples, up to this number.
        stats: statistics sources in this part, if not all of the experiment's.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    recipe: str
    train: dict[str, bool | int | float | str] = Field(default_factory=dict)
    attack: tuple[str, ...] = Field(min_length=1)
    batch_size: Annotated[int, Field(ge=1)] = 100
    limit: int | None = Field(default=None, ge=1)
    stats: tuple[Stats, ...] | None = Field(default=None, min_length=1, exclude_if=operator.not_)

    @field_validator("train")
    @classmethod
    def _options_of_training(cls, train: dict[str, Any]) -> dict[str, Any]:
        for key in train:
            if hyphenate(key) in SET_ELSEWHERE:
                raise ValueError(f"{key} is not for train: the experiment sets it for all of its networks")
        return train


class PlannedContrast(Settings):
    """A contrast that is registered: named in the experiment's file, before its results are known.

    Attributes:
        bn: the estimator.
        stats: the statistics source; running for a contrast of estimators if not given, always batch for sources.
        outcome: clean, worst-case, or an attack or corruption of the part.
        part: name of the part; the first one if not given.
        kind: estimator: minus plain BN under the same statistics; source: batch minus running statistics.
        metric: name of the metric.
    """

    bn: str
    stats: Stats | None = None
    outcome: str = Field(min_length=1)
    part: str | None = None
    kind: Literal["estimator", "source"] = "estimator"
    metric: str = Field(default="accuracy", min_length=1)

    @field_validator("bn")
    @classmethod
    def _known_estimator(cls, name: str) -> str:
        return str(parse_estimator(name))

    @property
    def source(self) -> Stats:
        """The statistics source of the variant from which another is subtracted."""
        return self.stats or ("batch" if self.kind == "source" else "running")

    @property
    def against(self) -> tuple[str, Stats]:
        """The BN and the statistics source of the variant that is subtracted."""
        return (PLAIN, self.source) if self.kind == "estimator" else (self.bn, "running")

    def variants(self) -> tuple[tuple[str, Stats], tuple[str, Stats]]:
        """Return BN and statistics source of both variants, the subtracted one last."""
        return (self.bn, self.source), self.against

    @model_validator(mode="after")
    def _of_two(self) -> PlannedContrast:
        if self.kind == "estimator" and self.bn == PLAIN:
            raise ValueError(f"{PLAIN} is plain BN, the reference of every contrast of estimators")
        if self.kind == "source" and self.source != "batch":
            raise ValueError("a contrast of statistics sources is batch minus running: its stats is batch")
        return self

    def __str__(self) -> str:
        where = "" if self.part is None else f" in {self.part}"
        return f"{self.bn}/{self.source}, {self.outcome}{where}"


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
        contrasts: those registered, the main one first.
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
    contrasts: tuple[PlannedContrast, ...] = Field(default=(), exclude_if=operator.not_)
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

    @model_validator(mode="after")
    def _sources_of_parts(self) -> Experiment:
        for part in self.parts:
            if part.stats is None:
                continue
            if self.stats == "published":
                raise ValueError(f"part {part.name} names stats, but with stats published each BN has its own")
            if other := [stats for stats in part.stats if stats not in self.stats]:
                raise ValueError(f"part {part.name} names stats {other[0]}, which is not among the experiment's")
        return self

    @model_validator(mode="after")
    def _contrasts_of_its_variants(self) -> Experiment:
        for number, contrast in enumerate(self.contrasts, 1):
            if missing := self.lacks(contrast):
                raise ValueError(f"contrast {number} ({contrast}): {missing}")
        return self

    def lacks(self, contrast: PlannedContrast) -> str:
        """Return what the experiment lacks for a contrast, ``""`` if nothing; its outcome is not looked up."""
        names = [part.name for part in self.parts]
        if contrast.part is not None and contrast.part not in names:
            return f"there is no part {contrast.part!r}; the parts are {', '.join(names)}"
        for bn, stats in contrast.variants():
            if bn not in self.bn:
                return f"{bn} is not among the experiment's BNs {', '.join(self.bn)}"
            if stats not in self.sources(self.part_of(contrast), bn):
                return f"{bn} is not evaluated under {stats} statistics in part {self.part_of(contrast).name}"
        return ""

    def part_of(self, contrast: PlannedContrast) -> ExperimentPart:
        """Return the part of a contrast."""
        return next((part for part in self.parts if part.name == contrast.part), self.parts[0])

    def sources(self, part: ExperimentPart, bn: str) -> tuple[Stats, ...]:
        """Return the statistics sources that the networks with this BN are evaluated under in one of the parts."""
        if self.stats == "published":
            return (published_source(bn),)
        return self.stats if part.stats is None else part.stats


def experiment_file(name: str, preset: str | None) -> Path:
    """Return the file of a built-in experiment or of the user's own experiment.

    Args:
        name: of one of `SYSTEMS`, or the file.
        preset: of a built-in experiment; None for controlled. A file has its own.

    Raises:
        UsageError: there is no such experiment, preset or file, or a file and a preset.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    if name in SYSTEMS:
        return FOLDER / f"{name}-{preset or PRESETS[0]}.yaml"
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if preset is not None:
            raise UsageError(f"--preset {preset}: {name} has a preset of its own; leave out the option.")
        return path
    raise unknown_name("experiment", name, SYSTEMS, "Name one of cifar10, ppmi, cityscapes, or a YAML file.")


@dataclass(frozen=True)
class Read:
    """An experiment as read from its file and changed by options.

    Attributes:
        experiment: with the registered contrasts that it still has; each names its part.
        left_out: registered contrasts that it no longer has.
        main_is_left_out: whether the first registered one is among them.
        changed: the options, with hyphens, that changed what the file says.
    """

    experiment: Experiment
    left_out: tuple[PlannedContrast, ...] = ()
    main_is_left_out: bool = False
    changed: tuple[str, ...] = ()


def read_experiment(path: Path, overrides: Mapping[str, Any], *, trust_code: bool = False) -> Experiment:
    """Read an experiment; see `read_changed`."""
    return read_changed(path, overrides, trust_code=trust_code).experiment


def read_changed(path: Path, overrides: Mapping[str, Any], *, trust_code: bool = False) -> Read:
    """Read an experiment; `overrides` (option names with underscores, None if not given) take precedence.

    ``recipe``, ``train``, ``attack``, ``batch_size`` and ``limit`` apply to every part; ``part`` selects parts by name.
    Registered contrasts must fit the experiment of the file; those that `overrides` take away are left out.

    Raises:
        UsageError: the file is missing or invalid or, without `trust_code`, names code, or an override is invalid; the
            message names the place.
    """
    known = tuple(hyphenate(name) for name in Experiment.model_fields)
    content = read_yaml_mapping(path, "experiment", known)
    given = {key: value for key, value in overrides.items() if value is not None}
    if not trust_code:  # before any name is looked up; options replace the model and the data, and are trusted
        replaced = given.keys() & {"model", "data"}
        check_trusted_keys({key: value for key, value in content.items() if key not in replaced}, str(path))
    changed = tuple(
        "epochs" if key == "train" else hyphenate(key)
        for key in given
        if given[key] != content.get(hyphenate(key)) and not (key == "data" and "data" not in content)
    )
    wanted = given.pop("part", None)
    for_parts: dict[str, Any] = {
        key: given.pop(key) for key in ("recipe", "attack", "batch_size", "limit") if key in given
    }
    train = given.pop("train", {})
    if "data" not in content and "data" not in given:
        form = content.get("data-form", "SPEC")
        raise UsageError(f"{path.stem} comes without data: give yours with --data {form}.")
    narrowed = {"bn": given.pop("bn")} if "bn" in given and "bn" in content else {}
    try:
        whole = Experiment.model_validate({**content, **{hyphenate(key): v for key, v in given.items()}})
        parts = [_changed(part, for_parts, train) for part in _chosen(whole.parts, wanted)]
        own = [contrast.model_copy(update={"part": whole.part_of(contrast).name}) for contrast in whole.contrasts]
        bare = {**whole.document(), **narrowed, "parts": parts, "contrasts": ()}
        experiment = Experiment.model_validate(bare)
    except ValidationError as error:
        raise UsageError(_first_error(error, path, {**given, **narrowed, **for_parts})) from None
    registered: list[tuple[object, ...]] = []
    for number, contrast in enumerate(own, 1):
        where = f"{path}: contrast {number} ({contrast})"
        found = _identity(whole, contrast)
        if found is None:
            part = whole.part_of(contrast)
            raise UsageError(
                f"{where}: part {part.name} has no such outcome. Name one of {', '.join(_outcomes(part))}."
            )
        if found in registered:
            raise UsageError(f"{where}: is registered twice, the first time as contrast {1 + registered.index(found)}.")
        registered.append(found)
    kept = [
        contrast
        for contrast, before in zip(own, registered, strict=True)
        if not experiment.lacks(contrast) and _identity(experiment, contrast) == before
    ]
    return Read(
        experiment.model_copy(update={"contrasts": tuple(kept)}),
        tuple(contrast for contrast in own if contrast not in kept),
        bool(own) and own[0] not in kept,
        changed,
    )


def _identity(experiment: Experiment, contrast: PlannedContrast) -> tuple[object, ...] | None:
    """Return what makes it this contrast, however it is written; None if its part has no such outcome.

    A worst case is that over the attacks that the part has: over others it is another contrast.
    """
    part = experiment.part_of(contrast)
    outcome = find_outcome(part, contrast.outcome)
    over = tuple(sorted(_attacks(part))) if outcome == WORST_CASE else ()
    return None if outcome is None else (part.name, *contrast.variants(), outcome, over, contrast.metric)


def _outcomes(part: ExperimentPart) -> list[str]:
    """Return the names by which a contrast can have its outcome."""
    from stein_bench.attacks.attack import resolve_attacks  # it loads torch

    severities = [attack.label for attack in resolve_attacks(part.attack) if attack.info.is_common]
    others = [text for text in part.attack if len(resolve_attacks([text])) == 1 and text not in severities]
    return [CLEAN, *([WORST_CASE] if _attacks(part) else []), *others, *severities]


def _attacks(part: ExperimentPart) -> list[str]:
    """Return the labels of the part's attacks, without corruptions."""
    from stein_bench.attacks.attack import resolve_attacks  # it loads torch

    return [attack.label for attack in resolve_attacks(part.attack) if not attack.info.is_corruption]


def find_outcome(part: ExperimentPart, written: str) -> str | None:
    """Return the name under which reports have an outcome of the part, None if it has no such outcome.

    Args:
        part: the part, whose attacks and corruptions are looked up.
        written: clean, worst-case, or an attack or corruption in any spelling of its parameters. The worst case of a
            single attack is that attack.
    """
    if written == CLEAN:
        return CLEAN
    from stein_bench.attacks.attack import resolve_attacks  # it loads torch

    if written == WORST_CASE:
        attacks = _attacks(part)
        return WORST_CASE if len(attacks) > 1 else next(iter(attacks), None)
    try:
        labels = [attack.label for attack in resolve_attacks([written])]
    except UsageError:
        return None  # the caller says what there is
    if len(labels) > 1:  # a common corruption without a severity stands for all five, of which none is meant
        return None
    return labels[0] if labels[0] in [attack.label for attack in resolve_attacks(part.attack)] else None


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

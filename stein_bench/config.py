"""The typed, frozen configuration of a run, from a YAML file and command-line options of the same names."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from stein_bench.errors import UsageError, unknown_name, without_prefix
from stein_bench.parts.trust import TRUST, check_trusted_keys
from stein_bench.reading import MOST_YAML, parse_yaml, read_bounded
from stein_bench.specs import Norm, norm_name, parse_numbers

Stats = Literal["running", "batch"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16"]
AttackPrecision = Literal["fp32", "tf32", "bf16"]
Format = Literal["table", "json"]

DRAWS = 10
"""Default number of predictions behind every verdict on a random model."""

WITHOUT_EFFECT = frozenset(
    {
        "format", "output", "resume", "save-adversarials", "log", "quiet", "workers", "refill", "timeout-per-batch",
        "trust-code", "offline",
    }
)  # fmt: skip
"""Keys that change how results are shown or stored and how fast they come, not the results; they do not enter
`RunConfig.sha256`."""

LONGEST_TIMEOUT = 1e7
"""Seconds, some hundred days: timers of the system take no numbers of any size."""

NO_ATTACK = "none"
"""In place of attacks: none is run, not even the default one."""

LARGEST_IMAGE = 65_535
"""The largest side of an image in pixels, which is that of JPEG."""

LARGEST_SCALING = 2
"""A mean or standard deviation above it is none of values in [0, 1]; those of 0..255 are mostly above 50."""


def hyphenate(name: str) -> str:
    """Return the name of the option or YAML key for the field `name`."""
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base of all commands' configurations: spelling of names and checks of values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=hyphenate,
        populate_by_name=True,
        protected_namespaces=(),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_values(cls, value: object, info: Any) -> object:
        """Refuse values that pydantic would silently convert, and text that is not valid UTF-8."""
        number = re.search(r"\b(int|float)\b", str(cls.model_fields[str(info.field_name)].annotation))
        if isinstance(value, bool) and number:
            raise ValueError("must not be true or false")
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError("is not valid UTF-8, so a report could not store it")
        return value

    @field_validator("eps", "mean", "std", mode="before", check_fields=False)
    @classmethod
    def _numbers(cls, value: object, info: Any) -> object:
        if isinstance(value, str):
            return parse_numbers(value, str(info.field_name), nonzero=info.field_name != "mean")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ValueError("must be finite")
            return (float(value),)
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("needs at least one value")
            return tuple(number for item in value for number in parse_numbers(str(item), str(info.field_name)))
        return value

    @field_validator("std", check_fields=False)
    @classmethod
    def _positive_std(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and not all(number > 0 for number in value):
            raise ValueError("must be above 0")
        return value

    @field_validator("mean", "std", check_fields=False)
    @classmethod
    def _for_inputs_up_to_one(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value and max(value) > LARGEST_SCALING:
            example = ",".join(f"{number:g}/255" for number in value)
            raise ValueError(
                "these look like values for inputs in 0..255, and inputs are in [0, 1] here: divide mean and std by "
                f"255, e.g. {example}"
            )
        return value

    @field_validator("batch_size", "workers", mode="before", check_fields=False)
    @classmethod
    def _number_or_auto(cls, value: object, info: Any) -> object:
        """Refuse other words in one sentence, instead of pydantic's one per alternative."""
        takes_auto = "auto" in str(cls.model_fields[str(info.field_name)].annotation)
        if takes_auto and isinstance(value, str) and value != "auto" and not value.lstrip("-").isdigit():
            raise ValueError("must be a whole number or 'auto'")
        return value

    def document(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values under the option names, without unset ones."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


S = TypeVar("S", bound=Settings)


class RunConfig(Settings):
    """All options of `stein-bench evaluate`. Field names are the option names, with underscores.

    Repeatable options are tuples; a single value is accepted in their place. ``eps`` and the numbers in attack
    specs may be fractions. Raises pydantic's ValidationError; `make_config` turns it into a `UsageError`.
    """

    model: str = Field(min_length=1)
    data: str = "digits"
    weights: str = Field(default="auto", min_length=1)
    weights_key: str | None = Field(default=None, min_length=1)
    bn: tuple[str, ...] | None = None
    stats: tuple[Stats, ...] = ("running",)
    preset: Literal["published"] | None = None
    battery: str | None = Field(default=None, min_length=1)
    surrogate: str | None = Field(default=None, min_length=1)
    surrogate_weights: str | None = Field(default=None, min_length=1)
    surrogate_weights_key: str | None = Field(default=None, min_length=1)
    corruption: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    mce_baseline: str | None = Field(default=None, min_length=1)
    attack: tuple[str, ...] = ("pgd",)
    adaptive: bool = Field(default=False, exclude_if=operator.not_)
    metric: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    eps: tuple[float, ...] | None = None
    norm: Norm | None = None
    limit: int | None = Field(default=None, ge=1)
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 100
    workers: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    refill: bool | None = None
    timeout_per_batch: float | None = Field(default=None, gt=0, le=LONGEST_TIMEOUT)
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Device = "auto"
    precision: Precision = "fp32"
    attack_precision: AttackPrecision | None = None
    compile: bool = Field(default=False, exclude_if=operator.not_)  # a run without it keeps its hash
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = Field(default=None, ge=1, le=LARGEST_IMAGE)
    preserve_function: bool = False
    controls: bool = False
    format: Format = "table"
    output: str | None = Field(default=None, min_length=1)
    resume: bool = False
    save_adversarials: int | None = Field(default=None, ge=1)
    log: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    draws: int | None = Field(default=None, ge=1, le=1000)
    trust_code: bool = Field(default=False, exclude_if=operator.not_)
    offline: bool = Field(default=False, exclude_if=operator.not_)
    quiet: bool = False

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        """Default to the published attacks, and refuse options that the preset fixes."""
        if not isinstance(values, Mapping) or values.get("preset") is None:
            return values
        asked = {"stats": values.get("stats") not in (None, "running", ["running"], ("running",))}
        asked["controls"] = bool(values.get("controls"))
        for key, given in asked.items():
            if given:
                raise UsageError(
                    f"--preset {values['preset']} fixes the statistics source of each BN: leave out --{key}."
                )
        named = values.get("attack") is not None or values.get("battery") is not None
        return values if named else {**values, "battery": "published", "attack": ()}

    @model_validator(mode="before")
    @classmethod
    def _battery_alone(cls, values: Any) -> Any:
        """Drop the default attack if there is a battery or corruption; attacks given explicitly add to them."""
        if not isinstance(values, Mapping) or values.get("attack") is not None:
            return values
        other = values.get("battery") is not None or bool(values.get("corruption"))
        return {**values, "attack": ()} if other else values

    @field_validator("norm", mode="before")
    @classmethod
    def _spelled_norm(cls, value: object) -> object:
        """Accept all spellings; YAML reads ``2`` and ``.inf`` as numbers."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return norm_name(str(value)) or value
        return value

    @field_validator("bn", "stats", "corruption", "attack", "metric", "log", mode="before")
    @classmethod
    def _one_or_many(cls, value: object, info: ValidationInfo) -> object:
        values = (value,) if isinstance(value, str) else value
        if info.field_name == "attack" and isinstance(values, list | tuple) and NO_ATTACK in values:
            if len(values) > 1:
                raise ValueError(f"{NO_ATTACK!r} stands alone: it means that no attack is run")
            return ()
        if isinstance(values, list | tuple):
            others = info.data.get("battery") or info.data.get("corruption")
            empty = info.field_name in ("corruption", "metric", "log") or (info.field_name == "attack" and others)
            if not values and not empty:
                raise ValueError("needs at least one value")
            repeated = next((item for i, item in enumerate(values) if item in values[:i]), None)
            if repeated is not None:
                raise ValueError(f"{repeated!r} is given twice")
            return tuple(values)
        return values

    def sha256(self) -> str:
        """Return the SHA-256 over everything that can change a result."""
        settings = {key: value for key, value in self.document().items() if key not in WITHOUT_EFFECT}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


OPTION_NAMES = tuple(hyphenate(name) for name in RunConfig.model_fields)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose keys are option names (hyphens or underscores).

    Raises:
        UsageError: the file is missing, not YAML, not a mapping, or has a key that is not an option.
    """
    return read_yaml_mapping(path, "configuration", OPTION_NAMES)


def read_yaml_mapping(path: str | Path, what: str, known: Sequence[str]) -> dict[str, Any]:
    """Read a YAML file of `what` whose keys are `known` names (with hyphens; underscores are accepted).

    Raises:
        UsageError: the file is missing, not YAML, not a mapping, or has an unknown key.
    """
    try:
        text = read_bounded(path, MOST_YAML, f"a {what}")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the {what} {str(path)!r}: {_reason(error)}.") from None
    try:
        content = parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date or number
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected option names with values, got a {type(content).__name__}.")
    return {_known_key(key, path, known): value for key, value in content.items()}


def make_config(options: Mapping[str, Any], file: str | Path | None = None) -> RunConfig:
    """Merge a configuration file with command-line `options`; the command line wins.

    Args:
        options: option names (with underscores) to values; None means not given.
        file: path of a YAML file, or None.

    Raises:
        UsageError: a value is wrong; the message names the option and, if it came from there, the file.
    """
    return merge_settings(RunConfig, options, file, {"model": "Name one, e.g. stein-bench evaluate resnet18"})


def merge_settings(kind: type[S], options: Mapping[str, Any], file: str | Path | None, needed: Mapping[str, str]) -> S:
    """Merge a configuration file with command-line `options` into settings of `kind`; the command line wins.

    Args:
        kind: the class of settings.
        options: option names (with underscores) to values; None means not given.
        file: path of a YAML file, or None.
        needed: required options, each with a sentence on how to give it.

    Raises:
        UsageError: a value is missing or wrong; the message names the option and, if it came from there, the file.
    """
    known = tuple(hyphenate(name) for name in kind.model_fields)
    from_file = read_configuration(file, known, options) if file is not None else {}
    return settings_from(kind, options, from_file, file, needed)


def read_configuration(file: str | Path, known: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a configuration file as `read_yaml_mapping` does; code that it names needs the option ``trust_code``.

    Args:
        file: its path.
        known: names of its keys, with hyphens.
        options: those of the command line, which win, by name with underscores; None means not given.

    Raises:
        UsageError: the file is wrong, or it names code for a key that no option replaces.
    """
    content = read_yaml_mapping(file, "configuration", known)
    if TRUST in content:
        raise UsageError(f"{file}: {TRUST}: a file cannot vouch for itself. Read it, and give --{TRUST}.")
    if not options.get("trust_code"):
        given = {hyphenate(key) for key, value in options.items() if value is not None and value != []}
        check_trusted_keys({key: value for key, value in content.items() if key not in given}, str(file))
    return content


def settings_from(
    kind: type[S],
    options: Mapping[str, Any],
    from_file: Mapping[str, Any],
    file: str | Path | None,
    needed: Mapping[str, str],
) -> S:
    """Merge the content of a configuration file, already read, with command-line `options`; see `merge_settings`."""
    given = {hyphenate(key): value for key, value in options.items() if value is not None}
    merged = {**from_file, **given}
    for name, how in needed.items():
        if name not in merged:
            raise UsageError(f"no {name} given. {how}, or set '{name}' in --config.")
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_first_error(error, None if file is None else str(file), given)) from None


def _known_key(key: object, path: str | Path, known: Sequence[str]) -> str:
    name = hyphenate(str(key))
    if name not in known:
        raise unknown_name(f"key in {path}:", str(key), known)
    return name


def _first_error(error: ValidationError, file: str | None, given: Mapping[str, Any]) -> str:
    detail = error.errors()[0]
    name = hyphenate(str(detail["loc"][0]))
    where = f"--{name}" if name in given or file is None else f"{file}: {name}"
    if name == "model":
        where = "MODEL" if name in given else where
    return f"{where}: {_reason_of(detail)} (got {detail['input']!r})."


def error_message(error: ValidationError) -> str:
    """Return the first problem of `error` in one line, naming the key at fault if there is one."""
    detail = error.errors()[0]
    key = hyphenate(str(detail["loc"][0])) if detail["loc"] else None
    if detail["type"] == "missing":
        return f"it lacks {key}."
    return f"{key}: {_reason_of(detail)} (got {detail['input']!r})." if key else f"{_reason_of(detail)}."


def _reason_of(detail: Mapping[str, Any]) -> str:
    if detail["type"] in ("int_parsing", "int_from_float"):
        return "must be a whole number"
    if detail["type"] == "float_parsing":
        return "must be a number"
    message = without_prefix(detail["msg"]).rstrip(".")
    return message[0].lower() + message[1:]


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def choices(literal: object) -> tuple[str, ...]:
    """Return the values of a Literal type, e.g. of `Device`, for help texts and completion."""
    return tuple(get_args(literal))

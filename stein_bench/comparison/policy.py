"""The gate's policy: tolerances, minimums and failure rules, typed, read from YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from stein_bench.config import read_yaml_mapping
from stein_bench.errors import UsageError, suggestion, unknown_name, without_prefix
from stein_bench.specs import parse_number


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # YAML's yes and true would count as 1
    if not isinstance(value, str):
        return value
    try:
        return float(parse_number(value, "it"))
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Share = Annotated[Number, Field(ge=0, le=1)]


def _no_percentage(tolerance: float) -> float:
    """Refuse a tolerance that lets everything pass: who writes 1 means a point."""
    if tolerance == 1:
        raise ValueError(
            "it is a share, and 1 lets an accuracy fall by all of its 100 points: write 0.01 for one point"
        )
    return tolerance


Tolerance = Annotated[Share, AfterValidator(_no_percentage)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )


@dataclass(frozen=True)
class Target:
    """One accuracy of one variant, as matched by rules.

    Attributes:
        variant: e.g. ``stein/running``.
        accuracy: ``clean``, ``worst-case`` or the attack's label.
        name: the attack's name; for others the same as `accuracy`.
        eps: the attack's budget; None for ``clean`` and ``worst-case``.
    """

    variant: str
    accuracy: str
    name: str
    eps: float | None = None


class Rule(_Settings):
    """Limits for some accuracies. Patterns may contain ``*`` and ``?``; an attack matches by name or by full label.

    Attributes:
        variant: pattern of the BN and statistics source, e.g. ``stein/running``.
        accuracy: pattern: ``clean``, ``worst-case``, an attack or noise by name or label, a common corruption by name,
            ``corruptions`` for the mean over all of them, ``corruptions/*`` for each.
        eps: only attacks at this budget.
        tolerance: how far these accuracies may fall, instead of the policy's.
        minimum: a floor, whatever the baseline: the accuracy itself must reach it, on the report's samples.
        ignore: leave these accuracies out; they may then also be missing.
    """

    variant: str = "*"
    accuracy: str = "*"
    eps: Number | None = Field(default=None, gt=0)
    tolerance: Tolerance | None = None
    minimum: Share | None = None
    ignore: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Rule:
        if self.tolerance is None and self.minimum is None and self.ignore is None:
            raise ValueError("has no effect: add a tolerance, a minimum or ignore: true")
        return self

    def matches(self, target: Target) -> bool:
        """Return whether the rule applies to this accuracy."""
        if self.eps is not None and (target.eps is None or not isclose(self.eps, target.eps, rel_tol=1e-6)):
            return False
        names = (target.name, target.accuracy)
        return _like(target.variant, self.variant) and any(_like(name, self.accuracy) for name in names)


def _like(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]"))


@dataclass(frozen=True)
class Limits:
    """The limits for one accuracy: its tolerance, its floor if it has one, and whether it is ignored."""

    tolerance: float
    minimum: float | None
    ignore: bool


class Policy(_Settings):
    """What the gate lets pass. `configs/gate.yaml` explains every key.

    Attributes:
        tolerance: how far an accuracy may fall below the baseline's, as a share of the samples. A larger drop is a
            regression if it is also proven.
        alpha: significance level: a drop is proven if the one-sided p of the exact paired test, adjusted for the number
            of comparisons (Holm), is below it.
        unproven: what a drop beyond the tolerance that is not proven does, e.g. with few samples.
        diagnostics: what sanity checks that failed in the report do.
        list_samples: number of newly wrong samples that are listed per accuracy, by their index in the data.
        rules: limits for some accuracies; if several apply to one, the last counts.

    Raises pydantic's ValidationError; `read_policy` turns it into a `UsageError`.
    """

    tolerance: Tolerance = 0.01
    alpha: Number = Field(default=0.05, gt=0, lt=1)
    unproven: Literal["warn", "fail"] = "warn"
    diagnostics: Literal["ignore", "warn", "fail"] = "warn"
    list_samples: Annotated[int, BeforeValidator(_whole)] = Field(default=20, ge=0)
    rules: tuple[Rule, ...] = ()

    def limits(self, target: Target) -> Limits:
        """Return the limits for an accuracy; if several rules set one, the last one counts."""
        tolerance, minimum, ignore = self.tolerance, None, False
        for rule in self.rules:
            if rule.matches(target):
                tolerance = tolerance if rule.tolerance is None else rule.tolerance
                minimum = minimum if rule.minimum is None else rule.minimum
                ignore = ignore if rule.ignore is None else rule.ignore
        return Limits(tolerance, minimum, ignore)

    def check_rules(self, targets: Iterable[Target]) -> None:
        """Refuse rules that match none of the `targets`: a floor with a misspelt name would never be checked.

        Raises:
            UsageError: a rule matches nothing; the message suggests similar names.
        """
        targets = list(targets)
        for number, rule in enumerate(self.rules, 1):
            if any(rule.matches(target) for target in targets):
                continue
            about = f"variant {rule.variant!r}, accuracy {rule.accuracy!r}"
            about += "" if rule.eps is None else f", eps {rule.eps:g}"
            near = suggestion(rule.variant, {t.variant for t in targets}, 1) if rule.variant != "*" else ""
            near += suggestion(rule.accuracy, {t.name for t in targets}, 1)
            names = ", ".join(dict.fromkeys(t.name for t in targets))
            raise UsageError(f"rule {number} of the policy ({about}) matches nothing here.{near} Known: {names}.")


KEYS = tuple(name.replace("_", "-") for name in Policy.model_fields)
RULE_KEYS = tuple(Rule.model_fields)


def read_policy(path: str | Path) -> Policy:
    """Read a policy from a YAML file.

    Raises:
        UsageError: the file is missing, not YAML, not a mapping, or has an unknown key or an invalid value.
    """
    content = read_yaml_mapping(path, "policy", KEYS)
    rules = content.get("rules")
    for rule in rules if isinstance(rules, list) else ():
        for key in rule if isinstance(rule, dict) else ():
            if key not in RULE_KEYS:
                raise unknown_name(f"key of a rule in {path}:", str(key), RULE_KEYS)
    if "rules" in content and rules is None:
        content["rules"] = ()
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise UsageError(_first_error(error, path)) from None


def _first_error(error: ValidationError, path: str | Path) -> str:
    detail: Any = error.errors()[0]
    where = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in detail["loc"])
    message = without_prefix(detail["msg"])
    given = "" if isinstance(detail["input"], dict) else f" (got {detail['input']!r})"
    return f"{path}: {where}: {message[:1].lower()}{message[1:]}{given}."

"""The page of the YAML files: every key with its type, default, meaning, and which have no option of their name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from from_code.command_line import commands, options
from from_code.markdown import attributes, code, default, kind, prose, table
from stein_bench.comparison.policy import Policy, Rule
from stein_bench.config import RunConfig, hyphenate
from stein_bench.parts.trust import TRUST
from stein_bench.reproduction.experiment import Experiment, ExperimentPart, PlannedContrast
from stein_bench.sweep.settings import SweepSettings
from stein_bench.training.config import TrainConfig
from stein_bench.training.recipes import Recipe

INTRODUCTION = """# Configuration

Every key of every YAML file that stein-bench reads. Keys are written with hyphens; underscores are accepted.
Numbers may be fractions such as `8/255` where the command line takes them. An unknown key is refused, with the
nearest known one. A dash means that a key has no default: it is required, or nothing is set.

"""


class File(NamedTuple):
    """A kind of file, or of a mapping in one.

    Attributes:
        heading: the heading of its section.
        text: what stands before its table.
        models: the classes that read it; of keys in several the first one counts.
        command: words of the command whose options have the same names; empty if there are none.
    """

    heading: str
    text: str
    models: tuple[type[BaseModel], ...]
    command: str = ""


FILES = (
    File(
        "stein-bench evaluate --config",
        "The options of `evaluate` by name; the command line wins. `configs/digits.yaml` is an example.",
        (RunConfig, SweepSettings),
        "stein-bench evaluate",
    ),
    File(
        "stein-bench train --config",
        "The options of `train` by name; the command line wins.",
        (TrainConfig,),
        "stein-bench train",
    ),
    File(
        "stein-bench train --recipe",
        "A recipe: how a network is trained. The built-in ones are in `configs/recipes/`.",
        (Recipe,),
    ),
    File(
        "stein-bench reproduce FILE",
        "A whole experiment. Those of the paper are in `configs/paper/`.",
        (Experiment,),
        "stein-bench reproduce",
    ),
    File("parts", "A table of an experiment, in its list `parts`.", (ExperimentPart,)),
    File("contrasts", "A registered contrast of an experiment, in its list `contrasts`.", (PlannedContrast,)),
    File(
        "stein-bench gate --policy",
        "What the gate lets pass. `configs/gate.yaml` is an example with the defaults.",
        (Policy,),
    ),
    File(
        "rules",
        "Limits for some accuracies, in the list `rules` of a policy.",
        (Rule,),
    ),
)
ANCHORS = {model.__name__: file.heading for file in FILES for model in file.models}
BATTERY = """## stein-bench evaluate --battery

A list of attacks. The built-in ones are in `configs/batteries/`.

| key | type | default | meaning |
|---|---|---|---|
| `attacks` | list of text | – | specs of attacks and corruptions as `--attack` takes them, in order |
| `summary` | text | – | one line on what it is for |
"""


def page(root: Any) -> str:
    """The page, from the application's root command."""
    by_words = {found.words: found.command for found in commands(root)}
    return INTRODUCTION + "".join(_section(file, by_words.get(file.command)) for file in FILES) + BATTERY


def _section(file: File, command: Any) -> str:
    named = {} if command is None else {one.opts[0].removeprefix("--"): one for one in options(command)}
    rows = []
    for name, schema, meaning in keys(file, command):
        without = "" if not named or name in named else " (No option of this name.)"
        allowed = kind(schema, lambda name: ANCHORS[name]).removesuffix(" or null")
        rows.append((code(name), allowed, default(schema), prose(meaning) + without))
    return f"## {file.heading}\n\n{file.text}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def keys(file: File, command: Any) -> list[tuple[str, Mapping[str, Any], str]]:
    """Name, JSON Schema and meaning of every key; the meaning is from the attribute in the code or from the option."""
    helps = {} if command is None else {one.name: one.help for one in command.params}
    found: dict[str, tuple[str, Mapping[str, Any], str]] = {}
    for model in file.models:
        schemas, meanings = model.model_json_schema(by_alias=True)["properties"], attributes(model.__doc__)
        for field, info in model.model_fields.items():
            name = hyphenate(field)
            if name == TRUST:
                continue  # a file cannot vouch for itself
            meaning = meanings.get(field) or info.description or helps.get(field) or ""
            found.setdefault(name, (name, schemas.get(name) or schemas[field], meaning))
    return list(found.values())

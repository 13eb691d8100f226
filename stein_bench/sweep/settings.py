"""What a command line and a configuration file ask for: one evaluation, or a sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from stein_bench.config import (
    OPTION_NAMES,
    RunConfig,
    Settings,
    hyphenate,
    read_configuration,
    settings_from,
)
from stein_bench.errors import UsageError
from stein_bench.sweep.listfile import Entry, read_list
from stein_bench.sweep.shard import Shard, parse_shard

NEEDED = {"model": "Name one, e.g. stein-bench evaluate resnet18"}
FOLDER_HINT = "give --output DIR/, a folder for a report of each"


class SweepSettings(Settings):
    """The options of `stein-bench evaluate` that are about several models."""

    model: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    models: str | None = Field(default=None, min_length=1)
    shard: str | None = None
    retry_oom: bool = False

    @field_validator("model", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


SWEEP_NAMES = tuple(hyphenate(name) for name in SweepSettings.model_fields if name != "model")


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        about: the options about several models.
        given: the other options of the command line by name with hyphens, without the model.
        from_file: those of the configuration file, without its model.
        file: the configuration file, or None.
    """

    about: SweepSettings
    given: Mapping[str, Any]
    from_file: Mapping[str, Any]
    file: str | None

    @property
    def output(self) -> str | None:
        """The output, as given."""
        found = self.given.get("output", self.from_file.get("output"))
        return found if isinstance(found, str) else None

    @property
    def is_sweep(self) -> bool:
        """Whether several models are meant, or a folder for their reports."""
        about = self.about
        several = len(about.model) > 1 or about.models is not None or any(map(is_pattern, about.model))
        return several or about.shard is not None or (self.output is not None and names_folder(self.output))

    def shard(self) -> Shard | None:
        """Return the part of the sweep that this job does, or None for all of it."""
        return None if self.about.shard is None else parse_shard(self.about.shard)

    def entries(self) -> list[Entry]:
        """Return the models in order: those of the command line or configuration, then those of the list, read now.

        Raises:
            UsageError: there is none, or the list is wrong.
        """
        trusted = bool(self.given.get("trust-code"))
        listed = [] if self.about.models is None else read_list(self.about.models, trust_code=trusted)
        entries = [*(Entry(spec) for spec in self.about.model), *listed]
        if not entries:
            self.single()
        return entries

    def single(self) -> RunConfig:
        """Return the configuration of one evaluation.

        Raises:
            UsageError: a value is wrong or missing.
        """
        if self.about.retry_oom:
            raise UsageError(f"--retry-oom is for sweeps: {FOLDER_HINT}.")
        given, from_file = dict(self.given), dict(self.from_file)
        if self.about.model:
            given["model"] = self.about.model[0]
        return settings_from(RunConfig, given, from_file, self.file, NEEDED)

    def config(self, entry: Entry, output: Path | None, *, own: bool = True) -> RunConfig:
        """Return the configuration for one model of a sweep, with its `own` options or without.

        Raises:
            UsageError: a value is wrong; for options of its own the message names the line.
        """
        options = {**self.given, **(entry.own if own else {}), "model": entry.spec}
        options["output"] = None if output is None else str(output)
        try:
            return settings_from(RunConfig, options, {**self.from_file, "output": None}, self.file, NEEDED)
        except UsageError as error:
            if own and entry.own:
                raise entry.wrong(str(error)) from None
            raise


def read_asked(options: Mapping[str, Any], file: str | None) -> Asked:
    """Read what command-line `options` (names with underscores, None if not given) and a configuration file ask for.

    Raises:
        UsageError: the file or an option about several models is wrong.
    """
    from_file = {} if file is None else read_configuration(file, (*OPTION_NAMES, *SWEEP_NAMES), options)
    given = {hyphenate(key): value for key, value in options.items() if value is not None and value != []}
    _check_stray_numbers(given.get("model", ()))
    names = ("model", *SWEEP_NAMES)
    about = settings_from(
        SweepSettings,
        {name: given.pop(name) for name in names if name in given},
        {name: from_file.pop(name) for name in names if name in from_file},
        file,
        {},
    )
    return Asked(about, given, from_file, file)


def output_folder(asked: Asked) -> Path:
    """Return the folder for the reports of a sweep, which need not exist.

    Raises:
        UsageError: none is named.
    """
    about = asked.about
    what = f"several models ({', '.join(about.model)})" if len(about.model) > 1 else "a sweep"
    if asked.output is None:
        raise UsageError(f"{what}: {FOLDER_HINT}.")
    folder = Path(asked.output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {asked.output} is a file, and the output of {what} is a folder: {FOLDER_HINT}.")
    if not names_folder(asked.output):
        raise UsageError(f"--output {asked.output} names a file, and the output of {what} is a folder: {FOLDER_HINT}.")
    return folder


def names_folder(output: str) -> bool:
    """Return whether an output is an existing folder, or a new one, which ends in a slash."""
    return output != "" and (output.endswith("/") or Path(output).expanduser().is_dir())


def is_pattern(spec: str) -> bool:
    """Return whether a spec stands for several models; arguments of a user's callable may have any character."""
    return any(character in spec.partition(",")[0] for character in "*?")


def _check_stray_numbers(models: object) -> None:
    """Refuse numbers in the place of models: the rest of a list with spaces."""
    stray = [text for text in models if re.fullmatch(r"[\d./ ,]+", text)] if isinstance(models, list) else []
    if stray:
        raise UsageError(
            f"unexpected extra argument ({' '.join(stray)}). A list of numbers is one word, as in 4/255,8/255."
        )

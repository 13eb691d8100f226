"""How a documented command is run in a test: what is filled in, what stands in for what takes long."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from stein_bench.cli import reproduce, train
from stein_bench.config import RunConfig, read_config_file
from stein_bench.evaluation import dry_run, networks
from stein_bench.evaluation import run as evaluations
from stein_bench.evaluation.costs.results import DryRun, PhaseCost
from stein_bench.evaluation.startup import start
from stein_bench.models import timm_models
from stein_bench.progress import Silent
from stein_bench.reproduction import run as experiments
from stein_bench.sweep import models as sweep_models
from stein_bench.training import plan as training
from tests.documented.finding import Documented
from tests.documented.world import provide, write_weights

STAND_INS = {
    "evaluate": "--dry-run is added; it checks all that a run checks, but tries and measures no attack, for time. With "
    "the mark slow it does",
    "train": "planned: everything is checked and the network is built; nothing is trained",
    "reproduce": "model, data, BN and attacks of every part are checked as before the first cell; none is run",
    "fit": "networks are not trained",
    "timm": "every architecture of timm is built as test_resnet, with random weights: nothing is downloaded",
    "compile": "nothing is compiled: it takes minutes",
    "checks": "the checks of a model are left out of the report that --mce-baseline names, for time",
    "patterns": "of the architectures that a pattern such as timm:resnet1* may match there are two a family",
    "theory": "few draws, starts, channels and elements, unless the command says how many",
    "trackers": "what --log names is parsed; nothing is logged: wandb and a server would be needed",
}
"""What is replaced when documented commands are run, and why."""

PLACEHOLDERS = {
    "MODEL": "net.py:make", "REPORT": "report.json", "BASE": "baseline.json", "A": "report.json", "B": "other.json",
    "PATH": "page.html", "COMMAND": "evaluate",
}  # fmt: skip
"""Words in capitals that stand for something, with what is put in their place."""
VARIABLES = {
    "DATA": "imagenet", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "4", "matrix.shard": "1", "HOME": ".",
    "SCRATCH": ".", "SLURM_NNODES": "2", "SLURM_JOB_ID": "1", "first": "node1",
}  # fmt: skip
"""Variables of scripts on pages."""
LEFT_OUT = ("…", "...")
QUICK = {
    "risk": {"--draws": "40", "--channels": "3", "--elements": "4", "--spread": "0"},
    "lipschitz": {"--starts": "1", "--channels": "3", "--elements": "4", "--spread": "0"},
}
SWEPT = {"evaluate": "net.py:make", "train": "net.py:make"}
"""The model of commands whose model is left out with the rest (…)."""


def filled(found: Documented) -> list[str]:
    """The arguments of a documented command with placeholders, variables and what is left out filled in."""
    assert found.arguments is not None
    words = []
    for word in found.arguments:
        word = re.sub(r"\$\{?([A-Za-z_.]+)\}?", lambda match: VARIABLES[match[1]], word)
        word = word.replace("/path/to/", "").replace("~/", "./").replace("/data/val", "imagenet/val")
        if word in LEFT_OUT:
            if words[-1] == "--baseline":
                words.append("baseline.json")
            continue
        matching = sorted(map(str, Path().glob(word))) if "*" in word else []
        words += matching or [PLACEHOLDERS.get(word, word)]
    command = words[0]
    if set(LEFT_OUT) & set(found.arguments) and command in SWEPT and not has_model(words):
        words.insert(1, SWEPT[command])
        words += ["--output", "weights.safetensors"] if command == "train" else []
    return words


def has_model(words: Sequence[str]) -> bool:
    """Whether the arguments begin with a model."""
    return len(words) > 1 and not words[1].startswith("-")


def alternatives(words: Sequence[str]) -> list[list[str]]:
    """The commands that words such as `models|attacks` stand for."""
    for at, word in enumerate(words):
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            return [[*words[:at], one, *words[at + 1 :]] for one in word.split("|")]
    return [list(words)]


def prepared(words: list[str]) -> list[str]:
    """Write the files that a command names, and return its arguments as they are run."""
    command = words[0]
    options = _options(words)
    outputs = {"--output", "--html", "--markdown", "--csv", "--latex", "--junit", "--plot", "--cells", "--model-card"}
    provide(Path(), [word for before, word in zip(["", *words], words, strict=False) if before not in outputs])
    for key in ("weights", "surrogate_weights"):
        path = Path(options.get(key, "none"))
        if path.suffix and not path.exists():
            write_weights(path, options)
    if "models" in options:
        for model, name in re.findall(
            r"^(\S+) .*weights=(\S+)", Path(options["models"]).read_text("utf-8"), re.MULTILINE
        ):
            if not Path(name).exists():
                write_weights(Path(name), {**options, "model": model})
    if command == "theory" and len(words) > 1:
        known = QUICK[words[1]] if "--model" not in words else {"--starts": "1", "--batch-size": "8"}
        return [*words, *(part for name, value in known.items() if name not in words for part in (name, value))]
    return words


def _options(words: Sequence[str]) -> dict[str, str]:
    """The options of a command, those of its configuration file among them, and its model."""
    from_file = read_config_file(words[words.index("--config") + 1]) if "--config" in words else {}
    named = {key.replace("-", "_"): str(value) for key, value in from_file.items()} | {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in pairwise(words)
        if name.startswith("--") and not value.startswith("--")
    }
    return {"model": words[1], **named} if has_model(words) else named


def stand_in(monkeypatch: pytest.MonkeyPatch, *, measured: bool) -> None:
    """Put the stand-ins in place; if `measured`, a dry run tries its attacks."""
    create = timm.create_model

    def tiny(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        if settings.get("features_only"):  # the backbone of a network for segmentation
            return create(name, pretrained=False, **settings)
        return create("test_resnet", pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", tiny)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(sweep_models, "timm_model_names", _few_names)
    monkeypatch.setattr(evaluations, "model_checks", lambda *_: [])
    monkeypatch.setattr(networks, "fit", lambda *_, **__: 0.5)
    monkeypatch.setattr(train, "_train", lambda settings: training.starting_network(training.plan_training(settings)))
    monkeypatch.setattr(train, "_show", lambda *_: None)
    monkeypatch.setattr(reproduce, "_run", _checked)
    monkeypatch.setattr(reproduce, "write_reproduction", lambda *_: None)
    monkeypatch.setattr(reproduce, "_print", lambda *_, **__: None)
    monkeypatch.setattr(reproduce, "told_honest", lambda *_: True)
    monkeypatch.setattr("stein_bench.cli.report.log_reports", lambda *_, **__: True)
    if measured:
        for name in ("TRYING", "LEAST", "MOST"):
            monkeypatch.setattr(dry_run, name, 0.05)
    else:
        monkeypatch.setattr(dry_run, "dry_run", _planned)


def _few_names(*, tagged: bool = False) -> list[str]:
    """Two architectures of each family, such as resnet1…"""
    families: dict[str, list[str]] = {}
    for name in timm_models.timm_model_names(tagged=tagged):
        families.setdefault(re.match(r"[a-z]*\d?", name)[0], []).append(name)
    return [name for names in families.values() for name in names[:2]]


def _planned(config: RunConfig, progress: object) -> DryRun:
    """Check what a dry run checks, and measure nothing."""
    run = start(config, Silent())
    phase = PhaseCost("", "start", "start: model and data", "start", 1.0)
    plan = run.plan
    return DryRun(plan.source.name, plan.data.name, len(plan.samples), 1, "cpu", (phase,), 0.1, "process", 1.0)


class _Document:
    def dishonest(self) -> list[str]:
        return []


def _checked(read: Any, folder: Path, until: Any, pilot: str | None, *, quiet: bool) -> _Document:
    """Check an experiment as before its first cell."""
    checked = experiments.check_experiment(read.experiment)
    experiments.sought(read.experiment, checked.task)
    return _Document()


def run(found: Documented, invoke: Callable[..., Any]) -> list[str]:
    """Run a command; return what went wrong, a line each."""
    wrong: list[str] = []
    for words in alternatives(filled(found)):
        arguments = prepared(words)
        if "--mce-baseline" in arguments:  # a report on the same samples
            at = arguments.index("--mce-baseline")
            Path(arguments[at + 1]).unlink(missing_ok=True)
            invoke(*arguments[:at], "--output", *arguments[at + 1 :])
        if arguments[0] == "evaluate" and "--help" not in arguments and "--dry-run" not in arguments:
            arguments = [*arguments, "--dry-run"]
        result = invoke(*arguments, **{name: os.environ[name] for name in ("HOME",) if name in os.environ})
        if result.exit_code != 0:
            wrong.append(f"{found.place}: {found.text}\n    {' '.join(arguments)}\n    {result.output.strip()[-600:]}")
    return wrong

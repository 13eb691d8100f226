"""The whole examination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from stein_bench.doctor import folders, packages, probe, speed, variables
from stein_bench.doctor.findings import Examination, Line, private
from stein_bench.doctor.machine import this_machine

EXTRA_MODULES = ("foolbox", "adv_lib", "pandas", "tensorboard", "wandb", "transformers", "datasets", "mlflow")
"""Modules of the extras in the order in which they are tried: the quick ones first."""


def examine(completion: Mapping[str, str]) -> Examination:
    """Look at everything; it takes about ten seconds and downloads nothing.

    Args:
        completion: the shells that have a script of completion, with its state; see `stein_bench.cli.shells`.
    """
    of_torch = probe.start("torch")
    of_extras = probe.start("modules", *EXTRA_MODULES)
    machine = this_machine()
    caches, requirements = tuple(folders.caches()), tuple(packages.conflicts())
    found = probe.answer(of_torch)
    tried = probe.modules_of(probe.answer(of_extras))
    modules = probe.modules_of(found)
    sections = {
        "Versions": tuple(packages.versions(modules)),
        "Devices": tuple(speed.devices(machine, found)),
        "Slow here": tuple(speed.speed(machine, found)),
        "Caches": caches,
        "Optional extras": tuple(packages.extras(tried)),
        "Requirements": requirements,
        "Settings": tuple(variables.settings()),
        "Shell completion": tuple(_completion(completion)),
    }
    measured = {"machine": asdict(machine), "torch": found, "imports": {**modules, **tried}}
    return Examination({title: tuple(map(_private, lines)) for title, lines in sections.items()}, _shown(measured))


def _completion(installed: Mapping[str, str]) -> list[Line]:
    if not installed:
        return [Line("completion", "not installed", "info", "stein-bench --install-completion")]
    return [
        Line(shell, "installed", "ok")
        if state == "current"
        else Line(shell, "of another version", "info", "stein-bench --install-completion")
        for shell, state in installed.items()
    ]


def _private(line: Line) -> Line:
    """Return a finding without the user's home folder: libraries put paths into their messages."""
    return Line(line.name, private(line.value), line.state, line.advice)


def _shown(value: object) -> dict[str, object]:
    """Return measurements as JSON has them, without the user's home folder."""
    import json

    shown: dict[str, object] = json.loads(private(json.dumps(value)))
    return shown

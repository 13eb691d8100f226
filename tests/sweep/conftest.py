"""A sweep of tiny models of timm, run without the command line."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stein_bench.progress import Progress
from stein_bench.sweep import attempts
from stein_bench.sweep.check import check_settings
from stein_bench.sweep.folder import SweepFolder
from stein_bench.sweep.identity import identity_of
from stein_bench.sweep.items import make_items
from stein_bench.sweep.models import expand
from stein_bench.sweep.run import Sweep, SweepResult, run_sweep
from stein_bench.sweep.settings import read_asked
from tests.evaluation.test_memory import Notes

TINY = ["test_resnet", "test_efficientnet", "timm:test_vit3", "test_byobnet", "timm:test_vit", "test_convnext"]
"""Six models, of which the third rejects images of digits."""
COLLECT = gc.collect
VARYING = ("id", "created", "command", "seconds", "wall_seconds", "resume", "output", "git_commit")


def planned(folder: Path, **options: Any) -> Sweep:
    settings = {"model": TINY, "weights": "none", "limit": 4, "batch_size": 2, "attack": ["fgsm"], **options}
    asked = read_asked({**settings, "output": f"{folder}/"}, None)
    items = make_items(asked, expand(asked.entries(), Notes()), folder)
    check_settings(asked, items)
    identity = identity_of(asked.config(items[0].entry, None, own=False).document(), items)
    return Sweep(SweepFolder(folder, identity), items, asked.shard(), asked.about.retry_oom)


@pytest.fixture
def sweep(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepResult]:
    """Run a sweep in a folder, with the options of the command line.

    Memory is not collected, which takes as long as the small models do; `collected` is for the test that is about it.
    """
    monkeypatch.setattr(attempts.gc, "collect", lambda: 0)

    def run(folder: Path, progress: Progress | None = None, **options: Any) -> SweepResult:
        one = planned(folder, **options)
        finished = one.folder.claim(one.own, resume=bool(options.get("resume")))
        return run_sweep(one, finished, progress=progress)

    return run


@pytest.fixture
def collected(sweep: Callable[..., SweepResult], monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepResult]:
    """The same with memory collected between models."""
    monkeypatch.setattr(attempts.gc, "collect", COLLECT)
    return sweep


def without_varying(document: Any) -> Any:
    """Return a JSON document without times, identifiers, and how the command was given."""
    if isinstance(document, dict):
        return {key: without_varying(value) for key, value in document.items() if key not in VARYING}
    return [without_varying(item) for item in document] if isinstance(document, list) else document


def results(folder: Path) -> dict[str, Any]:
    """Return the files of a sweep by name, with what is the same every time."""
    return {path.name: without_varying(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}

"""What `--log` takes, and the one line for everything else, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.errors import UsageError
from stein_bench.trackers import choice
from stein_bench.trackers.choice import Tracker, parse_trackers


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that all packages are installed."""
    monkeypatch.setattr(choice, "_installed", lambda _: True)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("wandb", {}),
        ("wandb:project=robust,mode=online", {"project": "robust", "mode": "online"}),
        ("mlflow:uri=http://server:5000/a,experiment=x y", {"uri": "http://server:5000/a", "experiment": "x y"}),
        ("tensorboard: dir = runs/a", {"dir": "runs/a"}),
    ],
)
def test_a_tracker_has_a_name_and_options(installed: None, text: str, options: dict[str, str]) -> None:
    assert parse_trackers([text]) == (Tracker(text.partition(":")[0], options),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wanbd", "unknown tracker of --log: 'wanbd'. Did you mean 'wandb'?"),
        ("wandb:projct=x", "unknown key of --log wandb: 'projct'. Did you mean 'project'?"),
        ("wandb:", "--log wandb: ends after the colon. Write for example wandb:project=…."),
        ("wandb:project", "--log wandb:project: 'project' is not of the form key=value."),
        ("wandb:project=a,project=b", "--log wandb:project=a,project=b gives 'project' twice."),
        ("wandb:mode=live", "--log wandb: mode=live is neither offline nor online."),
        ("mlflow:uri=http://[", "--log mlflow: 'http://[' is not a URI."),
        (
            "mlflow:uri=https://me:secret@server",
            "--log mlflow: the report stores its command, so the uri must not hold a password: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead.",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(installed: None, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_trackers(["tensorboard", text])
    assert str(error.value) == message


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"not installed: pip install 'stein-bench\[mlflow\]'\.$"):
        parse_trackers(["mlflow"])


def test_the_folder_of_earlier_runs_is_not_taken_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `python -m`, ./wandb is found as a namespace package."""
    (tmp_path / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert choice.find_spec("no_such_tracker") is not None
    assert not choice._installed("no_such_tracker")

"""What tests of several kinds of pages share."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stein_bench.parts.installed import installed


@pytest.fixture
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Install a page's package as pip would leave it, in a folder of its own: its module and its entry points."""

    def install() -> None:
        project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
        site = tmp_path / "site-packages"
        metadata = site / f"acme_robust-{project['version']}.dist-info"
        (site / "acme_robust").mkdir(parents=True)
        metadata.mkdir()
        shutil.copy("parts.py", site / "acme_robust" / "__init__.py")
        (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in parts.items())
            for group, parts in project["entry-points"].items()
        ]
        (metadata / "entry_points.txt").write_text("".join(groups))
        monkeypatch.syspath_prepend(site)
        installed.cache_clear()

    yield install
    for name in ("acme_robust", "parts"):
        sys.modules.pop(name, None)
    installed.cache_clear()

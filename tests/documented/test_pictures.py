"""The README's pictures: of the table without a browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.reports import bits, diagnostic, report, variant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures():
    names: dict = {"__name__": "pictures"}
    exec(compile((ROOT / "docs" / "pictures.py").read_text(encoding="utf-8"), "pictures.py", "exec"), names)
    return names


def made():
    return report(variant(attacks={"fgsm": bits(40), "autoattack": bits(96)}), diagnostics=[diagnostic()])


def test_the_table_is_drawn_with_its_command_and_nothing_is_fetched(pictures):
    svg = pictures["table_svg"](made())
    assert re.findall(r"https?://[^\s\"')]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "@font-face" not in svg
    lines: dict[float, str] = {}
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        height = float(text.get("y", "0"))
        lines[height] = lines.get(height, "") + "".join(text.itertext()).replace("\xa0", " ")
    shown = [" ".join(line.split()) for _, line in sorted(lines.items()) if line.strip()]
    assert shown[0] == "$ stein-bench evaluate resnet18"
    assert shown[1] == "! check failed: pgd is weaker than fgsm"
    assert "sample 90.0 (82.6–94.5) fgsm Linf 8/255 60.0 (50.2–69.1) 1.0 s" in shown
    assert "autoattack Linf 8/255 4.0 (1.6–9.8) 1.0 s" in shown


def test_without_a_browser_the_table_is_drawn_and_what_is_missing_is_said(pictures, save, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"no chromium, chromium-browser or google-chrome to draw .*page\.png"):
        pictures["main"]([str(save(made())), str(tmp_path / "pictures")])
    assert [path.name for path in Path(tmp_path / "pictures").iterdir()] == ["table.svg"]
    with pytest.raises(SystemExit, match="cannot read the report"):
        pictures["main"]([str(tmp_path / "no.json"), str(tmp_path)])

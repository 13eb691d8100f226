"""Which code a network's fingerprint covers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from stein_bench.models.sources import find_model
from stein_bench.parts.source_files import loaded_sha256


def test_code_elsewhere_on_the_path_is_part_of_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONPATH or a development install: what a network is made of need not lie beside its file."""
    library, scripts = tmp_path / "library", tmp_path / "scripts"
    library.mkdir()
    scripts.mkdir()
    block = library / "blocks_elsewhere.py"
    block.write_text("from torch import nn\n\n\ndef block():\n    return nn.Linear(2, 2)\n")
    (scripts / "net.py").write_text("from blocks_elsewhere import block\n\n\ndef make():\n    return block()\n")
    monkeypatch.syspath_prepend(str(library))
    try:
        before = find_model(f"{scripts / 'net.py'}:make").fingerprint()
        assert find_model(f"{scripts / 'net.py'}:make").fingerprint() == before
        block.write_text(block.read_text().replace("Linear(2, 2)", "Linear(2, 2, bias=False)"))
        assert find_model(f"{scripts / 'net.py'}:make").fingerprint() != before
    finally:
        sys.modules.pop("blocks_elsewhere", None)


def test_the_running_script_is_no_code_of_the_network(tmp_path, monkeypatch):
    """Libraries of parallel processes load it a second time by name, as `multiprocessing` does with __mp_main__."""
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.setitem(sys.modules, "__mp_main__", script)
    found = []
    for text in ("first", "second"):
        (tmp_path / "script.py").write_text(f"# {text}\n")
        found.append(loaded_sha256())
    assert found[0] == found[1]

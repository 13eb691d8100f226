"""The damaged identity of a sweep is noticed: it is never taken for that of another one."""

from __future__ import annotations

from pathlib import Path

from stein_bench.errors import UsageError
from stein_bench.sweep.identity import FILE, check_identity, write_identity
from tests.sweep.conftest import planned


def test_a_changed_byte_of_its_identity_is_noticed_or_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    identity = planned(folder).folder.identity
    write_identity(folder, identity)
    path, refused = folder / FILE, 0
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            assert check_identity(folder, identity)  # a space of the layout
        except UsageError as error:
            refused += "\n" not in str(error)
    assert refused > 0.6 * len(whole) / 5
    for cut in range(0, len(whole) - 1, 50):
        path.write_bytes(whole[:cut])
        try:
            check_identity(folder, identity)
        except UsageError:
            refused -= 1
    assert refused > 0

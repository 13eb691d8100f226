"""Faults of disks and files in a whole run: one line, nothing lost, and never another result."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from stein_bench.errors import UsageError
from stein_bench.evaluation.journal import MAGIC, Journal, journal_path
from tests.evaluation.test_journal import IDENTITY, bits, unit, write
from tests.journals import units_in

Invoke = Callable[..., Result]

VARYING = ("id", "created", "command", "wall_seconds", "seconds", "resume", "config_sha256", "timeout-per-batch")


def same(text: str) -> Any:
    """Return a report without what differs from run to run."""
    return json.loads(text, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k not in VARYING})


@pytest.fixture
def words(model: str, data: str, tmp_path: Path, unchecked: None) -> list[str]:
    """The command line of a small run with an output."""
    options = ["--data", data, "--weights", "none", "--limit", "24", "--batch-size", "8", "--eps", "0.05", "--quiet"]
    output = ["--save-adversarials", "2", "--output", str(tmp_path / "r.json")]
    return ["evaluate", model, "--attack", "fgsm", "--attack", "pgd:steps=2", *options, *output]


@pytest.fixture
def whole(invoke: Invoke, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The journal of the run when all is done, which then is where an interruption would have left it."""
    kept: list[bytes] = []
    remove = "stein_bench.evaluation.journal.remove_journals"
    with monkeypatch.context() as patched:
        patched.setattr(remove, lambda output: kept.append(journal_path(output).read_bytes()))
        assert invoke(*words).exit_code == 0
    journal_path(tmp_path / "r.json").unlink()
    (tmp_path / "right.json").write_bytes((tmp_path / "r.json").read_bytes())
    (tmp_path / "r.json").unlink()
    return kept[0]


def one_line(result: Result) -> str:
    assert (result.stdout, result.stderr.count("\n")) == ("", 1), result.output
    assert result.stderr.startswith("stein-bench: ")
    return result.stderr


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, name: str, after: int = 0) -> Iterator[None]:
    """Let every write to a file whose name begins like that fail, after so many have succeeded."""
    real_open, left = Path.open, [after]

    def fails(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._stream, attribute)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

        def write(self, content: bytes) -> int:
            left[0] -= 1
            if left[0] < 0:
                self._stream.write(content[: len(content) // 2])  # what still fitted
                self._stream.flush()
                fails()
            return int(self._stream.write(content))

    def opened(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        stream = real_open(path, mode, *rest, **named)
        return Full(stream) if path.name.startswith(name) and "r" not in mode else stream

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        real_fdopen = os.fdopen
        patched.setattr(
            os, "fdopen",
            lambda handle, *rest, **named: (
                Full(real_fdopen(handle, *rest, **named))
                if os.readlink(f"/proc/self/fd/{handle}").rpartition("/")[2].startswith(name)
                else real_fdopen(handle, *rest, **named)
            ),
        )  # fmt: skip
        yield


@pytest.mark.parametrize(
    ("name", "after"), [("r.json.partial", 0), ("r.json.partial", 4), (".r.json", 0), (".r.adversarials.npz", 0)]
)
def test_a_full_disk_is_one_line_and_once_there_is_room_the_run_goes_on(
    invoke: Invoke,
    words: list[str],
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: int,
) -> None:
    with full_disk(monkeypatch, name, after):
        result = invoke(*words)
    assert result.exit_code == 2, result.output
    file = {".r.json": "r.json", ".r.adversarials.npz": "r.adversarials.npz"}.get(name, name)
    assert f"{tmp_path / file}: No space left on device" in one_line(result)
    left = {path.name for path in tmp_path.glob("*r.*")} - {"right.json"}
    assert left <= {"r.json.partial", "r.adversarials.npz"}, left
    resumed = invoke(*words, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert same((tmp_path / "r.json").read_text()) == same((tmp_path / "right.json").read_text())
    assert not journal_path(tmp_path / "r.json").exists()


def test_a_journal_cut_anywhere_in_its_last_record_gives_the_undisturbed_report(
    invoke: Invoke, words: list[str], whole: bytes, tmp_path: Path
) -> None:
    """The journal's own test cuts at every byte; here the whole run goes on from some of them."""
    path, right = journal_path(tmp_path / "r.json"), same((tmp_path / "right.json").read_text())
    path.write_bytes(whole)
    *_, (before, _), (end, _) = units_in(path)
    assert end == len(whole)
    for cut in (before, before + 1, (before + end) // 2, end - 1, end):
        path.write_bytes(whole[:cut])
        assert invoke(*words, "--resume").exit_code == 0
        assert same((tmp_path / "r.json").read_text()) == right, cut


@pytest.mark.integration
def test_a_changed_byte_of_a_journal_gives_the_undisturbed_report_or_one_reason(
    invoke: Invoke, words: list[str], whole: bytes, tmp_path: Path
) -> None:
    path, right, refused = journal_path(tmp_path / "r.json"), same((tmp_path / "right.json").read_text()), 0
    for position in (0, len(MAGIC) - 2, len(MAGIC) + 1, len(MAGIC) + 40, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        result = invoke(*words, "--resume")
        if result.exit_code == 2:
            assert path.name in one_line(result)
            refused += 1
            continue
        assert same((tmp_path / "r.json").read_text()) == right, position
    assert refused == 2  # the line that says what the file is


@pytest.mark.parametrize("bit", [0, 7])
def test_a_changed_bit_in_any_byte_of_a_journal_gives_no_other_unit(tmp_path: Path, bit: int) -> None:
    """From the first byte to the last, the line that says what the file is included."""
    output = tmp_path / "j"
    path = write(output, *map(unit, range(2)))
    whole, units = path.read_bytes(), [bits(unit(number)) for number in range(2)]
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << bit)]) + whole[position + 1 :])
        if position < len(MAGIC):
            with pytest.raises(UsageError, match=r"j\.partial is (the journal of another version|not the journal)"):
                Journal(output, IDENTITY, resume=True)
            continue
        with Journal(output, IDENTITY, resume=True) as journal:
            found = [bits(one) for one in journal.units]
        assert found == units[: len(found)]
        assert len(found) < 2


OTHER_JOURNALS = {
    "another run": (None, "belongs to another run (differs in config_sha256"),
    "version 1": (b"stein-bench journal 1\n" + bytes(50), "is the journal of another version of stein-bench"),
    "lines of JSON": (b'{"journal": 1, "config_sha256": "c"}\n{"unit": 1}\n', "is the journal of another version"),
    "a report": (b'[{"a": 1}]', "is not the journal of an interrupted run"),
}


@pytest.mark.parametrize(("content", "reason"), OTHER_JOURNALS.values(), ids=OTHER_JOURNALS)
def test_a_journal_of_something_else_is_refused_and_left_as_it_is(
    invoke: Invoke, words: list[str], whole: bytes, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = journal_path(tmp_path / "r.json")
    path.write_bytes(whole if content is None else content)
    before = path.read_bytes()
    result = invoke(*words, "--resume", *([] if content is not None else ["--seed", "7"]))
    assert result.exit_code == 2
    assert reason in one_line(result)
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize(("taken", "file"), [(12288, "r.json.partial"), (8192, "r.adversarials.npz")])
def test_a_disk_that_is_really_full(words: list[str], tmp_path: Path, taken: int, file: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        filler, output = disk / "filler", disk / "r.json"
        filler.write_bytes(bytes(taken))
        command = [sys.executable, "-m", "stein_bench", *words[:-1], str(output)]
        first = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (first.returncode, first.stdout, first.stderr.count("\n")) == (2, "", 1), first.stderr
        assert f"{disk / file}: No space left on device" in first.stderr
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
        assert resumed.returncode == 0, resumed.stderr
        assert sorted(path.name for path in disk.iterdir()) == ["r.adversarials.npz", "r.json"]
    finally:
        subprocess.run(["umount", disk], check=True)

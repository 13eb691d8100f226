"""Progress where there is no terminal: one line per finished phase, on stderr, never on stdout."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from stein_bench.progress import Left, Silent, phase, show_left
from stein_bench.render.progress import PlainProgress, TerminalProgress, terminal_progress


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def drawn():
    """A plain progress on a narrow console, and a function that returns its lines with times masked."""
    stream = io.StringIO()
    progress = PlainProgress(Console(file=stream, width=20))
    return progress, lambda: re.sub(r"\d+\.\d s", "T s", stream.getvalue()).splitlines()


def test_a_phase_is_one_line_with_its_last_figure_however_narrow_the_console(drawn):
    progress, lines = drawn
    with phase(progress, "pgd sample/running", 200):
        progress.advance(100, "accuracy 60.0 %")
        assert lines() == []
        progress.advance(100, "accuracy 55.5 %")
    assert lines() == ["pgd sample/running: 200 of 200, accuracy 55.5 %, T s"]


def test_the_time_left_of_the_whole_run_ends_the_line(drawn):
    progress, lines = drawn
    for left in (None, Left(720, 480, 1200), Left(2, 1, 3)):  # of a few seconds nothing is said
        with phase(progress, "clean", 2):
            show_left(progress, left)
    assert [line.partition(" s")[2] for line in lines()] == ["", "; about 12 min left", ""]


def test_on_a_terminal_the_time_left_is_a_line_below_the_bars_until_the_run_is_over():
    stream = io.StringIO()
    with TerminalProgress(Console(file=stream, force_terminal=True, width=100)) as progress:
        with phase(progress, "clean", 2):
            show_left(progress, Left(720, 480, 1200))
            progress._bars.refresh()
        shown = stream.getvalue()
        show_left(progress, None)
        stream.truncate(0)
        progress._bars.refresh()
    assert "all: about 12 min left (8 to 20 min)" in shown
    assert "left" not in stream.getvalue()


def test_displays_without_a_place_for_the_time_left_do_without():
    show_left(Silent(), Left(720, 480, 1200))


def test_what_was_done_before_a_resume_is_counted(drawn):
    progress, lines = drawn
    with phase(progress, "clean", 200, done=150):
        progress.advance(50, "accuracy 97.0 %")
    assert lines() == ["clean: 200 of 200, accuracy 97.0 %, T s"]


def test_a_phase_that_raises_says_how_far_it_came(drawn):
    progress, lines = drawn
    with pytest.raises(KeyboardInterrupt), phase(progress, "fit", 8):
        progress.advance(3, "loss 0.21")
        raise KeyboardInterrupt
    assert lines() == ["fit: 3 of 8, loss 0.21, T s"]


def test_the_next_phase_starts_from_nothing(drawn):
    progress, lines = drawn
    for name in ("one", "two"):
        with phase(progress, name, 2):
            progress.advance(1, name.upper())
    assert lines() == ["one: 1 of 2, ONE, T s", "two: 1 of 2, TWO, T s"]


def test_notes_are_written_as_they_are(drawn):
    progress, lines = drawn
    for note in ("added plain BN [batch] under batch statistics", "net.py:a: failed, net.py:on: done"):
        progress.note(note)
        assert lines().pop() == note  # with neither markup nor names of emoji read in it


def test_without_a_terminal_lines_go_to_stderr_and_hold_no_control_codes(capsys):
    with terminal_progress(quiet=False) as progress:
        with phase(progress, "clean", 1):
            progress.advance(1, "accuracy 100.0 %")
        progress.note("note")
    written = capsys.readouterr()
    assert written.out == ""
    assert "\x1b" not in written.err
    assert written.err.count("\n") == 2


def test_quiet_says_nothing(capsys):
    with terminal_progress(quiet=True) as progress:
        assert isinstance(progress, Silent)
        with phase(progress, "clean", 1):
            progress.advance(1)
        progress.note("note")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_the_running_figure_samples_per_second_and_time_within_80_columns():
    stream = io.StringIO()
    progress = TerminalProgress(Console(file=stream, width=80, force_terminal=True, color_system=None))
    with progress, phase(progress, "pgd 8/255 sample/running", 2000):
        for _ in range(3):
            progress.advance(500, "accuracy 55.5 %")
            time.sleep(0.01)
    shown = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", stream.getvalue())]
    assert any(re.search(r"1500/2000.*accuracy 55\.5 % \d+/s \d\d:\d\d", line) for line in shown)
    assert max(map(len, shown)) <= 80

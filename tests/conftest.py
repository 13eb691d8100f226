"""What every test gets: an empty cache of its own, no terminal, the command line, hand-made reports, golden files."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from stein_bench.evaluation import networks, run
from stein_bench.files import write_text
from stein_bench.report.adversarials import write_adversarials
from stein_bench.report.document import Diagnostic
from stein_bench.report.packing import pack_bits
from stein_bench.report.results import Spread
from stein_bench.training.fit import fit
from tests import reports
from tests.fits import FitsOnce
from tests.tiny import write_data, write_model
from tests.training.small import write_net

if TYPE_CHECKING:
    from tests.imitation import Device

# As the command line does, before torch is loaded: tests then take about the same time on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would only wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


# The same examples every time: a build fails for what was changed. `--hypothesis-profile=default` explores.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


OWN_NAMES = {"", "localhost", "::1", "0.0.0.0", "::", socket.gethostname(), socket.getfqdn()}
with contextlib.suppress(OSError):
    OWN_NAMES.update(str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `gpu` where there is no CUDA device."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the cache into the test's folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def attempts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Close Python's sockets to other machines, except for tests marked `network`; returns whom one tried to reach."""
    tried: list[str] = []
    if request.node.get_closest_marker("network"):
        return tried
    connect, find = socket.socket.connect, socket.getaddrinfo

    def refuse(host: object) -> None:
        if host is not None and str(host) not in OWN_NAMES and not str(host).startswith("127."):
            tried.append(str(host))
            raise OSError(errno.ENETUNREACH, f"a test tried to reach {host}")

    def connected(own: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):  # others are files
            refuse(address[0])
        connect(own, address)

    def found(host: Any, *arguments: Any, **named: Any) -> Any:
        refuse(host)
        return find(host, *arguments, **named)

    monkeypatch.setattr(socket.socket, "connect", connected)
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return tried


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Hide what would make rich or a CI's annotations behave as on the machine that runs the tests."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(scope="session")
def fits_once() -> FitsOnce:
    """The networks that tests have trained so far."""
    return FitsOnce(networks.fit)


@pytest.fixture(autouse=True)
def same_fits(fits_once: FitsOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train what an evaluation fits only once for all tests; `trained_anew` is for those that are about training."""
    monkeypatch.setattr(networks, "fit", fits_once)


@pytest.fixture
def trained_anew(same_fits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train every network that is fitted."""
    monkeypatch.setattr(networks, "fit", fit)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks of the model, which take longer than a small run does, for tests of other parts of it."""
    monkeypatch.setattr(run, "model_checks", lambda *_: [])


@pytest.fixture
def imitation_cuda() -> Iterator[Device]:
    """Install the imitation CUDA device; returns its record of waits, copies and memory."""
    from tests.imitation import imitation_cuda as installed  # takes a second, and few tests need it

    with installed() as device:
        yield device


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Spec of a tiny user-file network."""
    return write_model(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Spec of a tiny learnable data set with both splits."""
    return write_data(tmp_path)


@pytest.fixture
def net(tmp_path: Path) -> str:
    """Spec of a small network for the embedded digits."""
    return write_net(tmp_path)


@pytest.fixture
def invoke():
    """Run the command line in 80 columns without color."""

    def invoked(*arguments, **environment):
        runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", **environment})
        return runner.invoke(app, [str(argument) for argument in arguments])

    return invoked


@pytest.fixture
def save(tmp_path):
    """Write a report, with examples beside it if there are some, and return its path."""

    def write(report, name="report.json", examples=(), classes=("zero", "one")):
        path = tmp_path / name
        if examples:
            saved = write_adversarials(path.with_suffix(".adversarials.npz"), examples, classes, len(examples))
            report = reports.replaced(report, adversarials=saved)
        write_text(path, report.to_json())
        return path

    return write


@pytest.fixture
def is_golden(request):
    """Hold a text against the one stored in `golden` beside the test; written with STEIN_BENCH_WRITE_GOLDEN=1."""

    def check(text, name):
        stored = request.path.parent / "golden" / name
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        if os.environ.get("STEIN_BENCH_WRITE_GOLDEN"):
            stored.write_text(text, encoding="utf-8")
        assert text == stored.read_text(encoding="utf-8")

    return check


ROBUST = reports.bits(5, 10)


def _attack(name="pgd", **changes):
    """An attack that broke 4 of 9 clean-correct samples out of 10."""
    fields = {
        "params": {"steps": 10, "alpha": 2 / 255, "random_start": True},
        "ci95": (0.237, 0.763),
        "attack_success_rate": 4 / 9,
        "perturbation_linf": Spread(mean=0.03, median=0.031, max=8 / 255),
        "seconds": 12.34,
    }
    return reports.attack(name, ROBUST, **{**fields, **changes})


def _failed(name="torchattacks.FAB", message="RuntimeError: no view of this layout"):
    return _attack(
        name, status="failed", message=message, robust_accuracy=None, ci95=None, attack_success_rate=None,
        perturbation_linf=None,
    )  # fmt: skip


def _variant(bn="sample", stats="running", attacks=None, **changes):
    """A variant that is right on 9 of 10 clean samples and on 5 under each of its attacks."""
    attacks = [_attack()] if attacks is None else attacks
    one = reports.variant(bn, stats, reports.bits(1, 10), {attack.label: attack for attack in attacks}, "digits/test")
    done = [attack.label for attack in attacks if attack.robust_accuracy is not None]
    whole = len(done) == len(attacks)
    fields = {
        "clean": reports.replaced(one.clean, ci95=(0.596, 0.982)),
        "worst_case_accuracy": 0.5 if whole else None,
        "worst_case_ci95": (0.237, 0.763) if whole else None,
        "outcomes": reports.replaced(one.outcomes, robust=dict.fromkeys(done, pack_bits(ROBUST))),
    }
    return reports.replaced(one, **{**fields, **changes})


def _report(variants=None, diagnostics=None):
    """A report with provenance of its own and, unless told otherwise, one variant and one check that passes."""
    passed = Diagnostic(
        name="step-budget", variant=None, attack="pgd", status="pass", value=2.5, message="alpha·steps is 2.5 times eps"
    )
    one = reports.report(
        *([_variant()] if variants is None else variants),
        diagnostics=[passed] if diagnostics is None else diagnostics,
        config={"model": "resnet18", "attack": ["pgd"], "eps": [8 / 255]},
    )
    run = reports.replaced(one.run, command="stein-bench evaluate resnet18 --attack pgd")
    preprocessing = reports.replaced(one.model.preprocessing, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return reports.replaced(one, run=run, model=reports.replaced(one.model, preprocessing=preprocessing))


@pytest.fixture
def make_attack():
    return _attack


@pytest.fixture
def make_failed():
    return _failed


@pytest.fixture
def make_variant():
    return _variant


@pytest.fixture
def make_report():
    return _report


@pytest.fixture
def report():
    """Plain BN and a converted variant, two attacks each, and a diagnostic that warns."""
    attacks = [_attack("fgsm", params={}), _attack()]
    warning = Diagnostic(
        name="step-budget", variant=None, attack="pgd", status="warn", value=1.5,
        message="alpha·steps is 1.5 times eps; "
        "below 2 it cannot reach every point of the ε-ball: give more steps or a larger alpha",
    )  # fmt: skip
    converted = _variant("stein", attacks=attacks, converted_layers=20, conversion="after-training")
    return _report([_variant(attacks=attacks), converted], [warning])

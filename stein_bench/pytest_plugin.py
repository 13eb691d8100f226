"""The gate in a test suite: the fixture `stein_bench_gate`, which pytest finds by itself.

pytest imports this in every run, whatever is tested: it imports nothing but pytest until the fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stein_bench.api.comparing import Verdict
    from stein_bench.comparison.policy import Policy
    from stein_bench.report.document import Report

UPDATE = "--stein-bench-update-baseline"
WRITTEN = "stein-bench baseline"
"""Name of the property of a test that says which baseline it wrote; unlike a global it survives pytest-xdist."""

AnyPath = str | os.PathLike[str]


class Gate:
    """Judges reports within one test; see `__call__`."""

    def __init__(self, node: Any, *, update: bool) -> None:
        self._node = node
        self._update = update

    def __call__(
        self,
        report: AnyPath | Report,
        baseline: AnyPath | Report,
        policy: AnyPath | Mapping[str, Any] | Policy | None = None,
    ) -> Verdict:
        """Return the verdict if the gate passed; otherwise the test fails with what `stein-bench gate` prints.

        Args:
            report: the report to judge, or its path.
            baseline: the report to compare with, or its path.
            policy: its path, its keys and values as in the file, or a `Policy`; None for the defaults.

        With ``--stein-bench-update-baseline`` the report is written to the path `baseline`, and the verdict is that of
        the report against itself.
        """
        from stein_bench.errors import SteinBenchError

        try:
            return self._updated(report, baseline, policy) if self._update else _passed(report, baseline, policy)
        except SteinBenchError as error:
            message = f"stein-bench: {error}"
        pytest.fail(message, pytrace=False)

    def _updated(self, report: Any, baseline: Any, policy: Any) -> Verdict:
        from stein_bench.api.comparing import gate, report_of
        from stein_bench.errors import UsageError
        from stein_bench.files import write_text

        if not isinstance(baseline, str | os.PathLike):
            raise UsageError(f"{UPDATE} needs the path of the baseline, not a report.")
        new = report_of(report)
        result = gate(new, new, policy)
        if result.verdict == "refused":
            raise UsageError(f"the report cannot be a baseline: {'; '.join(result.messages('error'))}")
        path = Path(baseline)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, new.to_json())
        self._node.user_properties.append((WRITTEN, str(path)))
        return result


@pytest.fixture
def stein_bench_gate(request: pytest.FixtureRequest) -> Gate:
    """Fail the test if a report is worse than its baseline: `stein_bench_gate(report, baseline, policy=None)`."""
    return Gate(request.node, update=bool(request.config.getoption(UPDATE)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes baselines."""
    parser.getgroup("stein-bench").addoption(
        UPDATE,
        action="store_true",
        default=False,
        help="Write the reports given to stein_bench_gate as new baselines instead of judging them.",
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which baselines were written."""
    written = list(dict.fromkeys(_written(terminalreporter.stats)))
    if written:
        terminalreporter.section("stein-bench")
        for path in written:
            terminalreporter.write_line(f"baseline written, nothing judged: {path}")


def _written(stats: Mapping[str, list[Any]]) -> Iterator[str]:
    for reports in stats.values():
        for report in reports:
            yield from (value for name, value in getattr(report, "user_properties", ()) if name == WRITTEN)


def _passed(report: Any, baseline: Any, policy: Any) -> Verdict:
    from stein_bench.api.comparing import gate
    from stein_bench.errors import UsageError

    if isinstance(baseline, str | os.PathLike) and not Path(baseline).exists():
        raise UsageError(f"there is no baseline {baseline}: pytest {UPDATE} writes it, to be committed with the tests.")
    verdict = gate(report, baseline, policy)
    if not verdict.passed:
        pytest.fail(verdict.summary(), pytrace=False)
    return verdict

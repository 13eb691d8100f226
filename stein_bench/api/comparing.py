"""`stein_bench.compare` and `stein_bench.gate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from stein_bench.api.shown import Shown
from stein_bench.comparison import document, gate_result
from stein_bench.comparison.compare import compare as _compare
from stein_bench.comparison.gate import gate as _gate
from stein_bench.comparison.leaderboard import Named
from stein_bench.comparison.policy import Policy, read_policy
from stein_bench.config import error_message
from stein_bench.errors import UsageError
from stein_bench.report.document import Report, read_report


class Pairs(Shown, document.PairTable):
    """Variants of two reports, or of one, compared sample by sample: `rows` has differences, intervals and p."""

    def __repr__(self) -> str:
        significant = sum(row.difference is not None and row.difference.significant for row in self.rows)
        return f"<Pairs: {len(self.rows)} comparisons, {significant} significant>"

    def _printed(self, console: Console) -> None:
        from stein_bench.render.comparison.compare import print_compare

        print_compare(self, console)


class Board(Shown, document.Leaderboard):
    """Variants of three or more reports, sorted by worst-case accuracy; `rows` has them."""

    def __repr__(self) -> str:
        return f"<Board: {len(self.rows)} variants of {len(self.sources)} reports>"

    def _printed(self, console: Console) -> None:
        from stein_bench.render.comparison.compare import print_compare

        print_compare(self, console)


class Verdict(Shown, gate_result.GateResult):
    """The verdict of the gate: ``passed``, ``failed`` or ``refused``, with all comparisons and findings."""

    def __repr__(self) -> str:
        from stein_bench.render.comparison.gate_wording import one_line

        return f"<Verdict: {one_line(self)}>"

    @property
    def passed(self) -> bool:
        """Whether nothing has become less robust."""
        return self.verdict == "passed"

    def _printed(self, console: Console) -> None:
        from stein_bench.render.comparison.gate import print_gate

        print_gate(self, console)


def compare(*reports: Report | str | PathLike[str]) -> Pairs | Board:
    """Compare reports sample by sample: ``stein-bench compare`` from Python.

    Args:
        *reports: reports, or paths of them. One: its variants against the first. Two: the second against the first.
            More: a leaderboard, sorted by worst-case accuracy.

    Returns:
        What the command shows and writes; ``comparable`` is False if nothing could be compared.

    Raises:
        UsageError: there is nothing to compare, or a file is missing or no report.
    """
    read = [report_of(report) for report in reports]
    named = zip(reports, read, strict=True)
    names = _distinct(
        [Path(one).stem if isinstance(one, str | PathLike) else report.model.name for one, report in named]
    )
    found = _compare([Named(name, report) for name, report in zip(names, read, strict=True)])
    if isinstance(found, document.PairTable):
        return Pairs.model_construct(**dict(found))
    return Board.model_construct(**dict(found))


def gate(
    report: Report | str | PathLike[str],
    baseline: Report | str | PathLike[str],
    policy: Policy | Mapping[str, Any] | str | PathLike[str] | None = None,
) -> Verdict:
    """Judge whether a model has become less robust than in a baseline: ``stein-bench gate`` from Python.

    Args:
        report: a report, or its path.
        baseline: the report that it is compared with, or its path.
        policy: tolerances, minimums and rules: a mapping with the keys of ``configs/gate.yaml``, a YAML file of them,
            or None for the defaults.

    Returns:
        The verdict; ``passed`` is True if no accuracy has fallen significantly and by more than its tolerance.

    Raises:
        UsageError: the policy is wrong, or a file is missing or no report.
    """
    return Verdict.model_construct(**dict(_gate(report_of(report), report_of(baseline), policy_of(policy))))


def policy_of(policy: Policy | Mapping[str, Any] | str | PathLike[str] | None) -> Policy | None:
    """Return a policy given in any of the forms that `gate` takes; None for the defaults."""
    if policy is None or isinstance(policy, Policy):
        return policy
    if isinstance(policy, str | PathLike):
        return read_policy(Path(policy))
    if not isinstance(policy, Mapping):
        raise UsageError(f"a {type(policy).__name__} is no policy: give a mapping, a Policy, or a YAML file.")
    try:
        return Policy.model_validate(dict(policy))
    except ValidationError as error:
        raise UsageError(f"policy: {error_message(error)}") from None


def report_of(report: Report | str | PathLike[str]) -> Report:
    """Return a report, or the one at that path."""
    if isinstance(report, Report):
        return report
    if not isinstance(report, str | PathLike):
        raise UsageError(f"a {type(report).__name__} is no report: give a Report, or the path of one.")
    return read_report(Path(report))


def _distinct(names: list[str]) -> list[str]:
    """Return the names, numbered where several are equal."""
    uses, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if uses[name] == 1 else f"{name} {seen[name]}")
    return found

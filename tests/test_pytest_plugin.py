"""The fixture `stein_bench_gate`, in test suites of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from stein_bench.pytest_plugin import UPDATE
from stein_bench.report.document import read_report
from tests import reports

pytest_plugins = ["pytester"]

SUITE = """
from stein_bench.report.document import read_report

def test_robust(stein_bench_gate):
    result = stein_bench_gate({arguments})
    assert result.verdict == "passed"
"""
GOOD = reports.report(reports.variant(attacks={"pgd": reports.bits(20)}))
WORSE = reports.report(reports.variant(attacks={"pgd": reports.bits(60)}), number=1)
LOST = reports.report(reports.doubtful(reports.variant()))


@pytest.fixture
def suite(pytester):
    """Run a suite with a test that calls the gate with `arguments`, beside files of that content."""
    plugin = [] if entry_points(group="pytest11", name="stein-bench") else ["-p", "stein_bench.pytest_plugin"]

    def run(arguments, *options, **files):
        for name, report in files.items():
            (pytester.path / f"{name}.json").write_text(report.to_json())
        pytester.makepyfile(SUITE.format(arguments=arguments))
        return pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *options)

    return run


def test_a_report_that_is_as_good_passes(suite):
    suite("'report.json', 'base.json'", report=GOOD, base=GOOD).assert_outcomes(passed=1)


def test_a_regression_fails_the_test_with_the_gates_table_and_no_traceback(suite, invoke, pytester):
    result = suite("'report.json', 'base.json'", report=WORSE, base=GOOD)
    result.assert_outcomes(failed=1)
    shown = [line.rstrip() for line in result.outlines]
    printed = invoke("gate", pytester.path / "report.json", "--baseline", pytester.path / "base.json", COLUMNS="100")
    for line in printed.stdout.strip().splitlines():
        assert line.rstrip() in shown
    assert "Gate failed: 1 regression (running statistics)" in shown
    assert "stein_bench_gate(" not in result.stdout.str()


def test_reports_may_be_objects_and_paths(suite):
    suite("read_report('report.json'), read_report('base.json')", report=GOOD, base=GOOD).assert_outcomes(passed=1)
    suite("__import__('pathlib').Path('report.json'), 'base.json'", report=GOOD, base=GOOD).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "policy",
    [
        "{'tolerance': 0.5}",
        "'gate.yaml'",
        "__import__('stein_bench.comparison.policy').comparison.policy.Policy(tolerance=0.5)",
    ],
)
def test_the_policy_decides_in_each_of_its_forms(suite, pytester, policy):
    (pytester.path / "gate.yaml").write_text("tolerance: 0.5\n")
    suite(f"'report.json', 'base.json', policy={policy}", report=WORSE, base=GOOD).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'report.json', 'none.json'", f"stein-bench: there is no baseline none.json: pytest {UPDATE} writes it, *"),
        ("'none.json', 'report.json'", "stein-bench: cannot read the report 'none.json': No such file or directory."),
        ("3, 'report.json'", "stein-bench: a int is no report*"),
        ("'report.json', 'report.json', {'tolerence': 1}", "stein-bench: policy: tolerence: *"),
        ("'lost.json', 'report.json'", "Gate refused: these reports cannot be compared honestly"),
    ],
)
def test_what_cannot_be_judged_fails_with_the_reason(suite, arguments, message):
    result = suite(arguments, report=GOOD, lost=LOST)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])


def test_the_option_writes_the_baseline_and_says_so(suite, pytester):
    result = suite("'report.json', 'new/base.json'", UPDATE, report=WORSE)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*= stein-bench =*", "baseline written, nothing judged: new/base.json"])
    assert result.stdout.str().count("baseline written") == 1
    assert read_report(pytester.path / "new" / "base.json") == WORSE
    again = suite("'report.json', 'new/base.json'", report=WORSE)
    again.assert_outcomes(passed=1)
    assert "baseline written" not in again.stdout.str()


def test_the_option_replaces_a_baseline_after_a_wanted_change(suite, pytester):
    suite("'report.json', 'base.json'", UPDATE, report=WORSE, base=GOOD).assert_outcomes(passed=1)
    assert read_report(pytester.path / "base.json") == WORSE


def test_a_report_that_cannot_be_trusted_becomes_no_baseline(suite, pytester):
    result = suite("'report.json', 'base.json'", UPDATE, report=LOST, base=GOOD)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["stein-bench: the report cannot be a baseline: *"])
    assert read_report(pytester.path / "base.json") == GOOD


def test_the_option_needs_a_path(suite):
    result = suite("'report.json', read_report('base.json')", UPDATE, report=GOOD, base=GOOD)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"stein-bench: {UPDATE} needs the path of the baseline, not a report."])


def test_pytest_loads_next_to_nothing_for_it():
    script = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import stein_bench.pytest_plugin\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'yaml', 'typer'} & (sys.modules.keys() - before)\n"
        "own = [name for name in sys.modules if name.startswith('stein_bench')]\n"
        "print(sorted(heavy), sorted(own))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("[] ['stein_bench', 'stein_bench.pytest_plugin'"), done

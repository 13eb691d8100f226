"""`stein-bench gate`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from stein_bench.cli.app import COMPARE, command
from stein_bench.cli.files import check_outputs, read_comparable
from stein_bench.cli.options import file_option, format_option, quiet_option
from stein_bench.cli.said import say, say_document
from stein_bench.errors import UsageError
from stein_bench.exit_codes import DONE, FAILED, REGRESSION

if TYPE_CHECKING:
    from stein_bench.comparison.gate_result import GateResult

JUDGED = "Report and baseline"
EXIT_CODES = {"passed": DONE, "failed": REGRESSION, "refused": FAILED}


@command("gate", COMPARE, "Pass or fail a report against its baseline, for CI")
def gate_(
    report: Annotated[
        str, typer.Argument(metavar="REPORT", help="The report to check.", show_default=False, rich_help_panel=JUDGED)
    ],
    baseline: Annotated[
        str,
        typer.Option(metavar="BASE", help="The report to compare with.", show_default=False, rich_help_panel=JUDGED),
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="YAML file with tolerances, minimums and failure rules; configs/gate.yaml is a commented example.",
            rich_help_panel=JUDGED,
        ),
    ] = None,
    junit: Annotated[str | None, file_option("Write JUnit XML here.")] = None,
    json: Annotated[str | None, file_option("Write the JSON document here.")] = None,
    markdown: Annotated[str | None, file_option("Write Markdown here.")] = None,
    format: Annotated[str, format_option()] = "table",
    quiet: Annotated[bool, quiet_option("Only the verdict, on one line.")] = False,
) -> int:
    """Pass or fail a report against its baseline: did the model get less robust?

    Every accuracy (clean, under each attack, worst case) is compared sample by sample. The gate fails if one has
    fallen by more than its tolerance and an exact paired test, adjusted for the number of comparisons, shows the drop
    to be significant; if an attack is missing; or if a minimum of the policy is missed. Under GitHub Actions it
    writes annotations and the job summary.

    - `stein-bench gate report.json --baseline baseline.json`
    - `stein-bench gate report.json --baseline baseline.json --policy gate.yaml`

    Exit codes: 0 passed, 1 failed, 2 wrong usage or input, 3 the reports cannot be compared or trusted.
    """
    if format not in ("table", "json"):
        raise UsageError(f"--format: {format!r} is neither table nor json.")
    inputs = [report, baseline, *([policy] if policy else [])]
    check_outputs({"--junit": junit, "--json": json, "--markdown": markdown}, inputs)
    result = _judge(report, baseline, policy)
    _write(result, junit, json, markdown)
    _tell_github(result)
    _print(result, format, quiet)
    return EXIT_CODES[result.verdict]


def _judge(report: str, baseline: str, policy: str | None) -> GateResult:
    from stein_bench.comparison.gate import gate
    from stein_bench.comparison.policy import read_policy

    rules = read_policy(policy) if policy is not None else None
    return gate(read_comparable(report), read_comparable(baseline), rules)


def _write(result: GateResult, junit: str | None, json: str | None, markdown: str | None) -> None:
    from stein_bench.files import write_text
    from stein_bench.render.comparison.gate_files import gate_junit, gate_markdown

    if junit is not None:
        write_text(junit, gate_junit(result))
    if json is not None:
        write_text(json, result.to_json())
    if markdown is not None:
        write_text(markdown, gate_markdown(result))


def _tell_github(result: GateResult) -> None:
    """Write annotations and the job summary under GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from stein_bench.render.comparison.gate_files import gate_annotations, gate_markdown

    typer.echo(gate_annotations(result), nl=False, err=True)  # GitHub reads both streams; stdout may be JSON
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with open(summary, "a", encoding="utf-8") as stream:
                stream.write(gate_markdown(result))
        except OSError as error:
            say(f"cannot write the job summary: {error.strerror}", err=True)


def _print(result: GateResult, format: str, quiet: bool) -> None:
    if format == "json":
        say_document(result.to_json())
        return
    if quiet:
        from stein_bench.render.comparison.gate_wording import one_line

        say(one_line(result))
        return
    from stein_bench.render.comparison.gate import print_gate

    print_gate(result)

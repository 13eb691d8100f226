"""The table that people read: its text, its width, and that nothing is cut off."""

from __future__ import annotations

import html
import io
import os
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from stein_bench.render.report.files import report_markdown
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.report.document import AttackNetworkInfo, Diagnostic
from stein_bench.report.number_format import percent
from stein_bench.report.results import Replay, SkippedLayerInfo
from tests.reports import replaced

GOLDEN = Path(__file__).parent / "golden" / "table.txt"
WIDTH = 80


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def rendered(report, width=WIDTH):
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=width))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    return text


def flat(text):
    """The words of a text, wherever its lines were broken."""
    return " ".join(text.split())


def stripped(text):
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_table_is_the_stored_one(report):
    """Written by this test with STEIN_BENCH_WRITE_GOLDEN=1; a change of it is a change of what users read."""
    text = stripped(rendered(report))
    if os.environ.get("STEIN_BENCH_WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


LONG = ["torchattacks.PIFGSMPP", "torchattacks.AutoAttack", "torchattacks.SparseFool", "pgd"]


@pytest.mark.parametrize("bn", ["sample", "stein-mean", "james-stein", "ridge:0.001", "lasso:0.00123"])
@pytest.mark.parametrize("stats", ["running", "batch"])
@pytest.mark.parametrize("width", [60, 80, 81, 200])
def test_long_names_and_wide_rates_fit_80_columns_with_every_figure_whole(
    make_report, make_variant, make_attack, bn, stats, width
):
    attacks = [
        make_attack(name, robust_accuracy=1.0, ci95=(0.962, 1.0), seconds=seconds, norm="Linf", eps=254 / 255)
        for name, seconds in zip(LONG, [99.94, 99.95, 599.4, 599.96 * 60], strict=True)
    ]
    variants = [make_variant(bn, stats, attacks, control=True), make_variant("sample", attacks=attacks)]
    text = rendered(make_report(variants), width)
    assert text.count("100.0 (96.2–100.0)") == 2 * len(LONG)
    assert flat(text).count("Linf 254/255") == 2 * len(LONG)
    assert all(text.count(time) == 2 for time in ("99.9 s", "100 s", "599 s", "600 min"))
    assert flat(text).count("(59.6–98.2)") == 2
    assert bn in text


def test_the_source_of_statistics_is_said_once_where_it_is_one_and_in_each_row_where_it_is_not(
    make_report, make_variant
):
    one = rendered(make_report([make_variant("stein", "batch"), make_variant("sample", "batch", control=True)]))
    assert "batch statistics" in flat(one)
    assert "stats" not in one
    two = rendered(make_report([make_variant("sample"), make_variant("sample", "batch")]))
    rows = [line.split()[:2] for line in two.splitlines() if line.startswith("sample")]
    assert rows == [["sample", "running"], ["sample", "batch"]]


def test_an_attack_goes_by_its_name_in_its_library(make_report, make_variant, make_attack):
    text = rendered(make_report([make_variant(attacks=[make_attack("torchattacks.MIFGSM")])]), 120)
    assert "MIFGSM" in text
    assert "torchattacks" not in text


def test_failed_attacks_have_no_rate_and_spoil_the_worst_case(make_report, make_variant, make_attack, make_failed):
    text = rendered(make_report([make_variant(attacks=[make_attack(), make_failed()])]))
    assert text.startswith("! ")
    row = next(line for line in text.splitlines() if "FAB" in line and "torchattacks" not in line)
    assert "failed" in row
    assert "(" not in row
    assert "worst case" not in text
    assert "! sample (running), torchattacks.FAB: failed: RuntimeError: no view of this layout" in flat(text)


def test_invalid_attacks_are_marked_beside_their_rate(make_report, make_variant, make_attack):
    message = "2 of 10 adversarial inputs are outside the budget"
    attack = make_attack("torchattacks.Pixle", status="invalid", invalid=2, message=message, ci95=(0.962, 1.0))
    text = rendered(make_report([make_variant("james-stein", "running", [attack])]))
    assert "invalid" in text
    assert f"! james-stein (running), torchattacks.Pixle: invalid: {message}" in flat(text)


def test_a_single_attack_needs_no_worst_case(make_report, make_variant, make_attack):
    assert "worst case" not in rendered(make_report([make_variant(attacks=[make_attack()])]))
    both = [make_attack("fgsm"), make_attack()]
    assert rendered(make_report([make_variant(attacks=both)])).count("worst case") == 1


def test_controls_are_starred_and_the_star_is_explained(make_report, make_variant):
    text = rendered(make_report([make_variant("stein", "batch"), make_variant("sample", "batch", control=True)]))
    assert "sample*" in text
    assert "stein*" not in text
    assert "- * control, added because batch statistics alone change robustness" in flat(text)
    assert "- samples of a batch depend on one another under batch statistics" in flat(text)


def test_nothing_is_explained_that_is_not_there(make_report):
    lines = rendered(make_report()).splitlines()
    assert [line.strip() for line in lines if line.startswith(("- ", "! "))] == [
        "- in parentheses: 95 % Wilson intervals",
        "- 1 of 1 sanity checks passed",
    ]


def test_what_limits_a_result_is_said_below_it(make_report, make_variant, make_attack):
    skipped = [SkippedLayerInfo(name="bn1", kind="GroupNorm", reason="not BN")]
    variant = make_variant(
        "stein",
        attacks=[make_attack("torchattacks.CW", over_budget=3)],
        skipped_layers=skipped,
        layers_of_unknown_count=2,
    )
    text = flat(rendered(make_report([variant])))
    assert "stein: 1 normalization layers not converted" in text
    assert "variances are not shrunk" in text
    assert "some attacks do not respect ε; what they found beyond it does not count as a success" in text


@pytest.mark.parametrize(
    ("kind", "origin", "said"),
    [
        ("file", "none: inputs in [0, 1]", True), ("own", "none: inputs in [0, 1]", True),
        ("none", "none: inputs in [0, 1]", False), ("fit", "none: inputs in [0, 1]", False),
        ("file", "the weights' card", False), ("own", "the command line or configuration", False),
    ],
)  # fmt: skip
def test_inputs_that_nothing_says_how_to_scale_are_noted_for_weights_from_elsewhere(make_report, kind, origin, said):
    made = make_report()
    weights = made.model.weights.model_copy(update={"kind": kind})
    preprocessing = made.model.preprocessing.model_copy(update={"origin": origin})
    model = made.model.model_copy(update={"weights": weights, "preprocessing": preprocessing})
    text = flat(rendered(made.model_copy(update={"model": model})))
    assert ("it gets inputs in [0, 1]; if it was trained on scaled ones, give --mean and --std" in text) == said


@pytest.mark.parametrize(("share", "text"), [(0, "0.0"), (1, "100.0"), (0.12345, "12.3"), (0.9996, "100.0")])
def test_shares_are_written_as_percentages(share, text):
    assert percent(share) == text


def test_names_are_printed_as_they_are_and_not_read_as_markup(make_report):
    report = make_report()
    model = report.model.model_copy(update={"name": "[bold]net.py[/bold]:make"})
    assert "[bold]net.py[/bold]:make" in rendered(report.model_copy(update={"model": model}))


def test_a_collapsed_variant_is_the_first_line_and_a_replay_has_all_four_figures(
    make_report, make_variant, make_attack
):
    replay = Replay(
        joint=0.5, shuffled=0.4, shuffled_flipped=0.1, samples=10, single_samples=8, single_joint=0.375,
        among_clean=0.25, among_clean_flipped=0.125, alone=None, alone_flipped=None,
    )  # fmt: skip
    checks = [
        Diagnostic(
            name="clean-accuracy", variant="stein/batch", attack=None, status="fail", value=0.1,
            message="clean accuracy has collapsed to 10.0 %",
        ),
        Diagnostic(
            name="batch-dependence", variant="stein/batch", attack="pgd", status="fail", value=0.1, message="flips",
        ),
        Diagnostic(name="repeatable", variant="stein/batch", attack=None, status="pass", value=0, message="same"),
    ]  # fmt: skip
    text = rendered(make_report([make_variant("stein", "batch", [make_attack(replay=replay)])], checks))
    assert text.startswith(
        "! stein/batch: clean accuracy has collapsed to 10.0 %\n! check failed: stein/batch: flips\n\nNo conclusion"
    )
    assert text.count("collapsed to") == 1
    assert "! check failed: stein/batch: flips" in flat(text)
    expected = "as attacked 50.0, shuffled 40.0 (n=10); as attacked 37.5, among clean 25.0, alone – (n=8)"
    assert f"stein (batch), pgd 8/255 replayed, robust %: {expected}" in flat(text)
    assert "1 of 3 sanity checks passed" in text


def test_an_attack_network_and_how_often_its_verdicts_differ_are_noted(make_report, make_variant, make_attack):
    attacks = [
        make_attack("fgsm", params={}, verdict_differences=1),
        make_attack(verdict_differences=2),
        make_attack("transfer.pgd"),  # on a surrogate: nothing was counted
    ]
    report = make_report([make_variant(attacks=attacks)])
    how = AttackNetworkInfo(compile=True, precision="bf16", memory_format="channels_last")
    report = replaced(report, run=replaced(report.run, attack_network=how))
    note = (
        "attack network: bf16, compiled, channels last; its verdict differs from the "
        "evaluated model's (fp32) on 3 of 20 adversarial inputs; all figures are those of the evaluated model"
    )
    assert "times of attacks include compilation" in flat(rendered(report))
    assert note in flat(rendered(report))
    assert f"- {note}" in report_markdown([("r", report)])
    page = html_page([Source("r", report)])
    assert note in html.unescape(page)
    assert "bf16, compiled, channels last" in page.partition(">attack network<")[2][:80]


def test_without_counts_the_note_says_how_the_attack_network_ran(make_report, make_variant, make_attack):
    report = make_report([make_variant(attacks=[make_attack("transfer.pgd")])])
    assert "attack network" not in rendered(report)
    how = AttackNetworkInfo(compile=False, precision="tf32", memory_format="contiguous")
    report = replaced(report, run=replaced(report.run, attack_network=how))
    assert "attack network: tf32; all figures are those of the evaluated model" in flat(rendered(report))

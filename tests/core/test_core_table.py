"""The table that people read: its text, its width, and that nothing is cut off."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from stein_bench.render.table import percent, print_report
from stein_bench.report import SkippedLayerInfo

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
    assert stripped(rendered(report)) == GOLDEN.read_text(encoding="utf-8")


LONG = ["torchattacks.PIFGSMPP", "torchattacks.AutoAttack", "torchattacks.SparseFool", "pgd"]


@pytest.mark.parametrize("bn", ["sample", "stein-mean", "james-stein", "ridge:0.001", "lasso:0.00123"])
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_long_names_and_wide_rates_fit_80_columns_with_every_figure_whole(
    make_report, make_variant, make_attack, bn, stats
):
    attacks = [
        make_attack(name, robust_accuracy=1.0, ci95=(0.962, 1.0), seconds=599.94, norm="Linf", eps=254 / 255)
        for name in LONG
    ]
    text = rendered(make_report([make_variant(bn, stats, attacks, control=True)]))
    assert text.count("100.0 (96.2–100.0)") == len(LONG)
    assert text.count("Linf 254/255") == len(LONG)
    assert text.count("599.9 s") == len(LONG)
    assert "90.0 (59.6–98.2)" in text
    column = "".join(line[: len("ridge:0.00")].strip() for line in text.splitlines()[3:9])
    assert column.startswith(f"{bn}*"[:6])


def test_an_attack_goes_by_its_name_in_its_library(make_report, make_variant, make_attack):
    text = rendered(make_report([make_variant(attacks=[make_attack("torchattacks.MIFGSM")])]), 120)
    assert "MIFGSM" in text
    assert "torchattacks" not in text


def test_failed_attacks_have_no_rate_and_spoil_the_worst_case(make_report, make_variant, make_attack, make_failed):
    text = rendered(make_report([make_variant(attacks=[make_attack(), make_failed()])]))
    row = next(line for line in text.splitlines() if "FAB" in line)
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
    assert "- batch statistics couple the samples of a batch" in flat(text)


def test_nothing_is_explained_that_is_not_there(make_report):
    lines = rendered(make_report()).splitlines()
    assert [line.strip() for line in lines if line.startswith(("- ", "! "))] == ["- in brackets: 95 % Wilson intervals"]


def test_what_limits_a_result_is_said_below_it(make_report, make_variant, make_attack):
    skipped = [SkippedLayerInfo(name="bn1", kind="GroupNorm", reason="not BN")]
    variant = make_variant(
        "stein", attacks=[make_attack("torchattacks.CW", over_budget=3)], skipped_layers=skipped, variance_not_shrunk=2
    )
    text = flat(rendered(make_report([variant])))
    assert "stein: 1 normalization layers not converted" in text
    assert "variances are not shrunk" in text
    assert "some attacks do not honour ε; what they found beyond it is no success" in text


@pytest.mark.parametrize(("share", "text"), [(0, "0.0"), (1, "100.0"), (0.12345, "12.3"), (0.9996, "100.0")])
def test_shares_are_written_as_percentages(share, text):
    assert percent(share) == text


def test_names_are_printed_as_they_are_and_not_read_as_markup(make_report):
    report = make_report()
    model = report.model.model_copy(update={"name": "[bold]net.py[/bold]:make"})
    assert "[bold]net.py[/bold]:make" in rendered(report.model_copy(update={"model": model}))

"""`stein-bench compare`: what is paired with what, what is ranked, and what is marked."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import binomtest

from stein_bench.comparison import document, gate_result
from stein_bench.comparison.compare import compare
from stein_bench.comparison.document import FailedModel, Leaderboard, PairTable
from stein_bench.comparison.leaderboard import Named, adjusted, leaderboard
from stein_bench.errors import UsageError
from stein_bench.render.comparison.compare import MARK, compare_csv, compare_latex, compare_markdown, grid
from stein_bench.report.packing import pack_bits
from stein_bench.statistics.paired_tests import paired
from tests.reports import FGSM, PGD, attack, bits, doubtful, label, replaced, report, variant

A = report(variant(), variant("stein"))
B = report(
    variant(attacks={FGSM: bits(60), PGD: bits(53)}), variant("stein", attacks={FGSM: bits(20)}), number=1
)  # fmt: skip
C = report(
    variant(attacks={FGSM: bits(30), PGD: bits(45)}),
    variant("stein", attacks={FGSM: bits(20), PGD: bits(45), "x": bits(3)}),
    variant("stein", "batch"),
    number=2,
)
D = report(variant(), data="e", number=3)


def named(*reports):
    return [Named(name, one) for name, one in zip("ABCDEFGH", reports, strict=False)]


def rows(*reports):
    return compare(named(*reports)).rows


def flat(text):
    return " ".join(text.split())


def test_two_reports_are_paired_sample_by_sample_with_every_number_by_hand():
    """Fgsm loses 20 of 100 samples: p = 2^-19 two-sided; seven tests in all, so 7 · 2^-19."""
    one = rows(A, B)[1]
    assert (one.first, one.second, one.accuracy, one.title) == ("sample/running",) * 2 + (label(FGSM), "fgsm 8/255")
    assert (one.samples, one.first_accuracy, one.second_accuracy, one.reason) == (100, 0.6, 0.4, "")
    d = one.difference
    assert (d.value, d.lost, d.gained) == (pytest.approx(-0.2), 20, 0)
    assert d.p == pytest.approx(binomtest(20, 20).pvalue)
    assert d.p_adjusted == pytest.approx(7 * 2.0**-19)
    assert d.interval == paired(bits(40), bits(60)).interval
    assert d.significant
    assert not d.assumes_independence


def test_every_accuracy_that_both_have_is_compared_and_every_other_is_marked():
    found = [(row.first, row.title, row.reason) for row in rows(A, B)]
    assert found == [
        ("sample/running", "clean", ""), ("sample/running", "fgsm 8/255", ""), ("sample/running", "pgd 8/255", ""),
        ("sample/running", "worst case", ""), ("stein/running", "clean", ""), ("stein/running", "fgsm 8/255", ""),
        ("stein/running", "pgd 8/255", "the second has no result"), ("stein/running", "worst case of 1 common", ""),
    ]  # fmt: skip


def test_exchanging_two_reports_exchanges_the_signs():
    for one, other in zip(rows(A, C), rows(C, A), strict=False):
        if one.difference and other.difference and one.accuracy == other.accuracy:
            assert one.difference.value == -other.difference.value
            assert one.difference.p == other.difference.p


def test_the_variants_of_one_report_are_compared_with_its_first_under_the_same_statistics():
    both = report(variant(), variant("stein"), variant("jsnorm"), variant("sample", "batch"), variant("stein", "batch"))
    pairs = list(dict.fromkeys((row.first, row.second) for row in rows(both)))
    assert pairs == [
        ("sample/running", "stein/running"), ("sample/running", "jsnorm/running"), ("sample/batch", "stein/batch"),
    ]  # fmt: skip


def test_a_variant_that_is_alone_under_its_source_is_marked():
    last = rows(C)[-1]
    assert (last.first, last.second, last.difference) == ("stein/batch", "", None)
    assert last.reason == "the only variant under its source of statistics"


def test_one_report_with_one_variant_has_nothing_to_be_compared_with():
    with pytest.raises(UsageError, match="A contains one variant"):
        compare(named(report(variant())))
    with pytest.raises(UsageError, match="no report"):
        compare([])


def test_a_single_other_variant_on_either_side_is_a_pair():
    """As for two runs, one with plain BN and one with Stein BN."""
    assert {(row.first, row.second) for row in rows(report(variant()), report(variant("stein")))} == {
        ("sample/running", "stein/running")
    }


def test_variants_of_different_sources_are_no_pair():
    found = rows(report(variant()), report(variant("sample", "batch")))
    assert [(row.first, row.second, row.reason) for row in found] == [
        ("sample/running", "", "only in the first report"), ("", "sample/batch", "only in the second report"),
    ]  # fmt: skip
    assert not compare(named(report(variant()), report(variant("sample", "batch")))).comparable


def test_other_data_is_a_marked_row():
    (row,) = rows(report(variant()), D)
    assert row.difference is None
    assert row.reason.startswith("other data: digits test with 100 samples (eeeeeeeeeeee)")


def test_other_batches_are_a_marked_row_under_batch_statistics_alone():
    for stats, marked in (("batch", True), ("running", False)):
        one, other = (report(variant("sample", stats), config={"batch-size": size}) for size in (10, 20))
        assert any("other batch size: 20, not 10" in row.reason for row in rows(one, other)) is marked


def test_results_that_cannot_be_trusted_are_marked():
    broken = variant(attacks={FGSM: bits(40), PGD: attack(PGD)})
    broken = replaced(broken, clean=replaced(broken.clean, nonfinite_outputs=2))
    found = {row.title: row for row in rows(report(variant()), report(broken))}
    assert found["clean"].reason == "second: 2 clean outputs are not finite"
    assert found["pgd 8/255"].reason == "second: failed: RuntimeError: no memory"
    assert found["fgsm 8/255"].difference is not None
    assert found["worst case of 1 common"].difference is not None
    edited = variant()
    edited = replaced(edited, attacks=[replaced(edited.attacks[0], robust_accuracy=0.99), edited.attacks[1]])
    assert "own outcomes" in rows(report(edited), report(variant()))[1].reason


def test_attacks_with_other_parameters_are_told_apart_in_their_rows():
    def one(steps):
        results = [attack(PGD, bits(50), params={"steps": steps}, label=f"pgd:steps={steps}")]
        made = variant(attacks={PGD: results[0]})
        packed = pack_bits(bits(50))
        return report(replaced(made, outcomes=replaced(made.outcomes, robust={results[0].label: packed})))

    titles = [(row.title, row.reason) for row in rows(one(10), one(20))]
    assert titles == [
        ("clean", ""), ("pgd 8/255 steps=10", "the second has no result"),
        ("pgd 8/255 steps=20", "the first has no result"),
    ]  # fmt: skip


def test_an_invalid_attack_does_not_enter_the_worst_case():
    """Its outcomes are there: adversarial inputs that break the rules count as no success."""
    one = report(doubtful(variant(attacks={FGSM: bits(40), PGD: bits(50), "x": bits(20)}), 1))
    found = {
        row.title: row for row in rows(one, report(variant(attacks={FGSM: bits(40), PGD: bits(50), "x": bits(20)})))
    }
    assert found["pgd 8/255"].reason == "first: invalid: 2 inputs are outside"
    assert found["worst case of 2 common"].first_accuracy == 0.6


def test_under_batch_statistics_batches_are_tested():
    before = variant(stats="batch", clean=bits(0, 200), attacks={PGD: bits(0, 200)})
    now = variant(stats="batch", clean=bits(0, 200), attacks={PGD: bits(10, 200)})
    one = rows(report(before), report(now))[1].difference
    assert (one.p, one.assumes_independence) == (1.0, True)
    few = {"batch-size": 25}
    assert rows(report(before, config=few), report(now, config=few))[1].difference.p is None


def test_a_preset_comes_without_tests():
    result = compare(named(report(preset="published"), B.model_copy(update={"run": report(preset="published").run})))
    assert {row.difference.p for row in result.rows if row.difference} == {None}
    assert result.notes == (
        "preset published: no paired tests, because its variants may differ in more than one respect",
    )


def test_a_preserved_function_is_said_to_be_no_result():
    result = compare(named(report(variant(), variant("stein", function_preserved=True))))
    assert "stein/running was converted with its function preserved" in result.notes[0]


def test_more_than_two_reports_are_ranked_by_their_worst_case():
    board = compare(named(A, B, C, D))
    assert isinstance(board, Leaderboard)
    assert [(row.rank, row.source, row.variant) for row in board.rows] == [
        (1, "C", "sample/running"), (1, "C", "stein/running"), (3, "A", "sample/running"),
        (3, "A", "stein/running"), (5, "B", "sample/running"), (None, "B", "stein/running"),
        (None, "C", "stein/batch"), (None, "D", "sample/running"),
    ]  # fmt: skip
    assert board.battery == (label(FGSM), label(PGD))
    assert [column.title for column in board.columns] == ["fgsm 8/255", "pgd 8/255", "x 8/255"]
    reasons = {(row.source, row.variant): row.reasons for row in board.rows if row.rank is None}
    assert reasons["B", "stein/running"] == ("pgd 8/255 is missing",)
    assert reasons["C", "stein/batch"] == ("other source of statistics: batch, not running",)
    assert reasons["D", "sample/running"][0].startswith("other data")


def test_a_further_attack_does_not_count_in_the_ranking():
    further = report(variant(attacks={FGSM: bits(40), PGD: bits(50), "x": bits(99)}))
    board = compare(named(A, further, A))
    assert {row.rank for row in board.rows} == {1}
    assert {row.worst_case.value for row in board.rows} == {0.5}


def test_each_is_held_against_the_first_with_adjusted_p():
    board = compare(named(report(variant()), B, C))
    leader, *others = [row for row in board.rows if row.rank is not None]
    assert leader.behind is None
    assert [(row.behind.lost, row.behind.gained) for row in others] == [(0, 0), (5, 0), (15, 0)]
    # Three tests: 3 · 2^-14, 2 · 2^-4, and 1.
    assert [row.behind.p_adjusted for row in others] == [1.0, 0.125, pytest.approx(3 * 2.0**-14)]


def test_the_largest_comparable_group_is_ranked_wherever_it_stands():
    board = compare(named(D, A, C))
    assert {row.source for row in board.rows if row.rank is not None} == {"B", "C"}
    assert "A" in {row.source for row in board.rows if row.rank is None}


def test_what_cannot_be_trusted_is_not_ranked_and_has_no_worst_case():
    broken = report(variant(attacks={FGSM: bits(0), PGD: attack(PGD)}), number=4)
    board = compare(named(A, broken, C))
    (row,) = [row for row in board.rows if row.source == "B"]
    assert (row.rank, row.worst_case, row.behind) == (None, None, None)
    assert "pgd 8/255 is missing" in row.reasons


def test_an_invalid_attack_of_the_battery_keeps_a_variant_from_its_rank_and_another_does_not():
    further = {FGSM: bits(40), PGD: bits(50), "x": bits(20)}
    board = compare(named(A, report(doubtful(variant())), report(doubtful(variant(attacks=further)))))
    ranks = {row.source: (row.rank, row.reasons) for row in board.rows if row.variant == "sample/running"}
    assert ranks == {"A": (1, ()), "B": (None, ("invalid: 2 inputs are outside",)), "C": (1, ())}


def test_reports_without_attacks_are_ranked_by_clean_accuracy():
    plain = [report(variant(clean=bits(n), attacks={})) for n in (10, 5, 20)]
    board = compare(named(*plain))
    assert [(row.rank, row.source, row.worst_case) for row in board.rows] == [
        (1, "B", None),
        (2, "A", None),
        (3, "C", None),
    ]


def test_where_nothing_is_comparable_nothing_is_ranked():
    board = compare(named(report(variant()), report(variant(), data="e"), report(variant(), data="f")))
    assert not board.comparable
    empty = replaced(report(variant()), variants=[])
    assert compare(named(empty, empty, empty)).rows == ()


outcomes = st.integers(0, 2**30 - 1).map(lambda number: np.array([number >> i & 1 for i in range(30)], np.bool_))
reports = st.builds(
    lambda clean, one, other, bn, stats: report(variant(bn, stats, clean, {FGSM: one, PGD: other})),
    outcomes, outcomes, outcomes, st.sampled_from(["sample", "stein"]), st.sampled_from(["running", "batch"]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(reports, min_size=3, max_size=6), st.randoms())
def test_a_ranking_is_sorted_complete_and_independent_of_the_order_of_what_it_ranks(found, random):
    together = named(*found)
    board = compare(together)
    assert sorted((row.source, row.variant) for row in board.rows) == sorted(
        (one.name, f"{v.bn}/{v.stats}") for one in together for v in one.report.variants
    )
    ranked = [row for row in board.rows if row.rank is not None]
    assert [row.worst_case.value for row in ranked] == sorted((row.worst_case.value for row in ranked), reverse=True)
    assert all((row.rank is None) == bool(row.reasons) for row in board.rows)
    first = [one for one in together if any(row.source == one.name for row in ranked)]
    others = [one for one in together if one not in first]
    random.shuffle(first)
    assert compare([*first, *others]).rows == board.rows


@settings(max_examples=40, deadline=None)
@given(st.lists(reports, min_size=2, max_size=4))
def test_documents_round_trip_and_agree_with_their_csv(found):
    result = compare(named(*found))
    kind = type(result)
    assert kind.model_validate_json(result.to_json()) == result
    table = list(csv.DictReader(io.StringIO(compare_csv(result))))
    assert len(table) == len(result.rows) == len(grid(result).rows)
    for line, row in zip(table, result.rows, strict=True):
        if isinstance(result, PairTable):
            assert line["difference"] == ("" if row.difference is None else repr(row.difference.value))
        else:
            assert line["worst_case"] == repr(row.worst_case.value)
            assert float(line[label(PGD)]) == row.attacks[label(PGD)].value


@settings(max_examples=30, deadline=None)
@given(reports)
def test_a_report_does_not_differ_from_itself(one):
    for row in compare(named(one, one)).rows:
        assert (row.difference.value, row.difference.lost, row.difference.gained) == (0, 0, 0)
        assert row.difference.p in (1.0, None)


@pytest.mark.parametrize("signed", [document.Signed, gate_result.Signed])
def test_a_difference_of_shares_is_within_1(signed):
    read = TypeAdapter(signed).validate_python
    assert [read(value) for value in (-1, -0.5, 1)] == [-1, -0.5, 1]
    for value in (-1.01, 1.01):
        with pytest.raises(ValidationError):
            read(value)


def test_adjusted_p_leave_out_what_has_no_test():
    tested, untested = paired(bits(0), bits(10)), paired(bits(0), bits(10), 50)
    assert adjusted([None, tested, untested, tested]) == [None, 2 * 2.0**-9, None, 2 * 2.0**-9]


CASES = {"one": [C], "two": [A, B], "many": [A, B, C, D]}


@pytest.mark.parametrize("case", CASES)
def test_every_format_is_the_golden_one(invoke, save, tmp_path, is_golden, case):
    paths = [save(one, f"{name}.json") for name, one in zip("abcd", CASES[case], strict=False)]
    files = {option: tmp_path / f"out.{option}" for option in ("markdown", "csv", "latex", "output")}
    options = [part for option, path in files.items() for part in (f"--{option}", path)]
    result = invoke("compare", *paths, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    is_golden(result.stdout, f"compare-{case}.txt")
    for option, suffix in (("markdown", "md"), ("csv", "csv"), ("latex", "tex"), ("output", "json")):
        is_golden(files[option].read_text(), f"compare-{case}.{suffix}")
    assert json.loads(files["output"].read_text()) == json.loads(invoke("compare", *paths, "--format", "json").stdout)


@pytest.mark.parametrize("case", ["one", "two"])
def test_pairs_fit_80_columns_and_a_leaderboard_is_never_cut(invoke, save, case):
    paths = [save(one, f"{name}.json") for name, one in zip("abcd", CASES[case], strict=False)]
    assert max(map(len, invoke("compare", *paths).stdout.splitlines())) <= 80
    many = {f"attack{i}": bits(30 + i) for i in range(12)}
    wide = [save(report(variant(attacks=many)), f"r{i}.json") for i in range(3)]
    text = invoke("compare", *wide).stdout
    assert all(word in text for word in [f"attack{i}" for i in range(12)])
    assert text.count("59.0 (49.2–68.1)") == 3
    assert "…" not in text


def test_exit_codes(invoke, save, tmp_path):
    a, b, other = save(A, "a.json"), save(B, "b.json"), save(D, "d.json")
    assert invoke("compare", a, b).exit_code == 0
    nothing = invoke("compare", save(report(variant()), "s.json"), other)
    assert (nothing.exit_code, MARK in nothing.stdout) == (3, True)
    for arguments, code, text in (
        ([other], 2, "d contains one variant"),
        ([tmp_path / "no.json", a], 2, "cannot read"),
        ([a, b, "--format", "csv"], 2, "neither table nor json"),
        ([a, b, "--csv", a], 2, "would overwrite an input file"),
        ([a, b, "--latex", tmp_path], 2, "--latex"),
    ):
        result = invoke("compare", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), arguments
        assert text in result.stderr
    newer = tmp_path / "newer.json"
    newer.write_text(json.dumps({**json.loads(A.to_json()), "schema_version": 2}))
    assert invoke("compare", a, newer).exit_code == 3
    assert not list(tmp_path.glob("out*"))


def test_damaged_outcomes_are_an_input_error_that_names_the_report(invoke, save):
    broken = variant()
    broken = replaced(broken, outcomes=replaced(broken.outcomes, clean_correct="AAAA"))
    good, bad = save(report(variant()), "good.json"), save(report(broken), "bad.json")
    for paths in ((good, bad), (good, bad, good)):
        result = invoke("compare", *paths)
        assert result.exit_code == 2
        assert "bad" in result.stderr
        assert "packed outcomes hold 3 bytes" in result.stderr


def test_reports_of_one_name_are_called_by_their_paths(invoke, save, tmp_path):
    (tmp_path / "other").mkdir()
    a = save(report(variant()), "r.json")
    b = tmp_path / "other" / "r.json"
    b.write_text(report(variant()).to_json())
    document = json.loads(invoke("compare", a, b, "--format", "json").stdout)
    assert [source["name"] for source in document["sources"]] == [str(a), str(b)]


def test_names_are_escaped_in_every_markup():
    hostile = r"a_b & 50% {x} \input{y} | <script> $#^~"
    result = compare([Named(hostile, A), Named("B", B)])
    tex = compare_latex(compare([Named(hostile, A), Named("B", B), Named("C", C)]))
    assert (
        r"a\_b \& 50\% \{x\} \textbackslash{}input\{y\} | $<$script$>$ \$\#\textasciicircum{}\textasciitilde{}" in tex
    )
    page = compare_markdown(result)
    assert r"a\_b & 50% {x} \\input{y} \| \<script\>" in page


def test_latex_is_a_balanced_booktabs_table():
    tex = compare_latex(compare(named(A, B, C, D)))
    assert [tex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    body = tex[tex.index(r"\toprule") : tex.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    columns = tex[tex.index("{tabular}{") + 10 :].partition("}")[0]
    assert {line.replace(r"\&", "").count("&") + 1 for line in lines} == {len(columns)}
    assert tex.count("{") == tex.count("}")
    assert tex.isascii()


def test_models_of_a_sweep_that_failed_are_rows_with_their_reason_in_every_format():
    failed = [FailedModel(name="net.py-make", model="net.py:make", reason="it rejects\n50 % of a_b & more")]
    board = leaderboard(named(A, B), failed=failed, unfinished=["x", "y"])
    laid = grid(board)
    assert laid.rows[-1][:3] == (MARK, "net.py-make", "")
    assert laid.rows[-1][-3] == "failed"
    assert len(laid.rows) - 1 in laid.marked
    assert f"{MARK} net.py-make (net.py:make): failed: it rejects\n50 % of a_b & more" in laid.notes
    assert "models of the sweep without a report so far: 2 (x, y)" in laid.notes
    table = list(csv.DictReader(io.StringIO(compare_csv(board))))
    assert {row["report"]: row["reason"] for row in table}["net.py-make"] == f"failed: {failed[0].reason}"
    assert [row["model"] for row in table][-1] == "net.py:make"
    assert r"rejects 50 \% of a\_b \& more" in flat(compare_latex(board))
    assert "net.py-make (net.py:make): failed" in flat(compare_markdown(board))
    assert json.loads(board.to_json())["failed"] == [failed[0].model_dump()]
    assert "failed" not in json.loads(leaderboard(named(A, B, C)).to_json())


@pytest.mark.parametrize("reports", [(), (D,)])
def test_a_leaderboard_of_fewer_than_two_reports_can_be_shown(reports):
    failed = [FailedModel(name="a", model="a", reason="broken")]
    board = leaderboard(named(*reports), failed=failed)
    assert not board.comparable
    assert len(grid(board).rows) == len(reports) + 1
    assert "a (a): failed: broken" in compare_markdown(board)

"""The leaderboard page's rankings: what is a threat model, how strong attacks are, and who is ranked with whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.comparison.document import Leaderboard
from stein_bench.comparison.leaderboard import Named, leaderboard
from stein_bench.comparison.remarks import MASKING, remarks
from stein_bench.comparison.standings import sections
from stein_bench.comparison.threats import PARTS, STRENGTHS, Threat, strength, threats
from stein_bench.diagnostics import consistency, gradients, probes
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.report.results import ExpectedAccuracy, WeightsInfo
from tests.reports import PGD, attack, bits, diagnostic, doubtful, pack_bits, replaced, report, variant

WHOLE = {"steps": 100, "queries": 5000}
HALF = 4 / 255


def one(name, eps=8 / 255, norm="Linf", **params):
    label = f"{name}:norm={norm},eps={eps!r}" + "".join(f",{key}={value}" for key, value in params.items())
    return attack(name, bits(0), eps=eps, norm=norm, params=params, label=label)


def broken(attacks, clean=10, **changes):
    """A report of one variant on which each attack leaves some of 100 samples wrong."""
    found = {}
    for made, wrong in attacks:
        value = (100 - wrong) / 100
        found[made.label] = replaced(made, robust_accuracy=value)
    kept = {made.label: pack_bits(bits(wrong)) for made, wrong in attacks}
    fields = {
        key: changes.pop(key) for key in ("number", "seed", "data", "diagnostics", "model", "preset") if key in changes
    }
    made = variant(clean=bits(clean), attacks=found, **changes)
    return report(replaced(made, outcomes=replaced(made.outcomes, robust=kept)), **fields)


def named(*reports):
    return [Named(name, one) for name, one in zip("ABCDEFGH", reports, strict=False)]


def ranks(track, section):
    """Return (ranking, rank) by report."""
    return {
        entry.source: (standing.ranking, standing.rank)
        for entry, standing in zip(section.entries, track.standings, strict=True)
    }


def test_threat_models_are_those_of_the_attacks_white_box_ones_first():
    attacks = [one("transfer.pgd"), one("square"), one("apgd-ce", 0.5, "L2"), one("pgd"), one("fgsm"), one("pgd", HALF)]
    assert [threat.title for threat in threats(attacks)] == [
        "Linf 4/255", "Linf 8/255", "L2 0.5", "Linf 8/255, queries", "Linf 8/255, transfer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("threat", "here", "within"),
    [
        (Threat("Linf", 8 / 255, "white-box"), ["transfer.pgd", "square", "pgd", "mine"], 5),
        (Threat("Linf", 8 / 255, "queries"), ["square"], 1),
        (Threat("Linf", 8 / 255, "transfer"), ["transfer.pgd"], 1),
        (Threat("Linf", 8 / 255 * (1 + 1e-9), "queries"), ["square"], 1),
        (Threat("L2", 0.500001, "white-box"), ["pgd"], 1),
    ],
)
def test_an_attacker_that_knows_everything_can_make_every_attack_and_a_small_ball_is_in_a_large_one(
    threat, here, within
):
    attacks = [one("transfer.pgd"), one("square"), one("pgd"), one("pgd", HALF), one("mine"), one("pgd", 0.5, "L2")]
    assert [found.name for found in threat.here(attacks)] == here
    assert len(threat.within(attacks)) == within


@pytest.mark.parametrize(
    ("attacks", "random", "expected"),
    [
        ([one("autoattack", **WHOLE)], False, "autoattack"),
        ([one("strongest-ensemble", **WHOLE), one("fgsm")], False, "autoattack"),
        ([one(name, **effort) for name, effort in PARTS.items()], False, "autoattack"),
        ([one(name, **effort) for name, effort in PARTS.items() if name != "square"], False, "iterated"),
        ([one("autoattack", steps=10, queries=5000)], False, "ensemble"),
        ([one("autoattack", steps=100, queries=500)], False, "ensemble"),
        ([one("torchattacks.AutoAttack")], False, "ensemble"),
        ([one("fast-ensemble", **WHOLE)], False, "ensemble"),
        ([one("adaptive", **WHOLE), one("fgsm")], False, "ensemble"),
        ([one("autoattack", **WHOLE)], True, "ensemble"),
        ([one("apgd-ce", eot=20), one("apgd-dlr", eot=20)], True, "autoattack"),
        ([one("apgd-ce", eot=20), one("apgd-dlr", eot=1)], True, "iterated"),
        ([one("fgsm"), one("pgd", steps=10)], False, "iterated"),
        ([one("fgsm"), one("square", queries=5000)], False, "one-step"),
        ([one("mine.py:wiggle")], False, "own"),
        ([one("square", queries=5000)], False, "queries"),
        ([one("transfer.pgd", steps=10)], False, "transfer"),
    ],
)
def test_how_strong_attacks_are(attacks, random, expected):
    assert strength(attacks, random) == expected
    assert expected in STRENGTHS


def test_a_row_that_got_weaker_attacks_is_below_and_in_another_ranking():
    strong = [broken([(one("autoattack", **WHOLE), wrong)], number=i) for i, wrong in enumerate((60, 40))]
    weak = [broken([(one("pgd", steps=10), wrong)], number=2 + i) for i, wrong in enumerate((20, 15))]
    (section,) = sections(named(weak[0], strong[0], weak[1], strong[1]))
    assert section.tracks[section.main].threat == Threat("Linf", 8 / 255, "white-box")
    assert ranks(section.tracks[1], section) == {"D": (0, 1), "B": (0, 2), "C": (1, 1), "A": (1, 2)}
    assert [section.entries[i].source for i in section.order()] == ["D", "B", "C", "A"]


def test_with_other_parameters_an_attack_is_another_one_unless_autoattack_is_complete():
    made = [
        broken([(one("pgd", steps=10), 30)]),
        broken([(one("pgd", steps=50), 50)]),
        broken([(one("autoattack", **WHOLE), 60)]),
        broken([(one("autoattack", **WHOLE), 55), (one("pgd", steps=10), 58)]),
    ]
    (section,) = sections(named(*made))
    assert ranks(section.tracks[1], section) == {"D": (0, 1), "C": (0, 2), "A": (1, None), "B": (2, None)}
    assert section.tracks[1].standings[3].figure.value == pytest.approx(0.42)  # both attacks together


@pytest.mark.parametrize(
    "changes",
    [
        {"stats": "batch"},
        {"ids": "others"},
        {"preset": "published"},
    ],
)
def test_rows_that_cannot_be_paired_are_in_rankings_of_their_own(changes):
    (section,) = sections(
        named(*(broken([(one("pgd"), 30 + i)]) for i in range(2)), broken([(one("pgd"), 20)], **changes))
    )
    assert [ranking.rows for ranking in section.tracks[0].rankings] == [2, 1]
    assert ranks(section.tracks[1], section)["C"] == (1, None)


def test_other_data_is_another_section():
    found = sections(named(broken([(one("pgd"), 30)], data="e"), *(broken([(one("pgd"), 30 + i)]) for i in range(2))))
    assert [[entry.source for entry in section.entries] for section in found] == [["B", "C"], ["A"]]


def test_equal_figures_share_a_rank_and_a_paired_test_says_who_is_apart_from_the_first():
    (section,) = sections(named(*(broken([(one("pgd"), wrong)]) for wrong in (20, 20, 21, 50))))
    assert ranks(section.tracks[1], section) == {"A": (0, 1), "B": (0, 1), "C": (0, 3), "D": (0, 4)}
    assert [standing.apart for standing in section.tracks[1].standings] == [True, False, False, True]


def test_of_reports_with_the_same_attacks_the_ranking_is_that_of_the_terminal():
    made = named(*(broken([(one("pgd"), wrong), (one("fgsm"), 12)], number=wrong % 9) for wrong in (40, 20, 20, 33)))
    board = leaderboard(made)
    assert isinstance(board, Leaderboard)
    (section,) = sections(made)
    figures = {
        entry.source: standing.figure
        for entry, standing in zip(section.entries, section.tracks[1].standings, strict=True)
    }
    assert ranks(section.tracks[1], section) == {row.source: (0, row.rank) for row in board.rows}
    assert figures == {row.source: row.worst_case for row in board.rows}
    assert [section.entries[i].source for i in section.order()] == [row.source for row in board.rows]


def test_results_that_do_not_count_have_a_reason_instead_of_a_figure():
    failed = attack(PGD, params={"steps": 10})
    bad = report(variant(attacks={"pgd": failed}))
    invalid = report(doubtful(variant()))
    outputs = variant()
    outputs = report(replaced(outputs, clean=replaced(outputs.clean, nonfinite_outputs=3)))
    (section,) = sections(named(bad, invalid, outputs))
    told = [standing.problem for standing in section.tracks[1].standings]
    assert told == [
        "pgd 8/255: failed: RuntimeError: no memory", "pgd 8/255: invalid: 2 inputs are outside",
        "3 clean outputs are not finite",
    ]  # fmt: skip
    assert [standing.figure for standing in section.tracks[1].standings] == [None] * 3
    assert section.main == 0


def test_a_report_without_attacks_is_ranked_by_clean_accuracy_alone():
    (section,) = sections(named(*(report(variant(clean=bits(wrong), attacks={})) for wrong in (20, 10))))
    assert (section.main, len(section.tracks)) == (0, 1)
    assert ranks(section.tracks[0], section) == {"A": (0, 2), "B": (0, 1)}


def told(*reports):
    (section,) = sections(named(*reports))
    return [[(remark.kind, remark.text) for remark in found] for found in remarks(section.entries)]


@pytest.mark.parametrize(
    ("made", "kind", "text"),
    [
        (report(doubtful(variant())), "fail", "pgd 8/255: invalid: 2 inputs are outside"),
        (
            report(variant(), diagnostics=[diagnostic(name="probe-white-box-vs-noise", variant="sample/running")]),
            "fail",
            "gradients may be masked, robust accuracy may be far lower: probe-white-box-vs-noise failed",
        ),
        (
            report(variant(), diagnostics=[diagnostic(name="clean-accuracy", variant="sample/running")]),
            "fail",
            "clean accuracy has collapsed: robust accuracies are meaningless",
        ),
        (report(variant(), diagnostics=[diagnostic(name="repeatable", variant=None)]), "fail", "failed: repeatable"),
        (
            report(variant(), diagnostics=[diagnostic(name="same-in-another-batch", variant="sample/running")]),
            "fail",
            "failed: same-in-another-batch",
        ),
        (
            report(variant(stats="batch"), diagnostics=[diagnostic(name="batch-dependence", variant="sample/batch")]),
            "warn",
            "verdicts hold only for these exact batches",
        ),
        (
            report(variant(function_preserved=True)),
            "warn",
            "computes the original network's function by construction: not a result",
        ),
        (report(variant(weights=WeightsInfo(kind="none", sha256=None))), "warn", "untrained"),
        (report(variant(), preset="published"), "note", "preset published: no paired tests"),
    ],
)
def test_what_must_be_known_of_a_row(made, kind, text):
    ((remark,),) = told(made)
    assert remark == (kind, text)


def test_nothing_is_said_of_other_variants_failed_checks_and_of_warnings():
    others = [diagnostic(name="repeatable", variant="stein/running"), diagnostic("warn", name="repeatable")]
    assert told(report(variant(), diagnostics=others)) == [[]]


def test_random_models_and_attack_networks_are_told():
    mean = ExpectedAccuracy(value=0.9, ci95=(0.8, 0.95), draws=10)
    one_ = variant()
    made = report(replaced(one_, clean=replaced(one_.clean, expected_accuracy=mean)))
    network = AttackNetworkInfo(compile=True, precision="bf16", memory_format="contiguous")
    made = replaced(made, run=replaced(made.run, attack_network=network))
    assert told(made) == [[
        ("warn", "attacks ran on another network: bf16, compiled"),
        ("note", "random model: a sample counts as right if more than half of its draws are"),
    ]]  # fmt: skip


def test_seeds_of_one_experiment_are_counted_and_a_run_that_is_there_twice_is_told():
    seeds = [report(variant(), seed=seed, number=seed) for seed in (1, 2, 3)]
    assert told(*seeds, seeds[0])[1:3] == [[("note", "seed 2, one of 3")], [("note", "seed 3, one of 3")]]
    assert told(*seeds, seeds[0])[0] == [("note", "seed 1, one of 3"), ("warn", "this run is listed more than once")]
    assert told(report(variant(), model="a"), report(variant(), model="b", seed=1, number=1)) == [[], []]


def test_the_checks_that_tell_of_masked_gradients_exist():
    source = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in (consistency, gradients, probes))
    assert all(f'"{name}"' in source for name in MASKING)

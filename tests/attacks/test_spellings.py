"""Names, parameters and norms as people type them, and the attack that each becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.batteries import battery_names, find_battery
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.spellings import ALIASES, SEVERAL, STEPPED, meaning
from stein_bench.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"

SPELLINGS = [
    ("linf-pgd", "pgd:norm=Linf"),
    ("l2-pgd", "pgd:norm=L2"),
    ("pgd-linf", "pgd:norm=Linf"),
    ("pgd-inf", "pgd:norm=Linf"),
    ("L∞-PGD", "pgd:norm=Linf"),
    ("PGD_L2", "pgd:norm=L2"),
    ("pgdl2", "pgd:norm=L2"),
    ("L2PGDAttack", "pgd:norm=L2"),
    ("PGD20", "pgd:steps=20"),
    ("PGD-20", "pgd:steps=20"),
    ("pgd_20", "pgd:steps=20"),
    ("L2-PGD-100", "pgd:norm=L2,steps=100"),
    ("PGD-L2-100", "pgd:norm=L2,steps=100"),
    ("PGD20:steps=20", "pgd:steps=20"),
    ("l2-pgd:norm=2,eps=0.5", "pgd:norm=L2,eps=0.5"),
    ("LinfProjectedGradientDescentAttack", "pgd:norm=Linf"),
    ("SegPGD-5", "segpgd:steps=5"),
    ("FGSM", "fgsm"),
    ("fast-gradient-sign-method", "fgsm"),
    ("mi-fgsm", "mifgsm"),
    ("MIM", "mifgsm"),
    ("LinfMomentumIterativeAttack", "mifgsm:norm=Linf"),
    ("MI-FGSM-20", "mifgsm:steps=20"),
    ("AA", "autoattack"),
    ("auto-attack", "autoattack"),
    ("AutoAttack", "autoattack"),
    ("aa-l2", "autoattack:norm=L2"),
    ("apgdce", "apgd-ce"),
    ("apgd_t", "apgd-t"),
    ("apgd-ce-l2", "apgd-ce:norm=L2"),
    ("FAB", "fab"),
    ("fab_t", "fab-t"),
    ("fab-targeted", "fab-t"),
    ("square-attack", "square"),
    ("Square:n_queries=10", "square:queries=10"),
    ("RayS", "rays"),
    ("HopSkipJumpAttack", "hopskipjump"),
    ("HSJ", "hopskipjump"),
    ("hopskipjump-l2", "hopskipjump:norm=L2"),
    ("NES", "nes"),
    ("SPSA:nb_sample=64", "spsa:samples=64"),
    ("bim", "torchattacks.BIM"),
    ("BIM10", "torchattacks.BIM:steps=10"),
    ("i-fgsm", "torchattacks.BIM"),
    ("ifgsm", "torchattacks.BIM"),
    ("CW", "cw"),
    ("c&w", "cw"),
    ("Carlini", "cw"),
    ("CarliniWagnerL2Attack", "cw:norm=L2"),
    ("DeepFool", "deepfool"),
    ("L2DeepFoolAttack", "deepfool"),
    ("LinfDeepFoolAttack", "deepfool:norm=Linf"),
    ("torchattacks.deepfool", "torchattacks.DeepFool"),
    ("torchattacks.cw", "torchattacks.CW"),
    ("DDNAttack", "ddn"),
    ("L2FMNAttack", "fmn:norm=L2"),
    ("fast-minimum-norm", "fmn"),
    ("one-pixel", "torchattacks.OnePixel"),
    ("eotpgd", "torchattacks.EOTPGD"),
    ("eadl1", "torchattacks.EADL1"),
    ("pgdrsl2", "torchattacks.PGDRSL2"),
    ("torchattacks.pgd_l2", "torchattacks.PGDL2"),
    ("torchattacks.pgd20", "torchattacks.PGD:steps=20"),
    ("torchattacks.apgd", "torchattacks.APGD"),
    ("transfer.mi-fgsm", "transfer.mifgsm"),
    ("transfer-pgd-20", "transfer.pgd:steps=20"),
    ("transfer.DI-FGSM", "transfer.torchattacks.DIFGSM"),
    ("gaussian", "noise-gaussian"),
    ("gaussian-noise:std=0.1", "noise-gaussian:std=0.1"),
    ("salt-and-pepper", "noise-salt-and-pepper"),
    ("pgd:EPS=4/255,Steps=3", "pgd:eps=4/255,steps=3"),
    ("pgd:epsilon=0.5/255", "pgd:eps=1/510"),
    ("pgd:norm=∞", "pgd:norm=Linf"),
    ("pgd:norm=l_inf", "pgd:norm=Linf"),
    ("pgd:Norm=L_2", "pgd:norm=L2"),
    *(
        (f"pgd:{name}=7", "pgd:steps=7")
        for name in ("iters", "iterations", "n_iter", "nb_iter", "num_steps", "max_iter")
    ),
    *((f"pgd:{name}=1/255", "pgd:alpha=1/255") for name in ("step_size", "stepsize", "eps_iter", "eps_step")),
    ("pgd:nb_restarts=2", "pgd:restarts=2"),
    ("pgd:rand_init=false", "pgd:random_start=false"),
    ("PIFGSM:epsilon=4/255", "torchattacks.PIFGSM:max_epsilon=4/255"),
    ("VMIFGSM:n=3", "torchattacks.VMIFGSM:N=3"),
    ("torchattacks.SPSA:nb_iter=3", "torchattacks.SPSA:nb_iter=3"),  # its own name, no synonym of steps
    ("torchattacks.Square:n_queries=10", "torchattacks.Square:n_queries=10"),
]


@pytest.mark.parametrize(("typed", "full"), SPELLINGS)
def test_a_spelling_is_the_attack_of_its_full_name_with_the_same_identity(typed: str, full: str) -> None:
    attack = resolve_attack(typed)
    assert attack.label == resolve_attack(full).label
    assert attack.name == full.partition(":")[0]


def test_the_label_of_a_shorthand_word_for_word() -> None:
    assert resolve_attack("L2-PGD20:epsilon=1/2").label == (
        "pgd:norm=L2,eps=0.5,steps=20,alpha=0.0625,random_start=true,restarts=1"
    )


@pytest.mark.parametrize("name", [name for name, info in CATALOG.items() if not info.unavailable])
def test_every_name_of_the_catalog_means_itself_in_any_case_and_without_separators(name: str) -> None:
    squashed = name.replace("-", "").replace("_", "")
    if name == "gaussian_noise":
        assert meaning(squashed).info.name == "noise-gaussian"  # which it meant first
        squashed = name
    for spelling in (name, name.upper(), squashed, name.replace("-", "_")):
        assert meaning(spelling).info.name == name
        assert not meaning(spelling).params


def test_every_alias_is_new_and_names_something_of_the_catalog() -> None:
    assert (
        set(ALIASES.values()) | set(STEPPED) | {name for names in SEVERAL.values() for name in names} <= CATALOG.keys()
    )
    assert not {*ALIASES, *SEVERAL} & CATALOG.keys()
    assert not ALIASES.keys() & SEVERAL.keys()
    assert all("steps" in resolve_attack(name).params for name in STEPPED)


@pytest.mark.parametrize(
    ("typed", "note"),
    [
        ("PGD20", "attack PGD20: taken as pgd:steps=20"),
        ("linf-pgd:eps=4/255", "attack linf-pgd: taken as pgd:norm=Linf"),
        ("carlini:iters=5", "attack carlini: taken as cw, iters as steps"),
        ("pgd:epsilon=4/255,nb_iter=3", "attack pgd: epsilon taken as eps, nb_iter as steps"),
        ("pgd", ""),
        ("PGD:EPS=4/255,norm=2", ""),  # nothing but case, and a norm that the report shows
        ("torchattacks.deepfool", ""),
    ],
)
def test_a_note_says_what_a_shorthand_was_taken_as(typed: str, note: str) -> None:
    assert resolve_attack(typed).note == note


GAUSSIAN = "'noise-gaussian' or 'gaussian_blur' or 'gaussian_noise'"
LISTED = " See stein-bench list attacks."


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("apgd", f"unknown attack 'apgd'. Did you mean 'apgd-ce' or 'apgd-dlr' or 'apgd-t'?{LISTED}"),
        ("APGD-L2", f"unknown attack 'APGD-L2'. Did you mean 'apgd-ce' or 'apgd-dlr' or 'apgd-t'?{LISTED}"),
        ("apgd20", f"unknown attack 'apgd20'. Did you mean 'apgd-ce' or 'apgd-dlr' or 'apgd-t'?{LISTED}"),
        (
            "noise",
            "unknown attack 'noise'. Did you mean 'noise-gaussian' or 'noise-uniform' or 'noise-rademacher'?" + LISTED,
        ),
        ("ead", f"unknown attack 'ead'. Did you mean 'torchattacks.EADEN' or 'torchattacks.EADL1'?{LISTED}"),
        ("df", f"unknown attack 'df'. Did you mean 'deepfool'?{LISTED}"),
        ("trades", f"unknown attack 'trades'. Did you mean 'torchattacks.TPGD'?{LISTED}"),
        ("deepfol", f"unknown attack 'deepfol'. Did you mean 'deepfool'?{LISTED}"),
        ("pdg", f"unknown attack 'pdg'. Did you mean 'pgd'?{LISTED}"),
        ("CW20", f"unknown attack 'CW20'. Did you mean 'cw'?{LISTED}"),
        ("AA100", f"unknown attack 'AA100'. Did you mean 'autoattack'?{LISTED}"),
        (
            "gaussian20",
            f"unknown attack 'gaussian20'. Did you mean {GAUSSIAN}?{LISTED}",
        ),
        (
            "l2-gaussian",
            f"unknown attack 'l2-gaussian'. Did you mean {GAUSSIAN}?{LISTED}",
        ),
        ("zzz", f"unknown attack 'zzz'.{LISTED}"),
        ("Standard", "'Standard' is a battery, not an attack: give it with --battery standard."),
        ("jsma", "attack torchattacks.JSMA is not available: it takes minutes"),
        ("PGD20:steps=10", "'PGD20:steps=10' contradicts itself: its name says steps=20, its parameters steps=10."),
        ("PGD20:iters=10", "contradicts itself: its name says steps=20, its parameters steps=10."),
        ("l2-pgd:norm=inf", "'l2-pgd:norm=inf' contradicts itself: its name says norm=L2, its parameters norm=inf."),
        ("linf-cw", "norm of attack cw must be L2, not 'Linf'."),
        ("l2-fgsm", "norm of attack fgsm must be Linf, not 'L2'."),
        ("PGD0", "steps of attack pgd must be at least 1, not 0."),
        ("pgd:eps=0.5,epsilon=0.5", "gives 'eps' twice, as eps and as epsilon."),
        ("pgd:iters=3,steps=3", "gives 'steps' twice, as iters and as steps."),
        ("pgd:eps=0.5,EPS=0.5", "gives 'eps' twice, as eps and as EPS."),
        ("fgsm:iters=3", "unknown parameter of fgsm: 'iters'."),
        ("pgd:step=3", "unknown parameter of pgd: 'step'. Did you mean 'steps'?"),
        ("pgd:alpha=2", "alpha of attack pgd is 2, but pixels lie in [0, 1]. Did you mean 2/255?"),
    ],
)
def test_what_has_no_single_meaning_is_refused_in_one_line(typed: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_attack(typed)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_constants_of_torchattacks_with_whole_defaults_may_be_fractions() -> None:
    assert resolve_attack("torchattacks.CW:c=1e-2,kappa=0.5").params["c"] == 0.01
    with pytest.raises(UsageError, match=r"steps of attack torchattacks\.CW must be a whole number, not 2\.5"):
        resolve_attack("torchattacks.CW:steps=2.5")


def test_an_alpha_above_one_is_fine_in_l2() -> None:
    assert resolve_attack("pgd:norm=L2,alpha=2,eps=3").params["alpha"] == 2


@pytest.mark.parametrize("name", ["autoattack", "PGD"])
def test_an_attack_is_no_battery_and_the_message_says_where_it_goes(name: str) -> None:
    with pytest.raises(
        UsageError, match=f"^'{name}' is an attack, not a battery: give it with --attack {name.lower()}"
    ):
        find_battery(name)


def test_no_battery_has_the_name_of_an_attack() -> None:
    assert not {*battery_names()} & {*CATALOG, *ALIASES}


def test_two_spellings_of_one_attack_are_the_attack_twice() -> None:
    with pytest.raises(UsageError, match="'pgd:steps=20' is given twice"):
        resolve_attacks(["PGD20", "pgd:steps=20"])


def test_budgets_under_any_name_are_kept_from_a_list_of_budgets() -> None:
    specs = ["pgd:epsilon=1/255", "torchattacks.PIFGSM:max_epsilon=2/255", "fgsm"]
    assert [attack.eps for attack in resolve_attacks(specs, [3 / 255])] == [1 / 255, 2 / 255, 3 / 255]


@pytest.mark.parametrize(
    ("specs", "battery", "budgets"),
    [
        (["pgd"], [], ["L2 1.0"]),
        (["pgd:eps=0.5", "pgd:norm=Linf"], [], ["L2 0.5", "Linf 0.03137254901960784"]),
        (["linf-pgd", "mifgsm", "noise-gaussian"], [], ["Linf 0.03137254901960784", "L2 1.0", " 0.0"]),
        (["cw", "deepfool"], [], ["L2 1.0", "L2 1.0"]),
        (["transfer.pgd"], [], ["L2 1.0"]),
        ([], ["autoattack"], ["L2 1.0"]),
        (["pgd"], ["pgd:norm=Linf"], ["Linf 0.03137254901960784", "L2 1.0"]),
    ],
)
def test_a_norm_for_all_goes_to_the_attacks_that_name_none(
    specs: list[str], battery: list[str], budgets: list[str]
) -> None:
    attacks = resolve_attacks(specs, battery=battery, norm="L2")
    assert [f"{attack.norm} {attack.eps}" for attack in attacks] == budgets


@pytest.mark.parametrize(
    ("specs", "norm", "message"),
    [
        (
            ["pgd", "fgsm"],
            "L2",
            "--norm L2: attack fgsm is for Linf only. Leave the attack out, or name its norm, as in fgsm:norm=Linf.",
        ),
        (["cw"], "Linf", "--norm Linf: attack cw is for L2 only."),
        (["pgd"], "L0", "--norm L0: attack pgd is for Linf, L2 and L1 only."),
        (["transfer.fgsm"], "L2", "--norm L2: attack transfer.fgsm is for Linf only."),
        (
            ["l2-pgd", "noise-gaussian"],
            "L2",
            "--norm L2 has no effect: every attack names its norm or is a corruption. Leave it out.",
        ),
    ],
)
def test_a_norm_that_does_not_fit_or_changes_nothing_is_refused(specs: list[str], norm: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_attacks(specs, norm=norm)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_batteries_take_a_norm_where_all_their_attacks_have_it() -> None:
    (attack,) = resolve_attacks([], [0.5], battery=find_battery("standard").attacks, norm="L2")
    assert attack.label == "autoattack:norm=L2,eps=0.5,steps=100,queries=5000"
    with pytest.raises(UsageError, match="--norm L2: attack fgsm is for Linf only"):
        resolve_attacks([], battery=find_battery("quick").attacks, norm="L2")


@pytest.mark.parametrize("text", ["fog:3", "Fog: 1+3", "fog:severity=1+3", "fog:33"])
def test_the_severities_of_corruptions_are_spelled_out_among_attacks(text: str) -> None:
    with pytest.raises(UsageError, match=r"as fog:severity=3; several go to --corruption fog:1\+3\."):
        resolve_attacks([text])
    assert resolve_attack("fog:severity=3").label == "fog:severity=3"
    with pytest.raises(UsageError, match="'3' is not of the form key=value"):
        resolve_attacks(["pgd:3"])


def documented() -> list[tuple[str, str]]:
    """The rows of the table in docs/attacks.md, one for each spelling."""
    section = PAGE.read_text(encoding="utf-8").split("## Names and budgets people type", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`.+`) \| `(.+)` \|$", section, re.MULTILINE)
    return [(typed, full) for left, full in rows for typed in re.findall(r"`([^`]+)`", left)]


def test_every_row_of_the_documentation_holds() -> None:
    rows = documented()
    assert len(rows) > 30
    assert [typed for typed, full in rows if resolve_attack(typed).label != resolve_attack(full).label] == []

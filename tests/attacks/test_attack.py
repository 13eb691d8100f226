"""From spec to attack: defaults, budgets and the one line that each mistake gets."""

from __future__ import annotations

import pytest

from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.catalog import ITERATED, NATIVE, ONE_STEP
from stein_bench.errors import UsageError


def test_the_default_is_pgd_at_8_of_255_that_can_cross_its_ball() -> None:
    attack = resolve_attack("pgd")
    assert (attack.norm, attack.eps) == ("Linf", 8 / 255)
    assert attack.params == {
        "steps": 10,
        "alpha": pytest.approx(2.5 * 8 / 255 / 10),
        "random_start": True,
        "restarts": 1,
    }


@pytest.mark.parametrize(
    ("spec", "alpha"),
    [
        ("pgd:eps=4/255,steps=20", 2.5 * 4 / 255 / 20),
        ("pgd:alpha=1/255", 1 / 255),
        ("torchattacks.PGD:eps=1/255", 2.5 / 255 / 10),
        ("torchattacks.MIFGSM:eps=8/255,alpha=2/255", 2 / 255),
    ],
)
def test_alpha_follows_eps_and_steps_unless_given(spec: str, alpha: float) -> None:
    assert resolve_attack(spec).params["alpha"] == pytest.approx(alpha)


def test_budgets_of_a_curve_go_to_attacks_without_their_own() -> None:
    attacks = resolve_attacks(["pgd", "fgsm:eps=1/255"], [2 / 255, 4 / 255])
    assert [(attack.info.name, attack.eps) for attack in attacks] == [
        ("pgd", 2 / 255),
        ("pgd", 4 / 255),
        ("fgsm", 1 / 255),
    ]


def test_labels_tell_attacks_apart_that_differ_in_anything() -> None:
    labels = {resolve_attack(spec).label for spec in ("pgd", "pgd:steps=11", "pgd:norm=L2", "pgd:random_start=false")}
    assert len(labels) == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pdg", "unknown attack 'pdg'. Did you mean 'pgd'?"),
        ("zzz", "unknown attack 'zzz'. See stein-bench list attacks."),
        ("torchattacks.PDGL2", "Did you mean 'torchattacks.PGDL2'"),
        ("pgd:eps=0", "must be above 0"),
        ("pgd:eps=-1/255", "must be above 0"),
        ("pgd:eps=8/0", "divides by zero"),
        ("pgd:eps=8", "Did you mean 8/255?"),
        ("pgd:eps=1.01", "above 1"),
        ("pgd:eps=big", "must be a number"),
        ("pgd:eps=true", "must be a number"),
        ("pgd:step=3", "unknown parameter of pgd: 'step'. Did you mean 'steps'?"),
        ("pgd:steps=0", "must be at least 1"),
        ("pgd:steps=2.5", "must be a whole number"),
        ("pgd:alpha=0", "must be above 0"),
        ("pgd:random_start=1", "must be true or false"),
        ("pgd:norm=L7", "must be Linf, L2 or L1"),
        ("fgsm:norm=L2", "must be Linf"),
        ("torchattacks.BIM:stepz=3", "Did you mean 'steps'?"),
        ("torchattacks.Pixle:eps=1.5", "whole number"),
        ("torchattacks.BIM:steps=0", "must be at least 1"),
    ],
)
def test_each_mistake_gets_one_line(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_attack(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_eps_of_one_is_allowed_and_of_l2_may_be_larger() -> None:
    assert resolve_attack("pgd:eps=1").eps == 1
    assert resolve_attack("pgd:norm=l2,eps=3").norm == "L2"


def test_the_same_attack_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        resolve_attacks(["pgd", "pgd:eps=8/255"])


NEAREST = ("fab", "fab-t", "deepfool", "cw", "ddn", "fmn")
"""White-box attacks that look for the nearest adversarial input instead of maximizing the loss."""


def test_every_white_box_attack_is_known_as_one_step_or_iterated_or_looks_for_the_nearest_input():
    """Conclusion and checks rest on it: a single step alone is no evidence of robustness."""
    for info in NATIVE:
        if info.access == "white-box" and info.name != "adaptive":
            assert sum(info.name in names for names in (ONE_STEP, ITERATED, NEAREST)) == 1, info.name

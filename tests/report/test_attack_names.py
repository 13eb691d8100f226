"""Names of attacks for people: short, and apart from one another."""

from __future__ import annotations

from dataclasses import dataclass, field

from stein_bench.report.attack_names import distinctions, titles


@dataclass(frozen=True)
class Attack:
    label: str
    name: str = "pgd"
    norm: str = "Linf"
    eps: float = 8 / 255
    params: dict[str, bool | int | float | str] = field(default_factory=lambda: {"steps": 10})


def test_a_budget_tells_attacks_apart_and_parameters_where_it_does_not() -> None:
    attacks = [
        Attack("a"), Attack("b", eps=1 / 255), Attack("c", norm="L2", eps=0.5),
        Attack("d", params={"steps": 20}), Attack("e", name="torchattacks.PGD"),
    ]  # fmt: skip
    assert titles(attacks) == {
        "a": "pgd 8/255 steps=10", "b": "pgd 1/255", "c": "pgd L2 0.5", "d": "pgd 8/255 steps=20", "e": "PGD 8/255",
    }  # fmt: skip
    assert distinctions(attacks) == {"a": " steps=10", "b": "", "c": "", "d": " steps=20", "e": ""}


def test_attacks_that_nothing_else_tells_apart_have_their_labels() -> None:
    assert titles([Attack("a"), Attack("b")]) == {"a": "a", "b": "b"}

"""Batteries: YAML lists of attacks that come with the package, are shown in configs/, and can be anyone's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.batteries import FOLDER, battery_names, find_battery
from stein_bench.attacks.noise import NOISES
from stein_bench.config import make_config
from stein_bench.corruptions.names import STANDARD
from stein_bench.errors import UsageError

SHOWN = Path(__file__).parents[2] / "configs" / "batteries"


def test_the_files_in_configs_are_those_of_the_package() -> None:
    assert battery_names() == [
        "corruptions", "fast", "full", "published", "quick", "random", "segmentation", "standard", "strongest",
    ]  # fmt: skip
    assert {path.name: path.read_bytes() for path in SHOWN.iterdir()} == {
        path.name: path.read_bytes() for path in FOLDER.iterdir()
    }


@pytest.mark.parametrize("name", battery_names())
def test_every_battery_resolves_in_one_norm(name: str) -> None:
    battery = find_battery(name)
    attacks = resolve_attacks(battery.attacks)
    assert battery.summary
    norms = {attack.norm for attack in attacks if not attack.info.is_corruption}
    assert norms == (set() if name == "corruptions" else {"Linf"})
    # That of random models leaves out what needs more classes, see `with_battery_for_random`.
    assert all(attack.info.min_classes == 2 for attack in attacks if attack.info.name != "apgd-dlr" or name != "random")


def test_corruptions_are_the_standard_ones_at_all_severities() -> None:
    labels = [attack.label for attack in resolve_attacks(find_battery("corruptions").attacks)]
    assert labels == [f"{name}:severity={severity}" for name in STANDARD for severity in range(1, 6)]


def test_standard_is_autoattack_and_full_holds_it_and_every_noise() -> None:
    (attack,) = resolve_attacks(find_battery("standard").attacks)
    assert attack.info.name == "autoattack"
    assert attack.params == {"steps": 100, "queries": 5000}
    names = {attack.info.name for attack in resolve_attacks(find_battery("full").attacks)}
    assert {"autoattack", *NOISES} <= names


def test_random_averages_over_twenty_draws() -> None:
    attacks = resolve_attacks(find_battery("random").attacks)
    assert [(attack.name, attack.params["eot"]) for attack in attacks] == [
        ("apgd-ce", 20), ("apgd-dlr", 20), ("square", 20),
    ]  # fmt: skip
    assert attacks[0].params["steps"] == 100
    assert attacks[2].params["queries"] == 5000


def test_every_battery_supports_one_task_and_segmentation_its_own() -> None:
    served = {
        name: set.intersection(*(set(a.info.tasks) for a in resolve_attacks(find_battery(name).attacks)))
        for name in battery_names()
    }
    assert "segmentation" in served.pop("segmentation")
    assert all("classification" in tasks for tasks in served.values())


def test_published_has_the_parameters_of_the_papers_code() -> None:
    fgsm, pgd, *noise = resolve_attacks(find_battery("published").attacks, [8 / 255])
    assert (fgsm.eps, pgd.eps) == (0.03, 0.03)
    assert pgd.params == {"steps": 5, "alpha": pytest.approx(1 / 255), "random_start": True, "restarts": 1}
    assert [attack.params["std"] for attack in noise] == pytest.approx([s / 255 for s in (10, 25, 40, 50, 77)])


def test_a_file_is_a_battery_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("attacks: [fgsm, 'pgd:eps=1/255']\n")
    assert find_battery(str(file)).attacks == ("fgsm", "pgd:eps=1/255")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attacks: [", "not valid YAML"),
        ("- pgd", "expected a list of specs under the key 'attacks'"),
        ("attacks: pgd", "must be a list of specs"),
        ("attacks: []", "at least one"),
        ("attacks: [3]", "must be a list of specs"),
        ("attacks: [pgd]\nsumary: x", "Did you mean 'summary'?"),
    ],
)
def test_each_mistake_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_battery(str(file))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("standart", "Did you mean 'standard'?"), ("none.yaml", "cannot read the battery 'none.yaml'")],
)
def test_an_unknown_battery_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_battery(name)
    assert message in str(caught.value)


def test_a_battery_stands_in_for_the_default_attack_and_named_attacks_add_to_it() -> None:
    assert make_config({"model": "m"}).attack == ("pgd",)
    alone = make_config({"model": "m", "battery": "quick"})
    assert alone.attack == ()
    assert make_config({"model": "m", "battery": "quick", "attack": ["mifgsm"]}).attack == ("mifgsm",)
    assert make_config(alone.document()) == alone
    assert alone.sha256() != make_config({"model": "m"}).sha256()


def test_no_attack_twice_also_not_through_a_battery() -> None:
    with pytest.raises(UsageError, match="'pgd' is in the battery already"):
        resolve_attacks([resolve_attack("pgd").spec], battery=find_battery("quick").attacks)

"""The policy: its keys, its rules, and what is refused in a policy file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stein_bench.comparison.policy import KEYS, RULE_KEYS, Limits, Policy, Rule, Target, read_policy
from stein_bench.errors import UsageError

EXAMPLE = Path(__file__).parents[2] / "configs" / "gate.yaml"
CLEAN = Target("sample/running", "clean", "clean")
PGD = Target("stein/batch", "pgd:norm=Linf,eps=0.03137254901960784,steps=10", "pgd", 8 / 255)


def written(tmp_path, text):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    return path


def refusal(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_policy(path)
    assert str(caught.value).startswith(("unknown key", str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_the_example_explains_every_key_and_holds_the_defaults():
    text = EXAMPLE.read_text(encoding="utf-8")
    policy = read_policy(EXAMPLE)
    keys = set(yaml.safe_load(text))
    assert keys == set(KEYS)
    assert {key for rule in yaml.safe_load(text)["rules"] for key in rule} == set(RULE_KEYS)
    assert policy.model_copy(update={"rules": ()}) == Policy()
    for key in KEYS:
        before = text[: text.index(f"\n{key}:")].splitlines()[-1]
        assert before.startswith("#"), f"{key} is not explained"


def test_an_empty_policy_is_the_default(tmp_path):
    assert read_policy(written(tmp_path, "")) == Policy()
    assert read_policy(written(tmp_path, "rules:\n")) == Policy()


def test_underscores_and_fractions_are_accepted(tmp_path):
    policy = read_policy(written(tmp_path, "list_samples: 3\ntolerance: 1/200\nrules: [{eps: 8/255, minimum: 0.3}]"))
    assert (policy.list_samples, policy.tolerance, policy.rules[0].eps) == (3, 0.005, 8 / 255)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tolerence: 0.1", "Did you mean 'tolerance'?"),
        ("rules: [{minimun: 0.1}]", "Did you mean 'minimum'?"),
        ("rules: [{attack: pgd, minimum: 0.1}]", "Known: variant, accuracy, eps, tolerance, minimum, ignore."),
        ("tolerance: much", "tolerance: it is not a number: 'much'."),
        ("tolerance: 1/0", "tolerance: it divides by zero"),
        ("tolerance: yes", "tolerance: must be a number (got True)."),
        ("tolerance: 1", "1 lets an accuracy fall by all of its 100 points: write 0.01 for one point"),
        ("tolerance: 1.5", "tolerance: input should be less than or equal to 1 (got 1.5)."),
        ("alpha: 0", "alpha: input should be greater than 0 (got 0)."),
        ("alpha: 1", "alpha: input should be less than 1 (got 1)."),
        ("unproven: maybe", "unproven: input should be 'warn' or 'fail' (got 'maybe')."),
        ("diagnostics: maybe", "diagnostics: input should be 'ignore', 'warn' or 'fail' (got 'maybe')."),
        ("list-samples: -1", "list-samples: input should be greater than or equal to 0 (got -1)."),
        ("rules: 3", "rules: input should be a valid tuple (got 3)."),
        ("rules: [{variant: stein/*}]", "rules.1: has no effect: add a tolerance, a minimum or ignore: true."),
        ("rules: [{minimum: 0.1}, {minimum: -1}]", "rules.2.minimum: input should be greater than or equal to 0"),
        ("rules: [{minimum: .nan}]", "rules.1.minimum: input should be"),
        ("- 1", "expected option names with values, got a list."),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_refused_with_its_place(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the policy"):
        read_policy(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    ("rule", "targets"),
    [
        ({}, [CLEAN, PGD]),
        ({"variant": "sample/running"}, [CLEAN]),
        ({"variant": "*/batch"}, [PGD]),
        ({"accuracy": "clean"}, [CLEAN]),
        ({"accuracy": "pgd"}, [PGD]),
        ({"accuracy": "pgd:*steps=10"}, [PGD]),
        ({"accuracy": "pg"}, []),
        ({"accuracy": "[cp]*"}, []),
        ({"accuracy": "PGD"}, []),
        ({"eps": "8/255"}, [PGD]),
        ({"eps": 0.03}, []),
        ({"accuracy": "clean", "eps": "8/255"}, []),
    ],
)
def test_patterns(rule, targets):
    rule = Rule(tolerance=0.1, **rule)
    assert [target for target in (CLEAN, PGD) if rule.matches(target)] == targets


def test_patterns_tell_capitals_apart():
    target = Target("sample/running", "torchattacks.MIFGSM:norm=Linf,eps=0.1", "torchattacks.MIFGSM", 0.1)
    patterns = ["torchattacks.MIFGSM", "*.MI*", "torchattacks.mifgsm", "*mi*"]
    assert [Rule(accuracy=pattern, ignore=True).matches(target) for pattern in patterns] == [True, True, False, False]


def test_of_several_rules_the_last_that_says_something_counts():
    rules = (
        Rule(tolerance=0.1, minimum=0.2),
        Rule(accuracy="pgd", tolerance=0.3),
        Rule(accuracy="pgd", ignore=True),
        Rule(accuracy="clean", ignore=True),
        Rule(accuracy="clean", ignore=False, minimum=0.5),
    )
    policy = Policy(rules=rules)
    assert policy.limits(PGD) == Limits(0.3, 0.2, True)
    assert policy.limits(CLEAN) == Limits(0.1, 0.5, False)
    assert Policy().limits(CLEAN) == Limits(0.01, None, False)

"""The metadata of a model card: what huggingface_hub reads from it, what is left out, and what stays as it was."""

from __future__ import annotations

import pytest
import yaml

from stein_bench.errors import UsageError
from stein_bench.render.report.card import card_index, model_card
from tests import reports

MODEL = {"name": "timm:resnet18", "results": []}
CARD = """---
# who may use it
license: apache-2.0   # see LICENSE
model-index:
- name: other
  results:
  - task:
      type: image-classification
    dataset:
      type: x
      name: X
    metrics:
    - type: accuracy
      value: 0.5

# for the search
tags: [vision,  "robust"]
---
# A model

---
model-index: of the body
"""


def read(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_huggingface_reads_every_result_with_its_attack_and_interval(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.repocard_data import model_index_to_eval_results

    one = reports.variant("stein", attacks={"pgd": reports.bits(50)})
    one = reports.replaced(one, attacks=[reports.replaced(one.attacks[0], params={"steps": 10})])
    index = card_index([reports.report(one)])
    path = tmp_path / "README.md"
    path.write_text(model_card(None, index.models), encoding="utf-8")
    card = hub.ModelCard.load(path)
    name, results = model_index_to_eval_results(read(path.read_text(encoding="utf-8"))["model-index"])
    assert card.data.model_name == name == "timm:resnet18"
    assert card.data.eval_results == results
    clean, pgd = results
    assert (clean.task_type, clean.dataset_name, clean.dataset_split) == ("image-classification", "digits", "test")
    assert clean.dataset_args == {"samples": 100, "sha256": "d" * 64}
    assert (clean.metric_type, clean.metric_value) == ("accuracy", 0.9)
    assert clean.metric_name == "Clean accuracy, stein/running"
    assert pgd.metric_name == "Robust accuracy under PGD, Linf ε = 8/255, steps = 10, stein/running"
    assert pgd.metric_value == 0.5
    assert pgd.metric_args == {
        "outcome": one.attacks[0].label, "ci95": list(one.attacks[0].ci95), "samples": 100, "bn": "stein",
        "stats": "running", "weights_sha256": "a" * 64,
    }  # fmt: skip
    assert clean.verified is None


def test_reports_of_one_model_are_results_of_one_entry():
    several = [reports.report(), reports.report(data="e"), reports.report(model="timm:vit")]
    assert [(entry["name"], len(entry["results"])) for entry in card_index(several).models] == [
        ("timm:resnet18", 2), ("timm:vit", 1),
    ]  # fmt: skip


def outcomes(index):
    return [m["args"]["outcome"] for entry in index.models for r in entry["results"] for m in r["metrics"]]


def test_a_failed_or_invalid_attack_and_the_worst_case_over_it_are_left_out():
    failed = reports.variant(attacks={"fgsm": reports.bits(40), "pgd": reports.attack("pgd")})
    for one in (failed, reports.doubtful(reports.variant())):
        index = card_index([reports.report(one)])
        assert outcomes(index) == ["clean", reports.label("fgsm")]
        attack, worst = (line.split(": ") for line in index.left_out)
        assert attack[1] in ("failed", "invalid")
        assert worst[0].endswith("running, worst-case")


def test_a_variant_with_a_failed_check_is_left_out_and_the_others_are_not():
    check = reports.diagnostic(name="clean-accuracy", variant="stein/running", message="it has collapsed")
    index = card_index([reports.report(reports.variant(), reports.variant("stein"), diagnostics=[check])])
    assert {m["args"]["bn"] for m in index.models[0]["results"][0]["metrics"]} == {"sample"}
    assert index.left_out == ("timm:resnet18, stein/running: check clean-accuracy failed: it has collapsed",)


def test_a_failed_check_of_an_attack_concerns_that_attack_and_the_worst_case():
    index = card_index([reports.report(diagnostics=[reports.diagnostic(attack="pgd")])])
    assert outcomes(index) == ["clean", reports.label("fgsm")]


def test_an_accuracy_that_contradicts_its_outcomes_is_left_out():
    one = reports.variant()
    attacks = [one.attacks[0], reports.replaced(one.attacks[1], robust_accuracy=0.99)]
    assert outcomes(card_index([reports.report(reports.replaced(one, attacks=attacks))])) == [
        "clean", reports.label("fgsm"),
    ]  # fmt: skip


def test_an_existing_card_keeps_every_other_character():
    text = model_card(CARD, [MODEL])
    before, after = CARD.split("model-index:\n")[0], CARD[CARD.index("\n# for the search") :]
    assert text.startswith(before)
    assert text.endswith(after)
    assert [entry["name"] for entry in read(text)["model-index"]] == ["other", "timm:resnet18"]
    assert read(text)["model-index"][0] == read(CARD)["model-index"][0]


def test_the_results_of_a_model_of_that_name_are_replaced():
    once = model_card(CARD, [{"name": "other", "results": [1]}])
    assert read(once)["model-index"] == [{"name": "other", "results": [1]}]
    assert model_card(once, [{"name": "other", "results": [1]}]) == once


def test_a_block_at_the_end_and_one_that_is_missing():
    assert model_card("---\na: 1 # one\n# end\n---\nbody", [MODEL]) == (
        "---\na: 1 # one\n# end\nmodel-index:\n- name: timm:resnet18\n  results: []\n---\nbody"
    )
    text = "---\na: 1\nmodel-index:\n  - name: x\n# end\n---\n"
    assert model_card(text, [{"name": "x", "b": 2}]) == "---\na: 1\nmodel-index:\n- name: x\n  b: 2\n# end\n---\n"


def test_a_file_without_front_matter_gets_one_at_its_top():
    block = "---\nmodel-index:\n- name: timm:resnet18\n  results: []\n---\n"
    assert model_card("# Title\n\n---\n", [MODEL]) == f"{block}# Title\n\n---\n"
    assert model_card(None, [MODEL]) == block
    assert model_card("---\n---\nbody", [MODEL]) == f"{block}body"


def test_line_ends_of_windows_and_a_byte_order_mark_stay():
    text = model_card("\ufeff---\r\na: 1\r\n---\r\nbody\r\n", [MODEL])
    assert text == "\ufeff---\r\na: 1\r\nmodel-index:\r\n- name: timm:resnet18\r\n  results: []\r\n---\r\nbody\r\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\na: [1\n---\n", "its front matter is not valid YAML: "),
        ("---\na: 1\n", "its front matter has no closing line of three hyphens."),
        ("---\n- a\n---\n", "its front matter is a list, not names with values."),
        ("---\n{a: 1}\n---\n", "its front matter does not have one key a line."),
        ("---\nmodel-index: yes\n---\n", "its model-index is not a list of models."),
        ("---\nmodel-index: []\nmodel-index: []\n---\n", "its front matter has model-index twice."),
        ("---\nmodel-index: &a\n- name: x\nb: *a\n---\n", "its front matter is not valid YAML: "),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text, reason):
    with pytest.raises(UsageError) as error:
        model_card(text, [MODEL])
    assert str(error.value).startswith(reason)


def test_the_command_writes_the_card_and_names_what_is_left_out(invoke, save, tmp_path):
    path = save(reports.report(reports.doubtful(reports.variant())))
    card = tmp_path / "README.md"
    card.write_text(CARD)
    result = invoke("report", path, "--model-card", card)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert [entry["name"] for entry in read(card.read_text())["model-index"]] == ["other", "timm:resnet18"]
    label = reports.label("pgd")
    assert result.stderr.splitlines()[0] == (
        f"stein-bench: left out of {card}: timm:resnet18, sample/running, {label}: invalid: 2 inputs are outside"
    )


def test_a_card_that_cannot_be_read_stays_as_it_is(invoke, save, tmp_path):
    card = tmp_path / "README.md"
    for content in (b"---\na: [1\n---\n", b"\xff"):
        card.write_bytes(content)
        result = invoke("report", save(reports.report()), "--model-card", card)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"stein-bench: --model-card {card}: it")
        assert card.read_bytes() == content


def test_without_a_result_that_can_be_trusted_nothing_is_written(invoke, save, tmp_path):
    result = invoke(
        "report", save(reports.report(diagnostics=[reports.diagnostic()])), "--model-card", tmp_path / "c.md"
    )
    assert result.exit_code == 3
    assert "no result can be trusted, so nothing was written." in result.stderr
    assert not (tmp_path / "c.md").exists()

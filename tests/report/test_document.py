"""The report: its schema, its way to disk and back, and what it says cannot be trusted."""

from __future__ import annotations

import json
import os
import stat

import pytest
from jsonschema import Draft202012Validator

from stein_bench.errors import UsageError
from stein_bench.files import write_text
from stein_bench.report.document import Report, read_report, report_schema

SCHEMA = report_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def document(report):
    return json.loads(report.to_json())


def change(content, path, value):
    """Set the value at a dotted path; numbers index lists."""
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        content = content[key]
    content[last] = value


def refusal(path):
    with pytest.raises(UsageError) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_schema_is_valid_and_says_its_draft():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_reports_satisfy_the_schema(report, make_report, make_variant, make_attack, make_failed):
    failing = make_variant(attacks=[make_attack(), make_failed(), make_attack("x", status="invalid", invalid=2)])
    for one in (report, make_report(), make_report([failing], [])):
        assert [error.message for error in VALIDATOR.iter_errors(document(one))] == []


CHANGES = [
    ("schema_version", 2),
    ("schema_version", "1"),
    ("surprise", 1),
    ("run.surprise", 1),
    ("run.config_sha256", "abc"),
    ("run.environment.precision", "fp16"),
    ("model.parameters", "many"),
    ("data.shape", "3x32x32"),
    ("variants", {}),
    ("variants.0.stats", "train"),
    ("variants.0.clean.accuracy", 1.5),
    ("variants.0.clean.ci95", [0.5]),
    ("variants.0.clean.ci95", [-0.1, 0.5]),
    ("variants.0.attacks.0.status", "fine"),
    ("variants.0.attacks.0.norm", "L7"),
    ("variants.0.attacks.0.robust_accuracy", -0.1),
    ("variants.0.attacks.0.message", None),
    ("variants.0.outcomes.sample_ids_sha256", "A" * 64),
    ("diagnostics.0.status", "unsure"),
]


@pytest.mark.parametrize(("path", "value"), CHANGES)
def test_what_the_schema_refuses_is_refused_on_reading_with_the_place_at_fault(tmp_path, report, path, value):
    content = document(report)
    change(content, path, value)
    assert list(VALIDATOR.iter_errors(content))
    file = tmp_path / "r.json"
    file.write_text(json.dumps(content))
    assert f"is not a report: {path}" in refusal(file)


def test_no_key_but_that_of_the_examples_may_be_missing(tmp_path, report):
    for key in document(report).keys() - {"adversarials"}:
        content = document(report)
        del content[key]
        assert list(VALIDATOR.iter_errors(content))
        file = tmp_path / "r.json"
        file.write_text(json.dumps(content))
        assert f"is not a report: {key}: Field required." in refusal(file)


def test_the_schema_version_is_the_first_key(report):
    assert next(iter(document(report))) == "schema_version"
    assert list(SCHEMA["properties"])[:4] == ["schema_version", "run", "model", "data"]


def test_a_report_read_back_is_the_report_and_is_written_the_same(tmp_path, report):
    file = tmp_path / "r.json"
    write_text(file, report.to_json())
    assert read_report(file) == report
    assert read_report(file).to_json() == file.read_text(encoding="utf-8")


def test_numbers_survive_the_way_to_disk_bit_for_bit(make_report, make_variant, make_attack):
    odd = 0.1 + 0.2
    report = make_report([make_variant(attacks=[make_attack(eps=odd, params={"a": 1, "b": 1.0, "c": True})])])
    attack = Report.model_validate(document(report)).variants[0].attacks[0]
    assert attack.eps == odd
    assert [type(value) for value in attack.params.values()] == [int, float, bool]


def test_a_newer_report_is_refused_by_its_version_before_anything_else(tmp_path, report):
    content = {**document(report), "schema_version": 2, "new_key": []}
    del content["diagnostics"]
    file = tmp_path / "r.json"
    file.write_text(json.dumps(content))
    assert refusal(file).endswith("schema_version: this version of stein-bench reads schema_version 1, not 2.")


@pytest.mark.parametrize("text", ["", "stein", '{"schema_version": 1', "{'a': 1}", "\xff"])
def test_a_file_that_is_not_json_is_refused(tmp_path, text):
    file = tmp_path / "r.json"
    file.write_text(text)
    assert refusal(file) == f"{file} is not JSON."


def test_bytes_that_are_no_text_are_not_json(tmp_path):
    file = tmp_path / "r.json"
    file.write_bytes(b"\xff\xfe{}")
    assert refusal(file) == f"{file} is not JSON."


@pytest.mark.parametrize("text", ["[]", "5", "null", '"report"'])
def test_json_that_is_no_object_is_refused_as_a_whole(tmp_path, text):
    file = tmp_path / "r.json"
    file.write_text(text)
    assert "is not a report: the document: " in refusal(file)


def test_a_missing_report_or_a_folder_in_its_place_is_refused_with_its_name(tmp_path):
    assert "No such file or directory" in refusal(tmp_path / "none.json")
    assert "Is a directory" in refusal(tmp_path)


def test_writing_leaves_the_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "r.json"
    write_text(file, "one")
    write_text(str(file), "ε = 8/255\n")
    assert file.read_bytes() == "ε = 8/255\n".encode()
    assert os.listdir(tmp_path) == ["r.json"]


def test_an_error_in_the_middle_of_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    file = tmp_path / "r.json"
    write_text(file, "old")
    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(OSError, match="No space"):
        write_text(file, "new" * 100_000)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_an_error_at_the_rename_leaves_nothing_beside_the_target(tmp_path):
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "r.json", "text")
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_follow_the_umask_and_the_umask_stays(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "r.json", "text")
    finally:
        after = os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == mode
    assert after == mask


def test_an_honest_report_has_nothing_to_confess(report):
    assert report.dishonest() == []


def test_failed_and_invalid_attacks_and_outputs_that_are_not_finite_are_dishonest(
    make_report, make_variant, make_attack, make_failed
):
    odd = make_variant("stein", "batch", [make_attack("fgsm", status="invalid", invalid=2, message="2 of 10 are not")])
    infinite = odd.model_copy(update={"clean": odd.clean.model_copy(update={"nonfinite_outputs": 3})})
    fine = make_variant(attacks=[make_attack("apgd"), make_failed(message="RuntimeError: boom")])
    assert make_report([fine, infinite]).dishonest() == [
        "sample (running), torchattacks.FAB: failed: RuntimeError: boom",
        "stein (batch): 3 clean outputs are not finite",
        "stein (batch), fgsm: invalid: 2 of 10 are not",
    ]


def test_a_report_cannot_be_changed(report):
    with pytest.raises(ValueError, match="frozen"):
        report.run.seed = 1

"""`stein-bench gate` from end to end: exit codes, files, and the output for users, CI and GitHub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from stein_bench.comparison.gate import gate
from stein_bench.comparison.gate_result import Finding, GateResult
from stein_bench.comparison.policy import Policy
from stein_bench.render.comparison.gate_files import gate_annotations, gate_junit, gate_markdown
from tests.reports import FGSM, PGD, attack, bits, diagnostic, label, replaced, report, variant

BEFORE = report(variant(), variant("stein"))
NOW = report(
    variant(attacks={FGSM: bits(60), PGD: bits(53)}),
    variant("stein", attacks={FGSM: bits(20)}),
    diagnostics=[diagnostic(variant="stein/running")],
    number=1,
)


@pytest.fixture
def before(save):
    return save(BEFORE, "before.json")


def flat(text):
    return " ".join(text.split())


def one_line(result, code):
    """The error a user sees: exactly one line on stderr, nothing on stdout, no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("stein-bench: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_table_is_the_golden_one(invoke, save, before, is_golden):
    result = invoke("gate", save(NOW), "--baseline", before)
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    is_golden(result.stdout, "gate.txt")


def test_the_files_are_the_golden_ones(invoke, save, before, tmp_path, is_golden):
    paths = {name: tmp_path / f"gate.{name}" for name in ("junit", "json", "markdown")}
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    assert invoke("gate", save(NOW), "--baseline", before, *options).exit_code == 1
    is_golden(paths["junit"].read_text(), "gate.xml")
    is_golden(paths["json"].read_text(), "gate.json")
    is_golden(paths["markdown"].read_text(), "gate.md")


def test_a_report_passes_against_itself_and_shows_the_smallest_detectable_drop(invoke, before):
    result = invoke("gate", before, "--baseline", before)
    assert result.exit_code == 0
    assert result.stdout.startswith("Gate passed: no proven regression")
    # Eight tests: log2(160) = 7.3.
    assert "Smallest detectable drop: 8 points (8 tests of 100 samples, α = 0.05)." in flat(result.stdout)


def test_a_label_longer_than_a_line_is_folded_not_cut(invoke, save):
    """The two labels differ at their ends only."""
    labels = [f"{label(PGD)},alpha=0.00784313725490196,random_start=true,restarts={n}" for n in (1, 2)]
    now, before = (save(report(variant(attacks={name: bits(50)})), f"{n}.json") for n, name in enumerate(labels))
    text = invoke("gate", now, "--baseline", before).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in "".join(text.split()) for name in labels)


def test_both_statistics_sources_fit_80_columns(invoke, save):
    attacks = {"torchattacks.PIFGSMPP": bits(50, 2000), "torchattacks.AutoAttack": bits(100, 2000)}
    variants = [variant(bn, s, bits(0, 2000), attacks) for bn in ("james-stein", "x") for s in ("running", "batch")]
    path = save(report(*variants))
    text = invoke("gate", path, "--baseline", path).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "under batch statistics samples depend on each other" in flat(text)


def namesakes(*params):
    """A report with attacks of one name and budget."""
    labels = [f"pgd:norm=Linf,eps={8 / 255!r},number={i}" for i in range(len(params))]
    plain = variant(attacks={str(i): bits(30 + i) for i in range(len(params))})
    attacks = [
        replaced(a, name=PGD, label=name, params=values)
        for a, name, values in zip(plain.attacks, labels, params, strict=True)
    ]
    robust = dict(zip(labels, plain.outcomes.robust.values(), strict=True))
    return report(replaced(plain, attacks=attacks, outcomes=replaced(plain.outcomes, robust=robust)))


def test_attacks_of_one_name_are_told_apart_by_the_parameters_that_differ():
    one = namesakes({"steps": 10, "alpha": 0.1}, {"steps": 100, "alpha": 0.1})
    titles = {c.title for c in gate(one, one).comparisons}
    assert titles == {"clean", "worst case", "pgd 8/255 steps=10", "pgd 8/255 steps=100"}
    three = namesakes({"steps": 10}, {"steps": 10, "restarts": 2}, {"steps": 10, "restarts": 3})
    titles = {c.title for c in gate(three, three).comparisons} - {"clean", "worst case"}
    assert titles == {"pgd 8/255", "pgd 8/255 restarts=2", "pgd 8/255 restarts=3"}


def test_attacks_that_nothing_shown_tells_apart_are_called_by_their_labels_and_fit_80_columns(invoke, save):
    path = save(namesakes({}, {}))
    text = invoke("gate", path, "--baseline", path).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "number=1" in text
    assert "…" not in text


def test_the_p_of_a_gain_is_shown_beside_it(invoke, save, before):
    better = save(report(variant(attacks={FGSM: bits(20), PGD: bits(50)}), variant("stein")))
    (row,) = [line for line in invoke("gate", better, "--baseline", before).stdout.splitlines() if "improved" in line]
    assert row.split()[-2:] == ["<0.001", "improved"]


def test_many_unchanged_rows_are_counted(invoke, save):
    many = {f"a{i}": bits(30) for i in range(20)}
    before = save(report(variant(attacks=many)), "before.json")
    now = save(report(variant(attacks={**many, "a3": bits(60)})))
    text = invoke("gate", now, "--baseline", before).stdout
    assert "20 more accuracies are unchanged" in text
    assert "a3 8/255" in text
    assert "a4 8/255" not in text


def test_the_policy_decides(invoke, save, before, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("tolerance: 0.3\ndiagnostics: ignore\nrules: [{variant: stein/*, accuracy: pgd, ignore: true}]")
    assert invoke("gate", save(NOW), "--baseline", before, "--policy", policy).exit_code == 0


def test_a_missed_floor_fails(invoke, before, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: [{accuracy: worst-case, minimum: 0.51}]")
    result = invoke("gate", before, "--baseline", before, "--policy", policy)
    assert result.exit_code == 1
    assert "✗ stein/running, worst case: 50.00 %, below the minimum of 51 %" in flat(result.stdout)


def test_what_cannot_be_compared_exits_with_3_and_the_reason(invoke, save, before, tmp_path):
    other = save(report(data="e"))
    result = invoke("gate", other, "--baseline", before, "--json", tmp_path / "gate.json")
    assert result.exit_code == 3
    assert result.stdout.startswith("Gate refused: these reports cannot be compared honestly")
    assert "✗ other data: digits test with 100 samples (eeeeeeeeeeee)" in flat(result.stdout)
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "refused"


def test_a_dishonest_report_exits_with_3(invoke, save, before):
    result = invoke("gate", save(report(variant(attacks={PGD: attack(PGD)}))), "--baseline", before)
    assert result.exit_code == 3
    assert "the report: sample (running), pgd: failed: RuntimeError: no memory" in flat(result.stdout)


def test_another_schema_exits_with_3(invoke, save, before, tmp_path):
    document = {**json.loads(BEFORE.to_json()), "schema_version": 2}
    (tmp_path / "newer.json").write_text(json.dumps(document))
    for paths in ((tmp_path / "newer.json", before), (before, tmp_path / "newer.json")):
        assert "reads schema_version 1, not 2" in one_line(invoke("gate", paths[0], "--baseline", paths[1]), 3)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "1"}', '{"schema_version": 1}'])
def test_what_is_not_a_report_exits_with_2(invoke, before, tmp_path, text):
    (tmp_path / "no.json").write_text(text)
    assert "no.json" in one_line(invoke("gate", tmp_path / "no.json", "--baseline", before), 2)


def test_wrong_usage_exits_with_2(invoke, before, tmp_path):
    assert "cannot read" in one_line(invoke("gate", tmp_path / "none.json", "--baseline", before), 2)
    assert "--baseline" in one_line(invoke("gate", before), 2)
    assert "neither table nor json" in one_line(invoke("gate", before, "--baseline", before, "--format", "xml"), 2)
    assert "cannot read the policy" in one_line(invoke("gate", before, "--baseline", before, "--policy", "no"), 2)
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: [{accuracy: pdg, minimum: 0.1}]")
    assert "'pgd'" in one_line(invoke("gate", before, "--baseline", before, "--policy", policy), 2)


def test_outputs_that_would_destroy_something_or_cannot_be_written_are_refused_first(invoke, before, tmp_path):
    text = before.read_text()
    assert "would overwrite an input file" in one_line(
        invoke("gate", before, "--baseline", before, "--json", before), 2
    )
    assert before.read_text() == text
    for bad in (tmp_path, tmp_path / "none" / "x.xml"):
        assert "--junit" in one_line(invoke("gate", before, "--baseline", before, "--junit", bad), 2)
    same = ("--junit", tmp_path / "x", "--json", tmp_path / "x")
    assert "is also the file of --junit" in one_line(invoke("gate", before, "--baseline", before, *same), 2)


def test_json_is_alone_on_stdout(invoke, save, before):
    result = invoke("gate", save(NOW), "--baseline", before, "--format", "json", GITHUB_ACTIONS="true")
    assert GateResult.model_validate_json(result.stdout) == gate(NOW, BEFORE)
    assert result.stdout == gate(NOW, BEFORE).to_json()


def test_quiet_is_one_line(invoke, save, before):
    assert invoke("gate", before, "--baseline", before, "-q").stdout == "passed: no proven regression\n"
    failed = invoke("gate", save(NOW), "--baseline", before, "--quiet")
    assert failed.stdout == "failed: 2 regressions, 1 missing result\n"
    refused = invoke("gate", save(report(preset="published")), "--baseline", before, "--quiet")
    assert (refused.exit_code, refused.stdout) == (3, "refused: other preset: published, not none\n")


def test_github_gets_annotations_and_a_summary(invoke, save, before, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    result = invoke("gate", save(NOW), "--baseline", before, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    commands = result.stderr.splitlines()
    assert [re.match(r"::(\w+) title=stein-bench gate%3A (\w+)::", line).groups() for line in commands] == [
        ("error", "regression"), ("error", "regression"), ("error", "missing"), ("warning", "unproven"),
        ("warning", "diagnostic"),
    ]  # fmt: skip
    assert "40.0 %25, 60.0 %25 before" in commands[0]
    assert summary.read_text() == "before\n" + gate_markdown(gate(NOW, BEFORE))


def test_a_summary_that_cannot_be_written_is_not_a_failure(invoke, before, tmp_path):
    result = invoke("gate", before, "--baseline", before, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert result.exit_code == 0
    assert "cannot write the job summary" in result.stderr


def test_outside_github_there_are_no_annotations(invoke, save, before, tmp_path):
    result = invoke("gate", save(NOW), "--baseline", before, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert result.stderr == ""
    assert not (tmp_path / "summary.md").exists()


def hostile(text):
    finding = Finding(level="error", kind="missing", variant=text, accuracy=text, message=text)
    return gate(NOW, BEFORE).model_copy(update={"findings": (finding,)})


def test_names_are_escaped():
    """Names come from reports, and reports from elsewhere."""
    text = "<script>alert(1)</script> | `x`\n::error::y\x1b[0m]]>&%0A"
    root = ET.fromstring(gate_junit(hostile(text)))
    (failure,) = root.iter("failure")
    assert failure.get("message").startswith("<script>alert(1)</script> | `x`")
    assert "\x1b" not in gate_junit(hostile(text))
    page = gate_markdown(hostile(text))
    assert "<script>" not in page.replace("\\<", "")
    assert r"\<script\>alert(1)\</script\> \| \`x\` ::error::y" in page
    commands = gate_annotations(hostile(text))
    assert commands.count("\n") == 1
    assert "%0A::error::y" in commands
    assert commands.rstrip().endswith("&%250A")


def test_junit_counts_what_it_holds():
    root = ET.fromstring(gate_junit(gate(NOW, BEFORE, Policy(diagnostics="fail"))))
    (suite,) = root
    cases = list(suite)
    assert int(suite.get("tests")) == len(cases) == 8
    assert int(suite.get("failures")) == len(list(root.iter("failure"))) == 4
    assert (suite.get("errors"), {case.tag for case in cases}) == ("0", {"testcase"})
    refused = ET.fromstring(gate_junit(gate(report(data="e"), BEFORE)))
    assert [(e.get("type"), e.get("message")[:10]) for e in refused.iter("error")] == [("refused", "other data")]
    assert refused[0].get("errors") == "1"


def test_held_floors_are_test_cases():
    policy = Policy.model_validate({"rules": [{"accuracy": "clean", "minimum": 0.5}]})
    names = [case.get("name") for case in ET.fromstring(gate_junit(gate(BEFORE, BEFORE, policy))).iter("testcase")]
    assert names.count("clean is at least 50 %") == 2


def test_a_missed_floor_is_a_failure_and_not_a_passing_case():
    policy = Policy.model_validate({"rules": [{"accuracy": "clean", "minimum": 0.95}]})
    suite = ET.fromstring(gate_junit(gate(BEFORE, BEFORE, policy)))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("10", "2")
    assert not [case for case in suite if "at least" in case.get("name")]


def test_a_truncated_list_is_marked():
    worse = report(variant(attacks={FGSM: bits(60), PGD: bits(50)}), variant("stein"))
    for limit, expected in ((3, "samples 40, 41, 42, …"), (20, "58, 59")):
        page = gate_markdown(gate(worse, BEFORE, Policy(list_samples=limit)))
        (line,) = [line for line in page.splitlines() if line.startswith("- newly wrong in sample/running, fgsm")]
        assert line.endswith(expected)


def test_undetectable_drops_are_reported():
    few = {"batch-size": 50}
    batch_dependent, both = (
        report(variant(stats="batch"), config=few),
        report(variant(), variant(stats="batch"), config=few),
    )
    assert "No drop could have been significant (0 tests of 100 samples" in gate_markdown(
        gate(batch_dependent, batch_dependent)
    )
    page = gate_markdown(gate(both, both))
    assert "detectable drop: 7 points (4 tests of 100 samples, α = 0.05). Comparisons without p could not" in page
    assert "- under batch statistics samples depend on each other: p is from tests of whole batches" in page
    assert "depend on each other" not in gate_markdown(gate(report(variant()), report(variant())))


def test_it_imports_no_torch(save, before):
    """In a fresh interpreter, through the whole command."""
    script = (
        "import sys\n"
        "from stein_bench.cli.commands import app\n"
        "try:\n    app()\nexcept SystemExit as done:\n    code = done.code\n"
        "heavy = {'torch', 'torchvision', 'timm', 'torchattacks', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    arguments = ["gate", str(save(NOW)), "--baseline", str(before)]
    for call, code in ((arguments, 1), (["compare", "no.json"], 2), (["compare", str(before)], 0)):
        done = subprocess.run([sys.executable, "-c", script, *call], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.partition(":")[0]) == (code, "stein-bench" if code == 2 else "")


def test_labels_stay_whole_in_the_document():
    assert {c.accuracy for c in gate(BEFORE, BEFORE).comparisons} == {"clean", "worst-case", label(FGSM), label(PGD)}

"""Registered contrasts: where they are read and refused, what narrows them, and their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.errors import UsageError
from stein_bench.reproduction.contrasts import main_contrast, registered_results, sought
from stein_bench.reproduction.experiment import read_changed, read_experiment
from stein_bench.reproduction.replicates import paired_t
from stein_bench.reproduction.summary import Measured, rows

LINES = {
    "name": "name: mine", "preset": "preset: controlled", "summary": "summary: a test", "model": "model: m",
    "data": "data: digits", "bn": "bn: [sample, stein, ridge]",
    "parts": "parts: [{name: a, recipe: fit, attack: [fgsm, 'pgd:eps=4/255', noise-gaussian]}, "
    "{name: b, recipe: fit, attack: [noise-gaussian]}]",
}  # fmt: skip
CONTRASTS = """contrasts:
  - {bn: stein, stats: running, outcome: worst-case}
  - {bn: stein, stats: batch, outcome: "pgd:eps=4/255"}
  - {bn: ridge, stats: running, outcome: clean, part: b}
  - {bn: stein, kind: source, outcome: clean}"""


@pytest.fixture
def write(tmp_path: Path):
    """Write an experiment with these lines in place of those above; return its path."""

    def written(contrasts: str = CONTRASTS, **changes: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text("\n".join([*{**LINES, **changes}.values(), contrasts]))
        return path

    return written


def test_registered_contrasts_are_looked_up_in_the_names_of_reports(write) -> None:
    found = sought(read_experiment(write(), {}), "classification")
    assert [(one.part, one.bn, one.stats, one.reference, one.kind) for one in found] == [
        ("a", "stein", "running", "sample/running", "estimator"),
        ("a", "stein", "batch", "sample/batch", "estimator"),
        ("b", "ridge:0.001", "running", "sample/running", "estimator"),
        ("a", "stein", "batch", "stein/running", "source"),
    ]
    labels = [one.outcome for one in found]
    assert labels[0] == "worst-case"
    assert labels[1].startswith(f"pgd:norm=Linf,eps={4 / 255!r},")
    assert labels[2:] == ["clean", "clean"]


@pytest.mark.parametrize("spelled", ["pgd:eps=4/255", "pgd:eps=0.01568627450980392", "PGD:eps=4/255"])
def test_an_attack_is_found_in_every_spelling(write, spelled: str) -> None:
    path = write(f"contrasts: [{{bn: stein, outcome: '{spelled}'}}]")
    (found,) = sought(read_experiment(path, {}), "classification")
    assert found.outcome.startswith("pgd:")


def test_the_worst_case_of_one_attack_is_that_attack(write) -> None:
    parts = "parts: [{name: a, recipe: fit, attack: [fgsm, noise-gaussian]}, {name: b, recipe: fit, attack: [fgsm]}]"
    experiment = read_experiment(write("contrasts: [{bn: stein, outcome: worst-case}]", parts=parts), {})
    assert sought(experiment, "classification")[0].outcome.startswith("fgsm:")


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("{bn: stien, outcome: clean}", r"unknown estimator 'stien'.*'stein'"),
        ("{bn: lasso, outcome: clean}", r"contrast 1 \(lasso:0.001/running, clean\): lasso:0.001 is not among .*ridge"),
        ("{bn: sample, outcome: clean}", "sample is plain BN, the reference"),
        ("{bn: stein, kind: source, stats: running, outcome: clean}", "its stats is batch"),
        ("{bn: stein, outcome: clean, part: c}", r"there is no part 'c'; the parts are a, b"),
        ("{bn: stein, outcome: square}", r"part a has no such outcome. Name one of clean, worst-case, fgsm, pgd:eps"),
        ("{bn: stein, outcome: pdg}", r"mine.yaml: contrast 1 \(stein/running, pdg in a\): part a has no such"),
        ("{bn: stein, outcome: worst-case, part: b}", "part b has no such outcome"),
        ("{bn: stein}", r"contrasts.0.outcome: field required"),
        ("{bn: stein, outcome: clean, outcom: x}", r"contrasts.0.outcom: extra inputs are not permitted"),
        ("{bn: stein, outcome: clean}, {bn: stein, outcome: clean}", "is registered twice"),
        ("{bn: stein, stats: running, outcome: clean}, {bn: stein, outcome: clean}", "is registered twice"),
    ],
)
def test_what_the_experiment_does_not_have_is_refused_with_its_place(write, contrast: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_experiment(write(f"contrasts: [{contrast}]"), {})


def test_plain_bn_under_the_same_statistics_is_needed(write) -> None:
    with pytest.raises(UsageError, match="sample is not evaluated under batch statistics"):
        read_experiment(
            write(
                "contrasts: [{bn: stein, stats: batch, outcome: clean}]",
                preset="preset: published\nstats: published",
            ),
            {},
        )
    with pytest.raises(UsageError, match="sample is not among the experiment's BNs"):
        read_experiment(write(bn="bn: [stein, ridge]"), {})


def test_an_unknown_metric_is_refused_by_the_task(write) -> None:
    experiment = read_experiment(write("contrasts: [{bn: stein, outcome: clean, metric: auc}]"), {})
    assert sought(experiment, "binary")[0].metric == "auc"
    with pytest.raises(UsageError, match=r"unknown metric 'auc' for classification. Known: accuracy"):
        sought(experiment, "classification")


@pytest.mark.parametrize(
    ("contrasts", "attacks"),
    [
        ("{bn: stein, outcome: 'pgd:eps=4/255'}, {bn: stein, outcome: 'PGD:eps=4/255'}", "[fgsm, 'pgd:eps=4/255']"),
        ("{bn: stein, outcome: worst-case}, {bn: stein, outcome: fgsm}", "[fgsm, noise-gaussian]"),
    ],
)
def test_a_contrast_in_two_spellings_is_refused(write, contrasts: str, attacks: str) -> None:
    path = write(f"contrasts: [{contrasts}]", parts=f"parts: [{{name: a, recipe: fit, attack: {attacks}}}]")
    with pytest.raises(UsageError, match=r"contrast 2 .*is registered twice, the first time as contrast 1\."):
        read_experiment(path, {})


def test_a_worst_case_over_other_attacks_is_another_contrast(write) -> None:
    path = write("contrasts: [{bn: stein, outcome: worst-case}, {bn: stein, outcome: 'pgd:eps=4/255'}]")
    read = read_changed(path, {"attack": ("pgd:eps=4/255",)})
    assert [contrast.outcome for contrast in read.experiment.contrasts] == ["pgd:eps=4/255"]
    assert [contrast.outcome for contrast in read.left_out] == ["worst-case"]
    assert read.main_is_left_out
    same = read_changed(path, {"attack": ("PGD:eps=4/255", "fgsm", "noise-uniform")})
    assert same.left_out == ()


def test_a_corruption_at_all_severities_is_no_single_outcome(write) -> None:
    """``snow`` stands for five severities; taking the first silently would test that one."""
    parts = "parts: [{name: a, recipe: fit, attack: ['fog:severity=3', snow]}]"
    with pytest.raises(UsageError, match=r"Name one of clean, fog:severity=3, snow:severity=1, .*snow:severity=5\.$"):
        read_experiment(write("contrasts: [{bn: stein, outcome: snow}]", parts=parts), {})
    path = write("contrasts: [{bn: stein, outcome: 'snow:severity=2'}]", parts=parts)
    assert sought(read_experiment(path, {}), "classification")[0].outcome == "snow:severity=2"


@pytest.mark.parametrize(
    "option", ["seed: 5", "bn: sample", "data: digits", "model: x", "recipe: fit", "image_size: 8", "output: x.pt"]
)
def test_training_options_that_the_experiment_sets_are_refused(write, option: str) -> None:
    """With a seed of its own every network of a part would be the same, and count as many replicates."""
    parts = f"parts: [{{name: a, recipe: fit, train: {{epochs: 2, {option}}}, attack: [fgsm, 'pgd:eps=4/255']}}]"
    key = option.partition(":")[0]
    with pytest.raises(
        UsageError, match=rf"mine\.yaml: parts\.0\.train: {key} is not for train: the experiment sets it"
    ):
        read_experiment(write("", parts=parts), {})


@pytest.mark.parametrize(
    ("overrides", "left_out", "main"),
    [
        ({}, [], False),
        ({"bn": ("sample", "ridge")}, ["worst-case", "pgd:eps=4/255", "clean"], True),
        ({"bn": ("stein",)}, ["worst-case", "pgd:eps=4/255", "clean"], True),  # the source contrast stays
        ({"part": ("a",)}, ["clean"], False),
        ({"part": ("b",)}, ["worst-case", "pgd:eps=4/255", "clean"], True),
        ({"attack": ("fgsm",)}, ["worst-case", "pgd:eps=4/255"], True),  # it is another worst case
        ({"attack": ("pgd:eps=4/255", "noise-gaussian")}, ["worst-case"], True),
        ({"attack": ("noise-gaussian",)}, ["worst-case", "pgd:eps=4/255"], True),
    ],
)
def test_options_can_leave_out_registered_contrasts(write, overrides, left_out: list[str], main: bool) -> None:
    read = read_changed(write(), overrides)
    assert [contrast.outcome for contrast in read.left_out] == left_out
    assert read.main_is_left_out is main
    assert len(read.experiment.contrasts) == 4 - len(left_out)
    assert {contrast.part for contrast in read.experiment.contrasts} <= {part.name for part in read.experiment.parts}


def test_options_that_change_the_experiment_are_named(write) -> None:
    path = write(data="data: digits\nlimit: 3".partition("\n")[0])
    read = read_changed(path, {"train": {"epochs": 1}, "limit": 5, "data": "digits", "seeds": 7})
    assert read.changed == ("epochs", "limit", "seeds")  # the data are those of the file


def test_without_contrasts_the_file_and_its_document_are_as_before(write) -> None:
    experiment = read_experiment(write(""), {})
    assert "contrasts" not in experiment.document()
    main = main_contrast(experiment, "classification")
    assert main is not None
    assert (main.part, main.bn, main.stats, main.outcome) == ("a", "stein", "running", "worst-case")
    assert main_contrast(read_experiment(write(""), {"bn": ("stein",)}), "classification") is None
    assert main_contrast(read_experiment(write(""), {"attack": ("noise-gaussian",)}), "classification") is None


VALUES = {
    ("sample", "running"): [0.50, 0.54, 0.52, 0.55],
    ("sample", "batch"): [0.60, 0.66, 0.61, 0.60],
    ("stein", "running"): [0.45, 0.50, 0.46, 0.50],
    ("stein", "batch"): [0.58, 0.66, 0.65, 0.61],
}


def measured_rows():
    cells = [
        Measured(
            "a", bn, stats, seed,
            {("clean", "accuracy"): 0.9 if bn == "sample" else 0.8, ("worst-case", "accuracy"): values[seed]},
            {"clean": "clean", "worst-case": "worst case"},
        )
        for (bn, stats), values in VALUES.items()
        for seed in range(4)
    ]  # fmt: skip
    return rows(cells, range(4))


def test_p_is_adjusted_over_the_registered_contrasts_alone(write) -> None:
    """Holm by hand: of three registered contrasts one has no test and counts; the smallest p is tripled."""
    path = write(
        "contrasts: [{bn: stein, outcome: worst-case}, {bn: stein, stats: batch, outcome: worst-case},"
        "{bn: stein, outcome: clean}]"
    )
    found = registered_results(measured_rows(), sought(read_experiment(path, {}), "classification"))
    first = paired_t(VALUES["sample", "running"], VALUES["stein", "running"])
    second = paired_t(VALUES["sample", "batch"], VALUES["stein", "batch"])
    assert [one.p for one in found] == [first.p, second.p, None]
    assert [one.p_adjusted for one in found] == [pytest.approx(3 * first.p), pytest.approx(min(1, 2 * second.p)), None]
    assert [one.decided for one in found] == [True, False, False]
    assert (found[0].mean, found[0].ci95, found[0].title) == (first.mean, first.interval, "worst case")
    assert (found[2].seeds, found[2].mean) == (4, pytest.approx(-0.1))


def test_a_registered_contrast_whose_cells_failed_stays_in_the_family(write) -> None:
    path = write("contrasts: [{bn: stein, outcome: worst-case}, {bn: ridge, outcome: worst-case}]")
    first, failed = registered_results(measured_rows(), sought(read_experiment(path, {}), "classification"))
    assert (failed.seeds, failed.mean, failed.decided) == (0, None, False)
    assert first.p_adjusted == pytest.approx(2 * first.p)


def test_a_registered_contrast_that_options_leave_out_stays_in_the_family(write) -> None:
    path = write("contrasts: [{bn: stein, outcome: worst-case}, {bn: ridge, outcome: worst-case}]")
    read = read_changed(path, {"bn": ("sample", "stein")})
    (first,) = registered_results(measured_rows(), sought(read.experiment, "classification"), len(read.left_out))
    assert first.p_adjusted == pytest.approx(2 * first.p)

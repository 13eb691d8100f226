"""`stein_bench.evaluate`: the command's evaluation of Python objects, which leaves the caller's state alone."""

from __future__ import annotations

import copy
import json
import random
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import stein_bench
from stein_bench import RunError, UntrustworthyReportError, UsageError
from stein_bench.cli.commands import app
from tests.api.brightest import brightest, network

IMAGES, LABELS = brightest()


def ask(model=None, data=None, attacks="fgsm", **options):
    return stein_bench.evaluate(
        model if model is not None else network(), data if data is not None else (IMAGES, LABELS), attacks,
        progress=False, **options,
    )  # fmt: skip


def accuracy(model, inputs):
    model = copy.deepcopy(model).eval()
    return (model(inputs).argmax(1) == LABELS).numpy()


def test_it_evaluates_a_network_on_arrays_and_its_figures_are_those_of_the_network():
    model = network()
    report = ask(model, eps=4 / 255)
    gradient_signs = torch.full_like(IMAGES, 1 / 255)
    gradient_signs[torch.arange(60), LABELS] *= -1  # up in the other channels; FGSM takes both or the likelier one
    assert np.array_equal(report.outcomes(), accuracy(model, IMAGES))
    attacked = accuracy(model, (IMAGES + 4 * gradient_signs).clamp(0, 1))
    assert np.array_equal(report.outcomes(attack="fgsm"), attacked & report.outcomes())
    assert report.variants[0].clean.accuracy == report.outcomes().mean()


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(IMAGES, LABELS),
        DataLoader(TensorDataset(IMAGES, LABELS), batch_size=7),
        (np.moveaxis(IMAGES.numpy(), 1, -1), LABELS.numpy()),
        (IMAGES, LABELS.tolist()),
        {"images": IMAGES, "labels": LABELS},
        {"train": (IMAGES[:9], LABELS[:9]), "test": TensorDataset(IMAGES, LABELS)},
        [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)],
    ],
    ids=["dataset", "loader", "NumPy", "lists", "dictionary", "splits", "list of pairs"],
)
def test_data_of_every_kind_gives_the_same_outcomes(data):
    expected, found = (ask(data=one, attacks="pgd:steps=2", eps=4 / 255) for one in (None, data))
    assert found.variants[0].outcomes == expected.variants[0].outcomes  # of random starts, too: the ids are the same
    assert stein_bench.compare(expected, found).comparable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "python:data is a int; give a map-style data set"),
        ((IMAGES, LABELS, LABELS), r"is a tuple of 3; give \(images, labels\)"),
        (
            DataLoader(TensorDataset(IMAGES, LABELS), shuffle=True),
            "shuffles, selects or changes samples; give its",
        ),
        ((IMAGES * 255, LABELS), "in 0..255|above 1|outside"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(data, message):
    with pytest.raises(UsageError, match=message) as caught:
        ask(data=data)
    assert "\n" not in str(caught.value)


def states():
    return (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())


@pytest.mark.parametrize("attacks", ["pgd", "torchattacks.PGD", ["square:queries=20", "autoattack:steps=3,queries=10"]])
def test_the_callers_model_random_numbers_and_switches_stay_as_they_were(attacks, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    model = network()
    model[1].momentum, model[2].training = 0.3, False
    model[0].weight.requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)
    before = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = states()
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, True
    try:
        with torch.no_grad():
            ask(model, attacks=attacks, limit=12, bn=["sample", "stein"])
            assert not torch.is_grad_enabled()
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.benchmark = False
    assert states() == expected
    assert ([module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]) == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[5].weight.grad, torch.ones_like(model[5].weight))
    import os

    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.integration
def test_the_callers_global_state_does_not_change_the_report():
    expected = ask(attacks="pgd", eps=4 / 255).variants[0].outcomes
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.set_default_dtype(torch.float64)
        try:
            torch.manual_seed(5)
            found = ask(network().float(), attacks="pgd", eps=4 / 255)
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
    assert found.variants[0].outcomes == expected


MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def make(num_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, num_classes))


def data():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(30, 3, 8, 8, generator=generator), torch.arange(30) % 3)


def step(model, inputs, labels, *, eps, seed, size: float = 1.0):
    inputs = inputs.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(inputs), labels)
    moved = inputs + eps * size * torch.autograd.grad(loss, inputs)[0].sign()
    return moved.clamp(0, 1).detach()


def half(mean, variance, count):
    return mean / 2, variance


def margin(logits, labels):
    return logits.gather(1, labels[:, None])[:, 0] - logits.mean(dim=1)
"""
SAME = {"bn": ["sample", "mine.py:half"], "metrics": ["mine.py:margin"], "eps": [2 / 255, 8 / 255], "seed": 3}


def without_provenance(report):
    document = json.loads(report.to_json())
    for key in ("id", "created", "command", "wall_seconds"):
        document["run"].pop(key)
    text = json.dumps(document, sort_keys=True)
    import re

    return re.sub(r'"seconds": [\d.e-]+', '"seconds": 0', text)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("mine", None)


def test_the_command_and_the_function_give_equal_reports_for_equal_input(mine):
    attacks = ["pgd:steps=3", "mine.py:step:size=0.5", "torchattacks.FGSM"]
    found = ask("mine.py:make", "mine.py:data", attacks, weights="none", stats=["running", "batch"],
                output="report.json", device="cpu", **SAME)  # fmt: skip
    words = ["--weights", "none", "--stats", "running", "--stats", "batch", "--bn", "sample", "--bn", "mine.py:half",
             "--metric", "mine.py:margin", "--eps", "2/255,8/255", "--seed", "3", "--device", "cpu", "-q",
             "--output", "report.json"]  # fmt: skip
    words += [word for spec in attacks for word in ("--attack", spec)]
    run = CliRunner().invoke(app, ["evaluate", "mine.py:make", "--data", "mine.py:data", *words])
    assert run.exit_code == 0, run.output
    command = stein_bench.Report.load("report.json")
    command_document, function_document = (json.loads(without_provenance(one)) for one in (command, found))
    for document in (command_document, function_document):
        document["run"]["config"].pop("quiet")
        document["run"]["environment"].pop("threads")
    assert command_document == function_document


@pytest.mark.integration
def test_a_function_of_a_module_and_the_modules_name_are_the_same_part(mine):
    import mine as module

    by_name = ask("mine:make", "mine:data", ["mine:step"], weights="none", bn="mine:half", metrics="mine:margin")
    by_object = ask("mine:make", "mine:data", [module.step], weights="none", bn=module.half, metrics=module.margin)
    assert by_object.variants[0].attacks[0].label == by_name.variants[0].attacks[0].label
    assert by_object.run.parts == by_name.run.parts
    assert [part.kind for part in by_name.run.parts] == ["estimator", "attack", "metric"]


def test_two_objects_of_one_name_are_told_apart():
    def made(size):
        def step(model, inputs, labels, eps):
            return (inputs + size * eps).clamp(0, 1)

        return step

    report = ask(attacks=[made(0.1), made(1.0)])
    first, second = report.variants[0].attacks
    assert second.name == f"{first.name}_2"
    assert first.perturbation_linf is None
    assert second.label != first.label


def test_a_surrogate_of_the_same_class_is_another_network():
    surrogate = network()
    with torch.no_grad():
        surrogate[5].weight.zero_()
        surrogate[5].weight[0] = 1
    report = ask(attacks=["transfer.fgsm", "fgsm"], surrogate=surrogate, eps=8 / 255)
    transferred, direct = report.variants[0].attacks
    assert transferred.robust_accuracy > direct.robust_accuracy
    assert transferred.params["surrogate"] == "python:Sequential_2"


def cheats(model, inputs, labels, eps):
    return inputs + 2 * eps


def test_results_that_cannot_be_trusted_raise_an_error_that_has_the_report():
    with pytest.raises(UntrustworthyReportError, match="cheats: invalid: 60 of 60 adversarial inputs") as caught:
        ask(attacks=["fgsm", cheats])
    report = caught.value.report
    assert [attack.status for attack in report.variants[0].attacks] == ["ok", "invalid"]
    assert isinstance(caught.value, RunError)
    assert ask(attacks=["fgsm", cheats], strict=False).dishonest() == report.dishonest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limt": 3}, "unknown argument 'limt'. Did you mean 'limit'"),
        ({"format": "json"}, "unknown argument 'format'"),
        ({"limit": 0}, r"^limit: input should be greater than or equal to 1"),
        ({"norm": "L7"}, "^norm: "),
        ({"bn": "stien"}, "unknown estimator 'stien'. Did you mean 'stein'"),
        ({"attacks": "pdg"}, "unknown attack 'pdg'. Did you mean 'pgd'"),
        ({"attacks": 7}, "a int, not a callable"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"device": "gpu"}, "device: "),
        ({"model": 3}, "model is a int: give a torch.nn.Module"),
        ({"resume": True}, "resume needs output"),
        ({"output": "nowhere/report.json"}, "there is no folder"),
        ({"metrics": "nowhere"}, "unknown metric 'nowhere'"),
        ({"mean": (0.5, 0.5), "std": 1.0}, "mean has 2 values"),
    ],
)
def test_a_wrong_argument_gets_one_line_that_names_it(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        ask(**options)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_mean_and_std_are_the_networks_first_layer():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner((x * 0.25) + 0.5)

    plain = ask(network(), eps=3 / 255)
    scaled = ask(Scaled(), eps=3 / 255, mean=0.5, std=0.25)
    assert np.array_equal(scaled.outcomes(attack="fgsm"), plain.outcomes(attack="fgsm"))
    assert scaled.model.preprocessing.std == (0.25,)


def test_an_output_is_the_report_and_no_journal_is_left(tmp_path):
    report = ask(output=tmp_path / "report.json", limit=9)
    assert stein_bench.Report.load(tmp_path / "report.json") == report
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_what_a_network_prints_does_not_go_to_stdout(capsys):
    model = network()

    def tell(*_):
        sys.stdout.write("seen")

    model.register_forward_hook(tell)
    ask(model, limit=6)
    out, err = capsys.readouterr()
    assert out == ""
    assert "seen" in err


class Seen:
    def __init__(self):
        self.phases, self.samples, self.notes = [], 0, []

    def start(self, phase, total, done=0):
        self.phases.append(phase)

    def advance(self, samples, note=""):
        self.samples += samples

    def finish(self):
        pass

    def note(self, message):
        self.notes.append(message)


def test_progress_goes_to_an_observer_or_to_stderr_or_nowhere(capsys):
    seen = Seen()
    stein_bench.evaluate(network(), (IMAGES, LABELS), "fgsm", progress=seen)
    assert {"clean sample/running", "fgsm sample/running"} <= set(seen.phases)
    assert capsys.readouterr() == ("", "")
    stein_bench.evaluate(network(), (IMAGES, LABELS), "fgsm")
    out, err = capsys.readouterr()
    assert out == ""
    assert "fgsm sample/running: 60 of 60" in err


@pytest.mark.integration
def test_what_was_given_is_let_go_of_afterwards():
    import gc
    import weakref

    model, data = network(), TensorDataset(IMAGES, LABELS)
    gone = weakref.ref(model), weakref.ref(data)
    ask(model, data)
    del model, data
    gc.collect()
    assert [one() for one in gone] == [None, None]


def half(mean, variance, count):
    return mean / 2, variance


def momentum(model, estimator, stats="running"):
    """Return the network with Stein layers that have been trained: their moments and counts are those of the data."""
    stein_bench.convert_batchnorm(model, estimator, stats=stats)
    model.train()
    with torch.no_grad():
        for _ in range(50):
            model(IMAGES)
    return model


@pytest.mark.parametrize("estimator", ["stein", "james-stein", half])
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_a_network_with_stein_layers_is_evaluated_as_it_is(estimator, stats):
    model = momentum(network(), estimator, stats)
    report = ask(model, batch_size=60)
    variant = report.variant(None)
    name = estimator if isinstance(estimator, str) else f"{__name__}:half"
    assert (variant.bn, variant.stats, variant.conversion) == (name, stats, "before-training")
    assert np.array_equal(report.outcomes(name), accuracy(model, IMAGES))
    assert variant.layers_of_unknown_count == 0
    with pytest.raises(UsageError, match=f"were trained with bn='{name}'|were trained with bn {name}"):
        ask(model, bn="jsnorm")


def test_stein_layers_of_several_estimators_are_refused():
    model = momentum(network(), "stein")
    model.append(torch.nn.BatchNorm1d(3))
    with pytest.raises(UsageError, match=r"BN layers of different estimators \(stein, sample\)"):
        ask(model)


def test_a_log_goes_to_the_tracker(tmp_path):
    pytest.importorskip("tensorboard")
    ask(limit=9, log=f"tensorboard:dir={tmp_path / 'runs'}")
    assert list((tmp_path / "runs").rglob("events.out.tfevents*"))


def scaled(factor):
    def est(mean, variance, count):
        return mean, variance * factor

    return est


@pytest.mark.integration
def test_a_networks_own_estimators_are_those_of_its_layers_whatever_else_has_their_name():
    first, other = momentum(network(), scaled(1.0)), momentum(network(), scaled(400.0))
    expected = accuracy(first, IMAGES)
    for stats in (None, "running"):
        report = ask(first, stats=stats)
        assert np.array_equal(report.outcomes(), expected)
    assert report.run.parts[0].sha256 != ask(other).run.parts[0].sha256
    with pytest.raises(UsageError, match=r"were trained with bn='.*:est'; bn='.*:est_2' cannot be applied"):
        ask(first, bn=scaled(400.0))
    mixed = network()
    stein_bench.convert_batchnorm(mixed, scaled(1.0))
    mixed.append(stein_bench.convert_batchnorm(torch.nn.BatchNorm1d(3), scaled(0.5))[0])
    with pytest.raises(UsageError, match="two different estimators that are both called"):
        ask(mixed)
    with pytest.raises(UsageError, match="surrogate has layers of two different estimators"):
        ask(first, attacks="transfer.fgsm", surrogate=other)


def test_layers_of_different_statistics_are_refused_unless_stats_are_given():
    model = momentum(network(), "stein")
    model.append(stein_bench.convert_batchnorm(torch.nn.BatchNorm1d(3), "stein", stats="batch")[0])
    with pytest.raises(UsageError, match="give stats"):
        ask(model)


def test_a_changed_network_is_no_continuation(tmp_path):
    class Factor(torch.nn.Module):
        def __init__(self, k):
            super().__init__()
            self.inner, self.k = network(), k

        def forward(self, x):
            return self.k * self.inner(x)

    class Stop(Seen):
        def start(self, phase, total, done=0):
            if phase.startswith("pgd"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stein_bench.evaluate(
            Factor(1.0), (IMAGES, LABELS), ["fgsm", "pgd"], output=tmp_path / "r.json", progress=Stop()
        )
    with pytest.raises(UsageError, match=r"another run|other|differs"):
        ask(Factor(-1.0), attacks=["fgsm", "pgd"], output=tmp_path / "r.json", resume=True)
    assert ask(Factor(1.0), attacks=["fgsm", "pgd"], output=tmp_path / "r.json", resume=True).variants


@pytest.mark.integration
def test_the_cache_of_trained_networks_knows_what_an_estimator_captures(tmp_path, monkeypatch):
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path))
    data = {"train": brightest(60, seed=1), "test": (IMAGES, LABELS)}
    functions = [lambda m, v, n, k=k: (m, v * k) for k in (1.0, 100.0)]
    first, second = (ask(network(), data, bn=one, weights="fit").variants[0].weights.sha256 for one in functions)
    assert first != second


@pytest.mark.integration
def test_a_metric_that_changes_its_arguments_changes_nothing_else():
    def in_place(logits, labels):
        logits[torch.arange(len(labels)), labels] = -torch.inf
        labels.zero_()
        return logits.amax(dim=1)

    def plain(logits, labels):
        return logits.gather(1, labels[:, None])[:, 0]

    report = ask(metrics=[in_place, plain])
    assert report.outcomes().mean() == ask().outcomes().mean()
    assert report.variants[0].clean.own_metrics["plain"] == ask(metrics=plain).variants[0].clean.own_metrics["plain"]


def test_errors_and_options_of_other_kinds_have_one_line(tmp_path):
    import pickle

    for options, message in [
        ({"attack": "fgsm"}, "unknown argument 'attack'. Did you mean 'attacks'"),
        ({"metric": "fgsm"}, "unknown argument 'metric'. Did you mean 'metrics'"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"eps": [[0.1]]}, "is neither a number nor a list of numbers"),
        ({"eps": object()}, "is neither a number nor a list of numbers"),
        ({"device": "foo:0"}, "device 'foo:0' is none"),
        ({"device": 3}, "is none|not available"),
        ({"progress": "yes"}, "progress must be True, False or an observer"),
        ({"weights": network().state_dict()}, "a OrderedDict is no path"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            stein_bench.evaluate(network(), (IMAGES, LABELS), **{"progress": False, **options})
        assert len(str(caught.value)) < 300
    with pytest.raises(UsageError, match="data is None"):
        stein_bench.evaluate(network(), None, progress=False)
    scripted = torch.jit.script(network())
    with pytest.raises(UsageError, match=r"torch.jit.save, and give 'jit:FILE'"):
        ask(scripted)
    assert ask(eps=np.float32(0.1), seed=np.int64(3), limit=5).run.seed == 3
    with pytest.raises(UntrustworthyReportError) as caught:
        ask(attacks=cheats)
    assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report
    with pytest.raises(UsageError, match="cannot write the report"):
        caught.value.report.save(tmp_path)


def test_a_tracker_that_fails_costs_a_warning_and_not_the_report(monkeypatch, tmp_path):
    from stein_bench.api import evaluating

    pytest.importorskip("tensorboard")

    def failing(report, tracker):
        random.seed(5)
        raise RunError("the tracker is away")

    monkeypatch.setattr(evaluating, "log_report", failing)
    before = states()
    with pytest.warns(UserWarning, match="the tracker is away"):
        report = ask(log=f"tensorboard:dir={tmp_path}", limit=5)
    assert report.variants
    assert states() == before

"""TorchScript and exported programs: the numbers of the network that was exported, or one line that says what to do."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.inspection import inspect_model
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.sources import find_model
from stein_bench.models.weights import read_weights, state_sha256
from stein_bench.preparation.hidden_gradients import with_gradient_note
from stein_bench.preparation.plan import check_model, prepare
from stein_bench.preparation.untrained import with_untrained
from stein_bench.training.config import TrainConfig
from stein_bench.training.plan import plan_training
from tests.models.programs import (
    SHAPE,
    Detached,
    FixedRows,
    ManyConstants,
    OwnBatchStatistics,
    TwoInputs,
    WithoutGradient,
    exported,
    scripted,
    traced,
    trained,
)

NET = "from tests.models.programs import trained\n\ndef make():\n    return trained()\n"
EVERY = {
    "scripted.pt": scripted,
    "traced.pt": traced,
    "frozen.pt": partial(scripted, frozen=True),
    "dynamic.pt2": exported,
    "fixed.pt2": partial(exported, sizes=None),
    "one.pt2": partial(exported, sizes=None, batch=1),
    "range.pt2": partial(exported, sizes=torch.export.Dim("batch", min=3, max=7), batch=5),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with the same network in every form, as code with weights, and test data that it is half right on."""
    folder = tmp_path_factory.mktemp("programs")
    for name, export in EVERY.items():
        export(trained(), folder / name)
    (folder / "net.py").write_text(NET)
    save_file(trained().state_dict(), folder / "net.safetensors")
    torch.save(trained().state_dict(), folder / "weights.pt")
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        found = trained()(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    np.savez(folder / "test.npz", images=images, labels=np.where(np.arange(24) % 4 == 0, (found + 1) % 3, found))
    return folder


@pytest.fixture
def inside(programs, monkeypatch):
    monkeypatch.chdir(programs)
    return programs


def spec(name: str) -> str:
    return f"pt2:{name}" if name.endswith(".pt2") else f"jit:{name}"


def config(model: str, **options):
    return make_config({"model": model, "data": "npz:test.npz", "attack": ["pgd"], "batch-size": 10, **options})


def plan(model: str, **options):
    """Prepare and check as a run does, and return the plan and the network."""
    found, network = with_untrained(prepare(config(model, **options)))
    check_model(found, network)
    return found, network


@pytest.mark.parametrize("name", EVERY)
def test_a_program_computes_what_the_exported_network_computes(inside, name):
    network = find_model(spec(name)).build(num_classes=None)
    plain, moved = trained(), copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert all(parameter.is_leaf for parameter in moved.parameters())
    for size in (1, 2, 4, 9, 16):
        images = torch.rand(size, *SHAPE, generator=torch.Generator().manual_seed(size)).requires_grad_()
        expected = plain(images)
        (gradient,) = torch.autograd.grad(expected.square().sum(), images)
        for one in (network.eval(), moved.eval()):
            outputs = one(images)
            torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)
            (own,) = torch.autograd.grad(outputs.square().sum(), images)
            torch.testing.assert_close(own, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["scripted.pt", "frozen.pt", "dynamic.pt2", "fixed.pt2"])
def test_a_run_has_the_outcomes_of_the_model_that_was_exported(inside, name):
    expected = run_evaluation(config("net.py:make", weights="net.safetensors"))
    report = run_evaluation(config(spec(name)))
    assert report.variants[0].outcomes == expected.variants[0].outcomes
    assert report.variants[0].clean.accuracy == 18 / 24
    assert (report.model.classes, report.model.weights.kind) == (3, "own")
    assert report.model.notes == [f"weights: those in the program {name}"]
    assert report.model.preprocessing.origin == "none: inputs in [0, 1]"


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "options",
    [
        {"battery": "quick", "attack": []},
        {"attack": ["autoattack"], "eps": "2/255", "limit": 6},
        {"precision": "bf16"},
        {"batch-size": "auto", "attack": ["apgd-ce", "torchattacks.PGD"]},
        {"refill": True, "attack-precision": "bf16"},
        {"compile": True},
    ],
    ids=lambda options: ",".join(options),
)
def test_every_way_to_run_a_model_gives_the_outcomes_of_the_exported_one(inside, name, options):
    if "compile" in options and not name.endswith(".pt2"):
        pytest.skip("refused")
    if "bf16" in options.values() and name == "frozen.pt":
        pytest.skip("its BN is folded into the convolution, which rounds differently")
    expected = run_evaluation(config("net.py:make", weights="net.safetensors", **options))
    report = run_evaluation(config(spec(name), **options))
    assert not report.dishonest()
    assert report.variants[0].outcomes == expected.variants[0].outcomes


def test_the_hash_of_a_state_tells_programs_apart_whose_weights_are_constants(inside, tmp_path):
    other = trained()
    nn.init.normal_(other[-1].weight, generator=torch.Generator().manual_seed(1))
    scripted(other, tmp_path / "other.pt", frozen=True)
    one, two = find_model("jit:frozen.pt"), find_model(f"jit:{tmp_path / 'other.pt'}")
    assert one.fingerprint() != two.fingerprint()
    assert state_sha256(one.build(num_classes=None)) != state_sha256(two.build(num_classes=None))


def test_what_an_export_records_of_devices_and_types_follows_the_weights(tmp_path):
    file = exported(ManyConstants().eval(), tmp_path / "net.pt2")
    network = find_model(str(file)).build(num_classes=None)
    images = torch.rand(2, *SHAPE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(images).dtype == torch.bfloat16
    assert network.to("meta")(images.to("meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("export", "network", "message"),
    [
        (
            exported,
            lambda: trained().train(),
            r"returns other outputs for the same images: dropout is active, as in tr",
        ),
        (traced, lambda: trained().train(), r"returns other outputs for the same images: dropout is active, as in tra"),
        (exported, OwnBatchStatistics, r"mixes the images of a batch: BN uses the statistics of the batch, as in trai"),
        (traced, OwnBatchStatistics, r"mixes the images of a batch: BN uses the statistics of the batch, as in trai"),
        (traced, FixedRows, r"fails on a batch of 10 inputs of 3×8×8: RuntimeError: shape '\[12\]' is invalid for "),
        (partial(exported, inputs=2), TwoInputs, r"takes 2 inputs; expected one, the images \(n, C, …\)\.$"),
    ],
)
def test_a_program_that_cannot_be_evaluated_says_why(inside, tmp_path, export, network, message):
    network = network()
    file = export(
        network if network.training and isinstance(network, nn.Sequential) else network.eval(), tmp_path / "n.pt2"
    )
    with pytest.raises(UsageError, match=message):
        plan(f"{'jit' if export is traced else 'pt2'}:{file}")


@pytest.mark.parametrize(("export", "network"), [(exported, WithoutGradient), (exported, Detached), (traced, Detached)])
def test_a_program_without_a_gradient_gets_a_note(inside, tmp_path, export, network):
    file = export(network().eval(), tmp_path / "n.pt2")
    found = with_gradient_note(*plan(f"{'jit' if export is traced else 'pt2'}:{file}"))
    assert re.match(r"no gradient arrives at the input of .*: it was exported under torch\.no_grad", found.notes[-1])


def test_a_scripted_network_that_was_saved_in_training_mode_is_switched_to_eval_mode(inside, tmp_path):
    scripted(trained().train(), tmp_path / "net.pt")
    images = torch.rand(4, *SHAPE)
    network = find_model(f"jit:{tmp_path / 'net.pt'}").build(num_classes=None)
    assert network.training
    torch.testing.assert_close(network.eval()(images), trained()(images))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "jit:scripted.pt",
            {"weights": "fit"},
            r"^--weights fit: jit:scripted\.pt is a TorchScript program, which has it",
        ),
        (
            "pt2:dynamic.pt2",
            {"weights": "none"},
            r"program \(torch\.export\), which has its own weights only: leave out",
        ),
        ("dynamic.pt2", {"weights": "pretrained"}, r"^--weights pretrained: pt2:dynamic\.pt2 is an exported program"),
        (
            "dynamic.pt2",
            {"weights": "net.safetensors"},
            r"^--weights net\.safetensors: pt2:dynamic\.pt2 is an exported",
        ),
        (
            "dynamic.pt2",
            {"bn": ["stein"]},
            r"^--bn stein: pt2:dynamic\.pt2 is an exp.*, whose layers are fixed: give the",
        ),
        (
            "jit:traced.pt",
            {"stats": ["batch"]},
            r"^--stats batch: jit:traced\.pt is a TorchScript program, whose layers",
        ),
        (
            "jit:traced.pt",
            {"compile": True},
            r"^--compile: jit:traced\.pt is a .* leaves as it is: leave out --compile\.$",
        ),
        (
            "dynamic.pt2",
            {"image-size": 9},
            r"^pt2:dynamic\.pt2 was exported for inputs of 3×8×8, not 3×9×9: give --imag",
        ),
        (
            "jit:weights.pt",
            {},
            r"^weights\.pt is a file of torch\.save, which holds no program: .*--weights weights\.pt\.$",
        ),
        ("pt2:weights.pt", {}, r"^weights\.pt is a file of torch\.save, which holds no program: "),
        ("jit:dynamic.pt2", {}, r"^dynamic\.pt2 is an exported program \(torch\.export\): write pt2:dynamic\.pt2\.$"),
        ("pt2:traced.pt", {}, r"^traced\.pt is a TorchScript program: write jit:traced\.pt\.$"),
        ("traced.pt", {}, r"^'traced\.pt' names a file only: write jit:traced\.pt$"),
        ("jit:net.py", {}, r"^net\.py is not a TorchScript program, or is damaged\.$"),
        ("jit:nowhere.pt", {}, r"^no such file: nowhere\.pt$"),
        ("nowhere.pt2", {}, r"^no such file: nowhere\.pt2$"),
        (
            "net.py:make",
            {"weights": "traced.pt"},
            r"^traced\.pt is a program with its own weights: .* model jit:traced\.p",
        ),
        (
            "net.py:make",
            {"weights": "dynamic.pt2"},
            r"^dynamic\.pt2 is a program with its own.* model pt2:dynamic\.pt2$",
        ),
    ],
)
def test_what_a_program_cannot_do_is_one_line(inside, model, options, message):
    with pytest.raises(UsageError, match=message):
        plan(model, **options)


@pytest.mark.integration
def test_a_program_can_be_the_surrogate_with_its_own_weights_only(inside):
    options = {"attack": ["transfer.pgd"], "weights": "net.safetensors", "surrogate": "dynamic.pt2"}
    report = run_evaluation(config("net.py:make", **options))
    white_box = run_evaluation(config("net.py:make", weights="net.safetensors"))
    assert report.variants[0].attacks[0].robust_accuracy == white_box.variants[0].attacks[0].robust_accuracy
    with pytest.raises(UsageError, match=r"^--surrogate dynamic\.pt2: --weights fit: pt2:dynamic\.pt2 is an exported "):
        run_evaluation(config("net.py:make", **options, **{"surrogate-weights": "fit"}))


def test_inspection_and_training_are_refused(inside):
    with pytest.raises(UsageError, match=r"^jit:traced\.pt is a TorchScript program, whose BN layers cannot be told"):
        inspect_model(config("jit:traced.pt"))
    with pytest.raises(
        UsageError, match=r"^jit:traced\.pt is a TorchScript program, which cannot be trained further\.$"
    ):
        plan_training(TrainConfig(model="jit:traced.pt", data="npz:test.npz,train=test.npz", output="out.safetensors"))


def test_an_exported_program_of_another_kind_of_archive_is_told_apart(tmp_path):
    import zipfile

    for inner, message in (
        (
            "net/data/aotinductor/model/model.so",
            r"is a program compiled by AOTInductor: it has no gradients; save the ",
        ),
        ("net/other", r"is not an exported program \(torch\.export\), or is damaged\.$"),
        ("serialized_exported_program.json", None),  # as torch 2.6 wrote them
    ):
        with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
            archive.writestr(inner, "{}")
        if message is None:
            with pytest.raises(
                UsageError, match=r"^cannot load pt2:.*net\.pt2: it is damaged, or was exported by another"
            ):
                find_model(f"{tmp_path}/net.pt2").build(num_classes=None)
        else:
            with pytest.raises(UsageError, match=message):
                find_model(f"{tmp_path}/net.pt2")


class Touches:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_pickle_in_an_exported_program_is_run(tmp_path):
    """torch.export.load opens weights that are marked as pickled without restrictions."""
    exported = torch.export.export(nn.Linear(4, 3), (torch.rand(2, 4),))
    torch.export.save(exported, str(tmp_path / "good.pt2"))
    with zipfile.ZipFile(tmp_path / "good.pt2") as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    settings = next((name for name in records if name.endswith("weights_config.json")), None)
    if settings is None:
        pytest.skip("this PyTorch writes another kind of archive")
    table, pickled = json.loads(records[settings]), io.BytesIO()
    torch.save(Touches(tmp_path / "was run"), pickled)
    for entry in table["config"].values():
        entry["use_pickle"] = True
        records[f"data/weights/{entry['path_name']}"] = pickled.getvalue()
    writer = torch._C.PyTorchFileWriter(str(tmp_path / "bad.pt2"))
    for name, content in (records | {settings: json.dumps(table).encode()}).items():
        if name.partition("/")[0] not in ("version", "byteorder", ".data"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()

    environment = dict(os.environ)
    with pytest.raises(UsageError, match="holds pickled objects besides tensors, so opening it could run code"):
        find_model(f"pt2:{tmp_path / 'bad.pt2'}").build(num_classes=3)
    assert not (tmp_path / "was run").exists()
    assert dict(os.environ) == environment


def test_other_weights_are_still_read(inside):
    assert set(read_weights("weights.pt").state) == set(trained().state_dict())

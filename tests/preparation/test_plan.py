"""Planning: which weights, which size, which scaling, and everything refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stein_bench.config import make_config
from stein_bench.data import open_data
from stein_bench.data.samples import CLASS_INDICES, IMAGENET, OWN
from stein_bench.errors import UsageError
from stein_bench.evaluation.attack_network import attack_network
from stein_bench.evaluation.networks import build_network
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.sources import find_model
from stein_bench.models.weights import WeightsCard, save_weights
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.preparation.keywords import WEIGHTS_KEYWORDS, check_weights_name
from stein_bench.preparation.labels import checked_outputs, position_note
from stein_bench.preparation.plan import Plan, check_model, prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.progress import Silent
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.tasks import TASKS
from tests.tiny import write_data, write_model


def plan(model: str, data: str, **options: Any) -> Plan:
    made = prepare(make_config({"model": model, "data": data, **options}))
    check_model(made, build_untrained(made))
    return made


@pytest.fixture
def imagenet_folder(tmp_path: Path) -> str:
    """Two ImageNet classes with two images each, of different sizes."""
    for wnid, size in (("n01440764", 40), ("n01443537", 50)):
        (tmp_path / "val" / wnid).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (size, size + 10), (90 * i, 10, 200)).save(tmp_path / "val" / wnid / f"{i}.png")
    return f"imagefolder:{tmp_path / 'val'}"


def test_digits_are_fitted_at_their_own_size_with_the_models_scaling() -> None:
    made = prepare(make_config({"model": "resnet18"}))
    assert made.weights_kind == "fit"
    assert made.samples.shape == (3, 32, 32)
    assert made.scaling.mean == pytest.approx((0.485, 0.456, 0.406))
    assert made.num_classes == 10


def test_imagenet_folders_get_pretrained_weights_and_the_models_size(imagenet_folder: str) -> None:
    made = prepare(make_config({"model": "test_resnet.r160_in1k", "data": imagenet_folder}))
    assert made.weights_kind == "pretrained"
    assert made.samples.shape == (3, 160, 160)
    assert made.num_classes is None
    resized = prepare(make_config({"model": "test_resnet.r160_in1k", "data": imagenet_folder, "image_size": 96}))
    assert resized.samples.shape == (3, 96, 96)


def test_a_user_model_has_no_scaling_unless_given(model: str, data: str) -> None:
    assert plan(model, data).scaling.mean == (0.0,)
    given = plan(model, data, mean="0.5,0.4,0.3", std="1/4")
    assert (given.scaling.mean, given.scaling.std) == ((0.5, 0.4, 0.3), (0.25,))


def test_the_card_of_the_weights_decides_scaling_size_and_classes(model: str, data: str, tmp_path: Path) -> None:
    blank = build_untrained(plan(model, data))
    card = WeightsCard("net", "sample", 3, (0.1,), (0.2,), (3, 12, 12), "elsewhere", {}, 0)
    save_weights(tmp_path / "w.safetensors", blank, card)
    made = plan(model, data, weights=str(tmp_path / "w.safetensors"))
    assert made.scaling.mean == (0.1,)
    assert made.samples.shape == (3, 12, 12)


def test_data_may_hold_a_subset_of_the_classes_of_the_weights(model: str, data: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(build_untrained(plan(model, data)).state_dict(), tmp_path / "w.safetensors")
    images = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "two.npz", images=images, labels=np.array([0, 1, 0, 1]))
    made = plan(model, f"npz:{tmp_path / 'two.npz'}", weights=str(tmp_path / "w.safetensors"))
    assert made.num_classes == 3
    assert position_note(made.data, 3) == ("the model has 3 outputs, and the data 2 classes",)


def test_a_limit_takes_the_first_samples(model: str, data: str) -> None:
    whole, part = plan(model, data), plan(model, data, limit=7)
    assert part.samples.ids == whole.samples.ids[:7]


def test_grey_images_get_the_average_of_the_scaling(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", images=np.zeros((4, 32, 32, 1), np.uint8), labels=np.array([0, 1, 0, 1]))
    made = plan("test_resnet", f"npz:{tmp_path / 'g.npz'}", weights="none")
    assert made.samples.shape == (1, 32, 32)
    assert len(made.scaling.mean) == 1


def test_lazy_networks_are_made_concrete_and_repeatable(tmp_path: Path, data: str) -> None:
    (tmp_path / "lazy.py").write_text(
        "from torch import nn\n\n\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    made = plan(f"{tmp_path / 'lazy.py'}:make", data)
    first, second = build_untrained(made), build_untrained(made)
    assert isinstance(first[1], nn.Linear)
    assert first[1].weight.equal(second[1].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bn": "stien"}, "unknown estimator 'stien'. Did you mean 'stein'?"),
        ({"bn": ["ridge", "ridge:0.001"]}, "same estimator twice"),
        ({"bn": "zzz"}, "unknown estimator 'zzz'. See stein-bench list bn."),
        ({"weights": "missing.pth"}, "no such file: missing.pth"),
        ({"weights": "fitt"}, "no such file: fitt. Did you mean 'fit'?"),
        ({"weights": "Pretrained"}, "no such file: Pretrained. Did you mean 'pretrained'?"),
        ({"weights": "imagenet"}, "no such file: imagenet. Did you mean 'pretrained'?"),
        ({"weights": "scratch"}, "no such file: scratch. Did you mean 'none'?"),
        ({"norm": "L2", "attack": "fgsm"}, "--norm L2: attack fgsm is for Linf only."),
        ({"norm": "L2", "battery": "quick"}, "--norm L2: attack fgsm is for Linf only."),
        ({"weights": "pretrained"}, "has no pretrained weights"),
        ({"mean": "1,2"}, "mean has 2 values, but the inputs have 3 channels"),
        ({"attack": "torchattacks.APGDT"}, "needs at least 4 classes; the model has 3"),
    ],
)
def test_what_does_not_fit_is_refused(model: str, data: str, options: dict[str, Any], message: str) -> None:
    if "image_size" in options:
        assert plan(model, data, **options).samples.shape == (3, 1, 1)
        return
    with pytest.raises(UsageError) as caught:
        plan(model, data, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_may_have_a_name_like_a_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_weights_name("fit", WEIGHTS_KEYWORDS)
    with pytest.raises(UsageError, match=r"^no such file: fitt\. Did you mean 'fit'\?$"):
        check_weights_name("fitt", WEIGHTS_KEYWORDS)
    (tmp_path / "fitt").touch()
    check_weights_name("fitt", WEIGHTS_KEYWORDS)
    check_weights_name("elsewhere.pth", WEIGHTS_KEYWORDS)  # the reader of weights says that it is missing


def test_the_norm_of_a_run_reaches_its_attacks(model: str, data: str) -> None:
    (attack,) = plan(model, data, battery="standard", norm="l2", eps="0.5").attacks
    assert (attack.name, attack.norm, attack.eps) == ("autoattack", "L2", 0.5)


def test_a_model_without_bn_cannot_become_stein(model: str, data: str) -> None:
    without = model.replace(":make", ":no_bn")
    assert plan(without, data).variants[0].bn == "sample"
    with pytest.raises(UsageError, match="has no BatchNorm layer that could be converted"):
        plan(without, data, bn="stein")
    with pytest.raises(UsageError, match="--stats batch would change nothing"):
        plan(without, data, stats="batch")


def test_a_model_of_frozen_bn_says_why_it_cannot_become_stein(data: str, tmp_path: Path) -> None:
    (tmp_path / "frozen.py").write_text(
        "from torch import nn\nfrom torchvision.ops import FrozenBatchNorm2d\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 3, 8), FrozenBatchNorm2d(3), nn.Flatten())\n"
    )
    model = f"{tmp_path / 'frozen.py'}:make"
    assert plan(model, data).variants[0].bn == "sample"
    message = (
        r"^frozen\.make has no BatchNorm layer that could be converted \(1 × FrozenBatchNorm2d is frozen BN: "
        r"to convert it, load the weights into the same model with ordinary BatchNorm2d\), so --bn stein"
    )
    with pytest.raises(UsageError, match=message):
        plan(model, data, bn="stein")


@pytest.mark.parametrize(("outputs", "task"), [(3, "classification"), (1, "binary")])
def test_a_network_that_ends_in_a_convolution_is_a_classifier(tmp_path: Path, outputs: int, task: str) -> None:
    """Scores (n, K, 1, 1) are decided like (n, K), for attacks and in training too."""
    (tmp_path / "conv.py").write_text(
        f"from torch import nn\ndef make():\n    return nn.Conv2d(3, {outputs}, 8)\n"
        f"def flat():\n    return nn.Sequential(nn.Conv2d(3, {outputs}, 8), nn.Flatten())\n"
    )
    spec = write_data(tmp_path, n=9)
    if task == "binary":
        for name in ("train", "test"):
            content = dict(np.load(tmp_path / f"{name}.npz"))
            np.savez(tmp_path / f"{name}.npz", images=content["images"], labels=content["labels"] % 2)
    options = {"data": spec, "weights": "fit", "attack": "pgd:steps=2"}
    models = [f"{tmp_path / 'conv.py'}:{name}" for name in ("make", "flat")]
    convolution, flat = (run_evaluation(make_config({"model": model, **options})) for model in models)
    assert convolution.data.task == task
    assert convolution.variants[0].clean.accuracy == flat.variants[0].clean.accuracy
    assert convolution.variants[0].outcomes == flat.variants[0].outcomes


def test_scores_of_an_image_of_one_pixel_stay_those_of_segmentation(model: str, data: str) -> None:
    """The evaluated network and the one that attacks run know it from the task."""
    dense = replace(plan(model, data), task=TASKS["segmentation"]).wrap(nn.Conv2d(3, 4, 1))
    how = AttackNetworkInfo(compile=False, precision="bf16", memory_format="contiguous")
    attacked = attack_network(dense, how, 4, batch_dependent=False)
    assert attacked is not None
    for network in (dense, attacked):
        assert network(torch.rand(2, 3, 1, 1)).shape == (2, 4, 1, 1)
    assert plan(model, data).wrap(nn.Conv2d(3, 4, 1))(torch.rand(2, 3, 1, 1)).shape == (2, 4)


def test_no_training_split_and_no_weights_is_refused(model: str, data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no training split to fit it on"):
        plan(model, f"npz:{tmp_path / 'test.npz'}")


def test_labels_beyond_the_models_outputs_are_refused(data: str, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
    )
    with pytest.raises(UsageError, match="the model has 2 outputs, but the data has labels up to 2"):
        plan(f"{tmp_path / 'two.py'}:make", data)


@pytest.mark.parametrize(
    ("space", "labels", "outputs", "reason"),
    [
        (None, [1, 2, 3], 3, " No label is 0: do they start at 1? Class indices start at 0."),
        (None, [0, 2, 3], 3, ""),
        (None, [1, 2, 4], 3, ""),
        (IMAGENET, [0, 701], 10, " These are labels of ImageNet-1k; for a model of other classes write imagefolder:"),
    ],
)
def test_a_likely_reason_for_labels_beyond_the_outputs_is_told(data: str, space, labels, outputs, reason) -> None:
    samples = replace(open_data(data).samples("test").first(len(labels)), labels=np.array(labels))
    with pytest.raises(UsageError) as caught:
        checked_outputs(
            TASKS["classification"], torch.zeros(2, outputs), replace(open_data(data), label_space=space), samples
        )
    start = f"the model has {outputs} outputs, but the data has labels up to {max(labels)}."
    assert str(caught.value).startswith(start + reason)
    assert reason or str(caught.value) == start


NAMES = ("cat", "dog", "ship")
NOTE = "the model has 10 outputs, the data 3 classes (cat, dog, ship), which are taken as outputs 0 to 2"


@pytest.mark.parametrize(
    ("classes", "space", "outputs", "note"),
    [
        (NAMES, OWN, 10, NOTE),
        (NAMES, None, 10, NOTE),
        (NAMES, OWN, 3, None),
        (NAMES, IMAGENET, 1000, None),
        (("0", "1", "2"), None, 10, "the model has 10 outputs, and the data 3 classes"),
        (("0", "1", "2"), CLASS_INDICES, 10, None),
    ],
)
def test_named_classes_that_may_be_some_of_the_models_are_noted(data: str, classes, space, outputs, note) -> None:
    notes = position_note(replace(open_data(data), classes=classes, label_space=space), outputs)
    assert len(notes) == (note is not None)
    assert not note or notes[0].startswith(note)
    assert "classes=FILE" not in "".join(notes)  # npz has no such option


def test_the_report_of_a_trained_model_says_that_its_classes_may_be_others(tmp_path: Path) -> None:
    model, _ = write_model(tmp_path), write_data(tmp_path, n=6)
    content = dict(np.load(tmp_path / "test.npz"))
    np.savez(
        tmp_path / "named.npz", images=content["images"], labels=np.array(["cat", "dog", "ship"])[content["labels"]]
    )
    network = find_model(model).build(num_classes=5, in_channels=3)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    options = {"model": model, "data": f"npz:{tmp_path / 'named.npz'}", "weights": str(tmp_path / "net.pth")}
    notes = run_evaluation(make_config({**options, "attack": "fgsm"})).data.notes
    assert any(note.startswith("the model has 5 outputs, the data 3 classes (cat, dog, ship)") for note in notes)


def test_digits_do_not_get_imagenet_weights() -> None:
    with pytest.raises(UsageError, match="predicts imagenet-1k classes, not those of digits"):
        prepare(make_config({"model": "resnet18", "weights": "pretrained"}))


def test_a_model_that_rejects_the_size_says_so() -> None:
    made = prepare(make_config({"model": "vit_tiny_patch16_224", "limit": 4}))
    with pytest.raises(UsageError, match=r"rejects inputs of shape 3×32×32: .* Another --image-size may fit"):
        check_model(made, build_untrained(made))


def test_class_index_folders_are_labeled_by_the_models_own_classes(tmp_path: Path) -> None:
    for name in ("0", "1", "999"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (160, 160)).save(tmp_path / "val" / name / "0.png")
    made = prepare(make_config({"model": "test_resnet.r160_in1k", "data": f"imagefolder:{tmp_path / 'val'}"}))
    assert made.weights_kind == "pretrained"
    assert sorted(made.samples.labels) == [0, 1, 999]


def test_folders_of_other_classes_are_none_of_imagenets(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (160, 160)).save(tmp_path / "val" / name / "0.png")
    options = {"model": "test_resnet.r160_in1k", "data": f"imagefolder:{tmp_path / 'val'}", "weights": "pretrained"}
    with pytest.raises(UsageError, match="predicts imagenet-1k classes, not those of imagefolder:val"):
        prepare(make_config(options))


def test_a_network_without_running_statistics_cannot_be_evaluated_with_them(data: str, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(\n"
        "        nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(192, 3))\n"
    )
    with pytest.raises(UsageError, match=r"BN layer '0' keeps no running statistics .* evaluate it with --stats batch"):
        plan(f"{tmp_path / 'bare.py'}:make", data, weights="none")
    assert plan(f"{tmp_path / 'bare.py'}:make", data, weights="none", stats="batch").variants[0].stats == "batch"


def test_training_labels_beyond_the_networks_outputs_are_refused_before_training(
    model: str, data: str, tmp_path: Path
) -> None:
    images = np.zeros((30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "more.npz", images=images, labels=np.arange(30) % 5)
    (tmp_path / "three.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))\n"
    )
    test = data.partition(",")[0]
    with pytest.raises(UsageError, match=r"training split .* has labels up to 4, but three.make has only 3 outputs"):
        plan(f"{tmp_path / 'three.py'}:make", f"{test},train={tmp_path / 'more.npz'}")


@pytest.mark.parametrize(("attack", "least"), [("apgd-dlr", 3), ("apgd-t", 4), ("torchattacks.APGDT", 4)])
def test_attacks_that_need_more_classes_are_refused_before_the_run(tmp_path: Path, attack: str, least: int) -> None:
    """Two classes have no difference-of-logits ratio, three have no targeted one; autoattack copes with both."""
    np.savez(tmp_path / "two.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4) % 2)
    settings = {"model": write_model(tmp_path), "data": f"npz:{tmp_path / 'two.npz'}", "weights": "none"}
    made = prepare(make_config({**settings, "attack": attack}))
    with pytest.raises(UsageError, match=f"attack {attack} needs at least {least} classes; the model has 2"):
        check_model(made, build_untrained(made))
    made = prepare(make_config({**settings, "attack": ["autoattack", "apgd-ce", "fab-t", "square"]}))
    assert check_model(made, build_untrained(made)) == 2


def test_weights_of_stein_layers_without_a_card_are_of_the_one_bn_that_is_named(
    model: str, data: str, tmp_path: Path
) -> None:
    trained, _ = convert_batchnorm(build_untrained(plan(model, data)), "stein", count=640)
    torch.save(trained.state_dict(), tmp_path / "stein.pth")
    options = {"model": model, "data": data, "weights": str(tmp_path / "stein.pth")}
    made = prepare(make_config({**options, "bn": ["stein"]}))
    built = build_network(made, "stein", Silent())
    assert built.conversion == "before-training"
    assert built.summary is not None
    assert built.summary.converted[0].count == 640
    for bn in ({}, {"bn": ["sample"]}, {"bn": ["stein", "jsnorm"]}):
        with pytest.raises(UsageError, match="with a single --bn, the one they were trained with"):
            prepare(make_config({**options, **bn}))


def test_a_network_with_stein_layers_of_its_own_is_refused(data: str, tmp_path: Path) -> None:
    # Its results would stand in the report as plain BN's.
    write_model(tmp_path)
    (tmp_path / "own.py").write_text(
        "from net import make as plain\nfrom stein_bench import convert_batchnorm\n\n\n"
        'def make(num_classes=3):\n    return convert_batchnorm(plain(num_classes), "stein")[0]\n'
    )
    with pytest.raises(UsageError, match="already has Stein layers"):
        plan(f"{tmp_path / 'own.py'}:make", data)

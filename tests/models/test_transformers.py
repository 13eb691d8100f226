"""Models of the transformers library: the same logits as the library's own, or one line that says what is missing."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.sources import find_model
from stein_bench.preparation.plan import prepare

LIBRARY = importlib.util.find_spec("transformers") is not None


def save(folder, kind="resnet", classes=3, **changes):
    """Write a tiny network with random weights and its image processor, as a user would, and return the network."""
    from transformers import (
        ConvNextImageProcessor,
        ResNetConfig,
        ResNetForImageClassification,
        ViTConfig,
        ViTForImageClassification,
        ViTImageProcessor,
    )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "resnet":
            sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
            network = ResNetForImageClassification(ResNetConfig(num_labels=classes, **sizes, **changes))
            network(
                torch.rand(32, 3, 32, 32)
            )  # in training mode: its running statistics are no longer those of a new one
            ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.9, resample=2).save_pretrained(folder)
        else:
            sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
            config = ViTConfig(num_labels=classes, image_size=16, patch_size=8, **sizes, **changes)
            network = ViTForImageClassification(config)
            nn.init.normal_(network.classifier.weight)
            ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    network.eval().save_pretrained(folder)
    return network


def pictures(folder, count=12):
    """Write photographs of several sizes in folders by class; return them by path."""
    rng = np.random.default_rng(0)
    images = {}
    for label in range(3):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(count // 3):
            image = Image.fromarray(rng.integers(0, 256, (40 + 7 * number, 57, 3), dtype=np.uint8))
            image.save(folder / f"class{label}" / f"{number}.png")
            images[f"class{label}/{number}.png"] = image
    return images


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_run_has_the_accuracy_and_logits_of_the_library(tmp_path, monkeypatch, kind):
    from transformers import AutoImageProcessor

    monkeypatch.chdir(tmp_path)
    network, images = save(tmp_path / "net", kind), pictures(tmp_path / "val")
    processor = AutoImageProcessor.from_pretrained("net", use_fast=False)
    with torch.no_grad():
        logits = torch.cat([network(**processor(image, return_tensors="pt")).logits for image in images.values()])
    accuracy = (logits.argmax(1) == torch.arange(12) // 4).float().mean()

    names, source = list(images), find_model("transformers:net")
    built = source.build(num_classes=None, pretrained=True)
    assert all(map(torch.equal, built.state_dict().values(), network.state_dict().values()))
    assert (source.name, source.pretrained.label_space, source.pretrained.num_classes) == ("net", None, 3)
    options = {
        "model": "transformers:net",
        "data": "imagefolder:val",
        "weights": "pretrained",
        "attack": ["fgsm", "pgd"],
    }
    plan = prepare(make_config(options))
    with torch.no_grad():
        own = plan.wrap(built)(plan.samples.batch(range(12))[0])
    torch.testing.assert_close(own, logits[[names.index(name) for name in plan.samples.ids]], rtol=1e-4, atol=1e-4)
    report = run_evaluation(make_config(options))
    assert report.variants[0].clean.accuracy == pytest.approx(float(accuracy))
    assert report.model.preprocessing.origin == "transformers net"
    assert report.model.notes is None
    if kind == "resnet":
        converted = run_evaluation(make_config({**options, "bn": ["stein"], "stats": ["running", "batch"]}))
        assert converted.variants[0].converted_layers == report.model.batchnorm_layers > 0


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
def test_the_classifier_fits_the_data_and_pretrained_weights_only_their_classes(tmp_path):
    save(tmp_path / "net")
    source = find_model(f"transformers:{tmp_path / 'net'}")
    assert source.classifier_layers() == ("classifier.1",)
    assert source.build(num_classes=5, in_channels=1)(torch.rand(2, 1, 32, 32)).logits.shape == (2, 5)
    with pytest.raises(UsageError, match=r"are for 3 classes and 3 channels, not 5 and 3\.$"):
        source.build(num_classes=5, pretrained=True)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
def test_weights_that_would_be_random_are_refused(tmp_path):
    network = save(tmp_path / "net", "vit")
    network.vit.save_pretrained(tmp_path / "net")  # without the classifier
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    (tmp_path / "net" / "config.json").write_text(
        json.dumps({**config, "architectures": ["ViTForImageClassification"]})
    )
    with pytest.raises(UsageError, match=r" lack classifier\.bias, classifier\.weight.*, which would be random\.$"):
        find_model(f"transformers:{tmp_path / 'net'}").build(num_classes=None, pretrained=True)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
def test_weights_in_half_precision_become_float32(tmp_path):
    network = save(tmp_path / "net")
    network.half().save_pretrained(tmp_path / "net")
    source = find_model(f"transformers:{tmp_path / 'net'}")
    built = source.build(num_classes=None, pretrained=True)
    assert source.notes == (f"the weights of {tmp_path / 'net'} are in float16; the model is run in float32",)
    assert {value.dtype for value in built.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert torch.equal(built.classifier[1].weight, network.classifier[1].weight.float())


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
def test_code_that_a_folder_brings_is_not_run_and_not_asked_for(tmp_path, monkeypatch):
    """The library asks at the terminal by default, and runs it if the answer is yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    save(tmp_path / "net", "vit")
    file = tmp_path / "net" / "config.json"
    table = json.loads(file.read_text()) | {"model_type": "mine", "auto_map": {"AutoConfig": "own.Mine"}}
    file.write_text(json.dumps(table))
    ran = tmp_path / "ran"
    (tmp_path / "net" / "own.py").write_text(
        f"from transformers import PretrainedConfig\nopen({str(ran)!r}, 'w')\nclass Mine(PretrainedConfig): pass\n"
    )
    with pytest.raises(UsageError, match="brings code of its own, which is not run"):
        find_model(f"transformers:{tmp_path / 'net'}").build(num_classes=3, pretrained=True)
    assert not ran.exists()


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY, reason="needs transformers")
def test_what_is_missing_is_said(tmp_path, monkeypatch):
    save(tmp_path / "net")
    file = tmp_path / "net" / "preprocessor_config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in written.items() if key != "resample"}))
    (note,) = find_model(f"transformers:{tmp_path / 'net'}").notes
    assert " names no filter for resizing: bi" in note
    file.unlink()
    with pytest.raises(
        UsageError, match=r"its preprocessing is unknown, since preprocessor_config\.json is missing or"
    ):
        _ = find_model(f"transformers:{tmp_path / 'net'}").pretrained
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UsageError, match=r"^transformers:me/net is neither a folder nor in the cache .*: download it wi"
    ):
        find_model("transformers:me/net").build(num_classes=None)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("./nowhere", r"^no such folder: '\./nowhere'\. Write transformers:FOLDER or transformers:ORG/NAME\.$"),
        ("resnet", r"^no such folder: 'resnet'\."),
        ("empty", r"^empty has no config\.json, which a model's save_pretrained writes\.$"),
    ],
)
def test_a_wrong_folder_is_one_line(tmp_path, monkeypatch, where, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        find_model(f"transformers:{where}")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^transformers:me/net needs the .*: pip install 'stein-bench\[hf\]'$"):
        find_model("transformers:me/net")

"""Patterns of names, and the models with BN among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.models.timm_models import TimmModel
from stein_bench.progress import Silent
from stein_bench.sweep.listfile import Entry
from stein_bench.sweep.models import expand
from tests.evaluation.test_memory import Notes


def specs(*given: str) -> list[str]:
    return [entry.spec for entry in expand([Entry(spec) for spec in given], Silent())]


def test_a_pattern_stands_for_the_models_of_a_library() -> None:
    assert specs("timm:test_vit?", "test_resnet") == [
        "timm:test_vit2",
        "timm:test_vit3",
        "timm:test_vit4",
        "test_resnet",
    ]
    assert specs("test_resne*") == ["timm:test_resnet"]
    assert specs("torchvision:resnet1*") == ["torchvision:resnet18", "torchvision:resnet101", "torchvision:resnet152"]
    assert all(spec.startswith("torchvision:fcn") for spec in specs("torchvision:fcn*"))
    assert "timm:resnet18.a1_in1k" in specs("timm:resnet18.a*")


def test_options_of_a_line_hold_for_all_that_its_pattern_stands_for() -> None:
    found = expand([Entry("timm:test_vit?", {"eps": "1/255"}, where="m.txt, line 1")], Silent())
    assert {entry.own["eps"] for entry in found} == {"1/255"}
    with pytest.raises(UsageError, match=r"m\.txt, line 1: name=x is for one model"):
        expand([Entry("timm:test_vit?", name="x", where="m.txt, line 1")], Silent())


def test_a_model_that_is_named_again_is_evaluated_once_and_a_note_says_so() -> None:
    notes = Notes()
    entries = [Entry("timm:test_vit2"), Entry("timm:test_vit?"), Entry("timm:test_vit3", {"eps": "1/255"})]
    found = expand(entries, notes)
    assert [entry.spec for entry in found] == [f"timm:test_vit{i}" for i in (2, 3, 4, 3)]
    assert "timm:test_vit2 is named more than once: it is evaluated once" in notes.notes


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnt1*", r"no model of timm matches 'resnt1\*'. Did you mean 'resnet"),
        ("torchvision:resnt5*", r"no model of torchvision matches 'resnt5\*'. Did you mean 'resnet"),
        ("hf-hub:org/*", "patterns are for names of libraries"),
        ("models/*.py:make", "patterns are for names of libraries"),
        ("test_vit?:bn", r"none of the 3 models that match 'test_vit\?' has BN layers"),
    ],
)
def test_a_pattern_without_models_is_one_line(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        specs(spec)


def test_models_with_bn_are_found_once_without_storage(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    built: list[tuple[str, str]] = []
    build = TimmModel.build

    def recorded(self: TimmModel, **options: object) -> nn.Module:
        network = build(self, **options)  # type: ignore[arg-type]
        built.append((self.name, next(network.parameters()).device.type))
        return network

    monkeypatch.setattr(TimmModel, "build", recorded)
    found = specs("timm:test_*net:bn")
    assert {"timm:test_resnet", "timm:test_byobnet", "timm:test_efficientnet"} <= set(found)
    assert not {"timm:test_convnext", "timm:test_nfnet"} & set(found)
    assert {device for _, device in built} == {"meta"}
    count = len(built)
    assert specs("timm:test_*net:bn") == found
    assert len(built) == count
    (cached,) = own_cache.rglob("batchnorm-timm-*.json")
    cached.write_text("damaged")
    assert specs("timm:test_*net:bn") == found


def test_a_model_that_cannot_be_built_without_storage_is_built_and_else_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = TimmModel.build

    def needs_values(self: TimmModel, **options: object) -> nn.Module:
        if self.name == "test_nfnet":
            raise UsageError("cannot build it")
        network = build(self, **options)  # type: ignore[arg-type]
        if next(network.parameters()).is_meta:
            raise NotImplementedError("no values on meta")
        return network

    monkeypatch.setattr(TimmModel, "build", needs_values)
    notes = Notes()
    assert [entry.spec for entry in expand([Entry("timm:test_*resnet:bn")], notes)] == ["timm:test_resnet"]
    with pytest.raises(UsageError, match="has BN layers"):
        expand([Entry("timm:test_nfnet*:bn")], notes)
    assert any("timm:test_nfnet is left out" in note for note in notes.notes)

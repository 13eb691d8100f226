"""The attack network: the same network run in another way, which never decides a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from stein_bench.attacks import native
from stein_bench.attacks.attack import resolve_attacks
from stein_bench.config import make_config
from stein_bench.data import open_data
from stein_bench.errors import UsageError
from stein_bench.evaluation import attack_choice
from stein_bench.evaluation.attack_network import (
    AttackNetwork,
    attack_network,
    disagreements,
    padded_sizes,
)
from stein_bench.evaluation.batches import Evaluated, Setting
from stein_bench.evaluation.loop import evaluate
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.units import DISAGREES
from stein_bench.guard import repeatable_backends
from stein_bench.memory import MemoryLimit
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.weights import WeightsCard, save_weights
from stein_bench.normalization.convert import batchnorm_stats, convert_batchnorm
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.report.document import AttackNetworkInfo, Report, report_schema
from stein_bench.tasks import IGNORE, TASKS


def how(**changes: Any) -> AttackNetworkInfo:
    return AttackNetworkInfo(**{"compile": False, "precision": "fp32", "memory_format": "contiguous", **changes})


class Seen(nn.Module):
    """A small network that remembers its batches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(32, 3),
        )  # fmt: skip
        self.batches: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        ordinary = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        self.batches.append((len(x), ordinary))
        return self.layers(x)


@pytest.fixture
def evaluated() -> Preprocessed:
    return Preprocessed(Seen(), [0.4, 0.5, 0.6], [0.2]).eval().requires_grad_(False)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace torch.compile, which takes long, by nothing, and remember how it was called."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: calls.append(options) or function)
    return calls


def images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def gradient(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and the gradient of a function in which every logit counts differently."""
    inputs = inputs.clone().requires_grad_(True)
    logits = model(inputs)
    weights = torch.arange(1.0, logits.numel() + 1).view_as(logits)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), inputs)[0]


BRIGHTEST = """
import torch
from torch import nn


def make():
    '''The brightest channel, which is the class of the small data set: nothing needs training.'''
    first, last = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Linear(3, 3)
    nn.init.dirac_(first.weight)
    nn.init.eye_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A network with BN that is right on every clean sample."""
    (tmp_path / "brightest.py").write_text(BRIGHTEST)
    return f"{tmp_path / 'brightest.py'}:make"


def run(model: str, data: str, **options: Any) -> Report:
    settings = {"model": model, "data": data, "weights": "none", "eps": "12/255", "limit": 24}
    return run_evaluation(make_config({**settings, **options}))


def outcomes(report: Report) -> list[Any]:
    return [(variant.outcomes.clean_correct, variant.outcomes.robust) for variant in report.variants]


def test_batches_are_padded_to_few_sizes() -> None:
    assert padded_sizes(100) == (8, 16, 32, 64, 100)
    assert padded_sizes(64) == (8, 16, 32, 64)
    assert [padded_sizes(size) for size in (1, 7, 8, 9)] == [(1,), (7,), (8,), (8, 9)]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 20, 21, 47])
def test_padding_and_splitting_change_neither_outputs_nor_gradients(evaluated: Preprocessed, count: int) -> None:
    network = AttackNetwork(evaluated, how(), padded_sizes(20))
    logits, slope = gradient(network, images(count))
    sizes = {size for size, _ in evaluated.network.batches}
    assert sizes <= {8, 16, 20}
    expected, expected_slope = gradient(evaluated, images(count))
    assert logits.shape == expected.shape
    assert torch.allclose(logits, expected, atol=1e-6)
    assert torch.allclose(slope, expected_slope, rtol=1e-4, atol=1e-5)


def test_an_empty_batch_is_passed_on(evaluated: Preprocessed) -> None:
    assert AttackNetwork(evaluated, how(), padded_sizes(8))(images(0)).shape == (0, 3)


def test_rows_that_fill_a_batch_send_no_gradient_even_where_it_is_infinite() -> None:
    """0 × ∞ is not a number: it must not reach the row that was repeated."""

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(dim=1, keepdim=True).sqrt().expand(-1, 2)

    model = Preprocessed(Root(), [0.0], [1.0]).eval()
    inputs = torch.zeros(3, 1, 1, 1)
    _, slope = gradient(AttackNetwork(model, how(), (8,)), inputs)
    assert torch.equal(slope, torch.full_like(slope, torch.inf))


def test_only_independent_samples_are_padded_and_shapes_are_static(
    evaluated: Preprocessed, uncompiled: list[dict[str, Any]]
) -> None:
    """Under batch statistics the batch is part of the question."""
    for batch_dependent, expected in ((False, 8), (True, 5)):
        evaluated.network.batches.clear()
        network = attack_network(evaluated, how(compile=True), 20, batch_dependent=batch_dependent)
        assert network is not None
        network(images(5))
        assert [size for size, _ in evaluated.network.batches] == [expected]
    assert [options["dynamic"] for options in uncompiled] == [False, False]


def test_the_evaluated_model_itself_is_attacked_by_default(evaluated: Preprocessed) -> None:
    assert attack_network(evaluated, None, 20, batch_dependent=False) is None
    assert attack_network(evaluated, how(), 20, batch_dependent=False) is None


def test_weights_and_buffers_are_shared(evaluated: Preprocessed) -> None:
    network = attack_network(evaluated, how(precision="bf16"), 20, batch_dependent=False)
    assert network is not None
    assert {id(tensor) for tensor in network.parameters()} == {id(tensor) for tensor in evaluated.parameters()}


def test_bf16_passes_give_float32_logits_and_gradients(evaluated: Preprocessed) -> None:
    network = attack_network(evaluated, how(precision="bf16"), 20, batch_dependent=False)
    assert network is not None
    (logits, slope), (exact, exact_slope) = gradient(network, images(5)), gradient(evaluated, images(5))
    assert (logits.dtype, slope.dtype) == (torch.float32, torch.float32)
    assert not torch.equal(logits, exact)
    assert torch.allclose(logits, exact, atol=0.05)
    assert torch.nn.functional.cosine_similarity(slope.flatten(), exact_slope.flatten(), dim=0) > 0.99


def test_channels_last_uses_a_copy_and_returns_ordinary_tensors(evaluated: Preprocessed) -> None:
    before = [(tensor.clone(), tensor.stride()) for tensor in evaluated.state_dict().values()]
    network = attack_network(evaluated, how(memory_format="channels_last"), 20, batch_dependent=False)
    assert network is not None
    copied = network.model.network
    assert {id(tensor) for tensor in network.parameters()}.isdisjoint(map(id, evaluated.parameters()))
    assert copied.layers[0].weight.is_contiguous(memory_format=torch.channels_last)
    copied.batches.clear()
    (logits, slope), (exact, exact_slope) = gradient(network, images(5)), gradient(evaluated, images(5))
    assert copied.batches == [(5, True)]
    assert evaluated.network.batches[-1] == (5, False)
    assert slope.is_contiguous()
    assert torch.allclose(logits, exact, atol=1e-6)
    assert torch.allclose(slope, exact_slope, rtol=1e-4, atol=1e-5)
    for (tensor, stride), now in zip(before, evaluated.state_dict().values(), strict=True):
        assert torch.equal(tensor, now)
        assert now.stride() == stride


def test_a_copy_evaluates_with_the_statistics_of_its_variant() -> None:
    network, _ = convert_batchnorm(Seen(), "stein")
    model = Preprocessed(network, [0.4], [0.2]).eval()
    with batchnorm_stats(network, "batch"):
        attacked = attack_network(model, how(memory_format="channels_last"), 20, batch_dependent=True)
        assert attacked is not None
        assert torch.allclose(attacked(images(5)), model(images(5)), atol=1e-6)
        assert not torch.allclose(attacked(images(5))[:1], attacked(images(1)), atol=1e-3)


FLIPPING = """
import torch
from torch import nn


class Flipping(nn.Module):
    '''Class 1 if the image is bright; in bfloat16, whose steps are 2 above 256, all logits are equal: class 0.'''

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 2)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[1] = 1 / 12
            self.linear.bias.copy_(torch.tensor([256.5, 256.0]))

    def forward(self, x):
        return self.linear(x.flatten(1))


def make():
    return Flipping()
"""


@pytest.fixture
def flipping(tmp_path: Path) -> tuple[str, str]:
    """A model whose verdict is another in bfloat16 for the bright images, 7 of 20."""
    (tmp_path / "flipping.py").write_text(FLIPPING)
    labels = (np.arange(20) < 7).astype(np.int64)
    images = np.where(labels, 200, 50)[:, None, None, None].repeat(2, 1).repeat(2, 2).repeat(3, 3).astype(np.uint8)
    np.savez(tmp_path / "bright.npz", images=images, labels=labels)
    return f"{tmp_path / 'flipping.py'}:make", f"npz:{tmp_path / 'bright.npz'}"


@pytest.mark.usefixtures("unchecked")
def test_a_verdict_that_only_bf16_gives_is_counted_and_does_not_enter_the_figures(flipping: tuple[str, str]) -> None:
    """pgd takes the bright images for misclassified from the start; the evaluated model knows better."""
    attacks = ["pgd:random_start=false", "fgsm"]
    report = run(*flipping, attack=attacks, attack_precision="bf16", eps="1/255", batch_size=8)
    (variant,) = report.variants
    assert variant.clean.accuracy == 1
    assert [attack.robust_accuracy for attack in variant.attacks] == [1, 1]
    assert [attack.verdict_differences for attack in variant.attacks] == [7, 7]
    assert report.run.attack_network == how(precision="bf16")
    assert report.run.environment.precision == "fp32"
    document = json.loads(report.to_json())
    jsonschema.validate(document, report_schema())
    assert document["variants"][0]["attacks"][0]["verdict_differences"] == 7


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("options", [{}, {"attack_precision": "fp32"}, {"precision": "bf16", "attack_precision": None}])
def test_without_a_difference_nothing_is_counted_or_recorded(
    flipping: tuple[str, str], options: dict[str, str]
) -> None:
    report = run(*flipping, attack="fgsm", eps="1/255", **options)
    assert report.run.attack_network is None
    assert not {"attack_network", "verdict_differences"} & {
        *json.loads(report.to_json())["run"],
        *json.loads(report.to_json())["variants"][0]["attacks"][0],
    }


@pytest.mark.usefixtures("unchecked")
def test_the_attack_may_be_more_precise_than_the_evaluation(flipping: tuple[str, str]) -> None:
    report = run(*flipping, attack="fgsm", eps="1/255", precision="bf16", attack_precision="fp32")
    (variant,) = report.variants
    assert variant.clean.accuracy == 13 / 20
    assert variant.attacks[0].verdict_differences == 7
    assert report.run.attack_network == how()


def test_passes_are_counted_once_and_only_those_of_the_attack(model: str, data: str) -> None:
    plain, lower = (run(model, data, attack="fgsm", attack_precision=name) for name in (None, "bf16"))
    attacks = [report.variants[0].attacks[0] for report in (plain, lower)]
    assert [(attack.forward_passes, attack.backward_passes) for attack in attacks] == [(24, 24)] * 2


def test_tf32_is_allowed_in_the_passes_of_the_attack_and_nowhere_else(evaluated: Preprocessed, data: str) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    passes: list[tuple[str, bool, bool]] = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            passes.append(("forward", matmul.allow_tf32, cudnn.allow_tf32))
            if x.requires_grad:
                x.register_hook(lambda _: passes.append(("backward", matmul.allow_tf32, cudnn.allow_tf32)))
            return x.mean(dim=(2, 3))

    samples = open_data(data).samples("test", None).first(7)  # few enough for a single chunk
    setting = Setting(samples, TASKS["classification"], 3, 7, 0, 0, torch.device("cpu"), False, MemoryLimit(7))
    model = Preprocessed(Watched(), [0.0], [1.0]).eval()
    attacked = AttackNetwork(model, how(precision="tf32"))
    with repeatable_backends():
        evaluated = Evaluated("v", model, setting, attacked)
        assert not evaluated.random
        passes.clear()  # those that show it
        phases = evaluate(evaluated, resolve_attacks(["fgsm"]))
        units = {label: list(computed) for label, computed in phases}
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, False)
    # the clean pass, the attack's two, verification, and the pass that is compared with it
    switches = [("forward", False), ("forward", True), ("backward", True), ("forward", False), ("forward", True)]
    assert passes == [(kind, on, on) for kind, on in switches]
    (unit,) = list(units.values())[-1]
    assert not unit.columns[DISAGREES].any()


def test_a_pass_that_fails_restores_the_switches() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError

    network = AttackNetwork(Preprocessed(Failing(), [0.0], [1.0]).eval(), how(precision="tf32"))
    with repeatable_backends():
        with pytest.raises(ZeroDivisionError):
            gradient(network, images(2))
        assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("changes", [{"compile": True}, {"precision": "tf32"}])
def test_several_gradients_of_one_pass(
    evaluated: Preprocessed, uncompiled: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    """As DeepFool and FAB ask for, one per class; a compiled graph can be run backward only once."""
    network = attack_network(evaluated, how(**changes), 8, batch_dependent=False)
    assert network is not None
    inputs = images(8).requires_grad_(True)
    logits, exact = network(inputs), evaluated(inputs)
    for label in range(3):
        (slope,) = torch.autograd.grad(logits[:, label].sum(), inputs, retain_graph=True)
        (expected,) = torch.autograd.grad(exact[:, label].sum(), inputs, retain_graph=True)
        assert torch.allclose(slope, expected, rtol=1e-4, atol=1e-6)
    assert len(evaluated.network.batches) == 2 + 2


def test_tf32_is_refused_where_it_would_change_nothing(model: str, data: str) -> None:
    with pytest.raises(UsageError, match="--attack-precision tf32 has no effect on cpu"):
        run(model, data, device="cpu", attack_precision="tf32")


@pytest.fixture
def channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the other memory format, as if on a device where it is faster."""
    monkeypatch.setattr(attack_choice, "_memory_format", lambda *_: "channels_last")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_another_memory_format_gives_the_same_verdicts_and_is_recorded(
    model: str, data: str, stats: str, request: pytest.FixtureRequest
) -> None:
    options = {"bn": "stein", "stats": stats, "attack": ["fgsm", "pgd:steps=3"], "batch_size": 12}
    expected = run(model, data, **options)
    assert 0 < expected.variants[0].attacks[1].robust_accuracy < 1
    request.getfixturevalue("channels_last")
    report = run(model, data, **options)
    assert outcomes(report) == outcomes(expected)
    assert report.run.attack_network == how(memory_format="channels_last")
    assert {attack.verdict_differences for variant in report.variants for attack in variant.attacks} == {0}


def test_the_evaluated_network_is_left_as_it_was(evaluated: Preprocessed, data: str) -> None:
    """Flags and gradients differ from what an attack sets, strides from those of the copy."""
    evaluated.requires_grad_(True)
    evaluated.network.layers[1].train()
    before = {name: (tensor.clone(), tensor.stride()) for name, tensor in evaluated.state_dict().items()}
    samples = open_data(data).samples("test", None)
    setting = Setting(samples, TASKS["classification"], 3, 20, 0, 0, torch.device("cpu"), False, MemoryLimit(20))
    for changes in ({"memory_format": "channels_last"}, {"precision": "bf16"}):
        attacked = attack_network(evaluated, how(**changes), 20, batch_dependent=False)
        for _, units in evaluate(Evaluated("v", evaluated, setting, attacked), resolve_attacks(["fgsm"])):
            assert not any(unit.failed for unit in units)
        assert evaluated.network.layers[1].training
        assert not evaluated.network.layers[0].training
        assert all(parameter.requires_grad and parameter.grad is None for parameter in evaluated.parameters())
        after = evaluated.state_dict()
        assert all(torch.equal(value, after[name]) for name, (value, _) in before.items())
        assert all(after[name].stride() == stride for name, (_, stride) in before.items())
        assert attacked is not None
        assert all(parameter.requires_grad for parameter in attacked.parameters())


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_a_resumed_run_goes_on_with_the_same_attack_network(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"attack": ["fgsm", "pgd"], "batch_size": 8, "attack_precision": "bf16"}
    expected = run(model, data, **options)
    real, calls = native.refill, []

    def interrupting(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    output = str(tmp_path / "report.json")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(native, "refill", interrupting)
        run(model, data, **options, output=output)
    with pytest.raises(UsageError, match=r"belongs to another run \(differs in attack_network, config_sha256\)"):
        run(model, data, **{**options, "attack_precision": None}, output=output, resume=True)
    with monkeypatch.context() as patched, pytest.raises(UsageError, match=r"\(differs in attack_network\)"):
        patched.setattr(attack_choice, "_memory_format", lambda *_: "channels_last")
        run(model, data, **options, output=output, resume=True)
    resumed = run(model, data, **options, output=output, resume=True)
    assert outcomes(resumed) == outcomes(expected)
    found = [[attack.verdict_differences for attack in report.variants[0].attacks] for report in (resumed, expected)]
    assert found[0] == found[1]


def test_a_surrogate_is_run_like_an_attack_network_and_its_verdicts_are_nobodys(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(make_config({"model": model, "data": data, "weights": "none"}))
    card = WeightsCard("brightest", "sample", 3, (0.0,), (1.0,), plan.samples.shape, "tiny", {}, 9)
    save_weights(tmp_path / "surrogate.safetensors", build_untrained(plan), card)
    made: list[nn.Module] = []
    for name in ("refill", "whole_batch"):
        real = getattr(native, name)
        monkeypatch.setattr(
            native, name, lambda network, *a, real=real, **k: made.append(network) or real(network, *a, **k)
        )
    attacks = ["transfer.pgd", "transfer.mifgsm", "pgd"]
    weights = str(tmp_path / "surrogate.safetensors")
    report = run(model, data, attack=attacks, surrogate=model, surrogate_weights=weights, attack_precision="bf16")
    transfer, _, white = (network.model for network in (made[0], made[0], made[-1]))
    assert isinstance(transfer, AttackNetwork)
    assert isinstance(white, AttackNetwork)
    assert transfer.model.precision == white.model.precision == "bf16"
    assert transfer.model.network is not white.model.network
    counted = [attack.verdict_differences is not None for attack in report.variants[0].attacks]
    assert counted == [False, False, True]


def test_a_map_differs_from_the_verified_one_if_any_pixel_count_does() -> None:
    task, labels = TASKS["segmentation"], torch.tensor([[[0, 1], [1, IGNORE]]] * 3)
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 1], [1, 0]]] * 3), 2).permute(0, 3, 1, 2).float()
    verified = {name: column.numpy() for name, column in task.outcomes(logits, labels).items()}
    own = logits.clone()
    own[0, :, 1, 1] = own[0, :, 1, 1].flip(0)  # a void pixel: no count changes
    own[1, :, 0, 0] = own[1, :, 0, 0].flip(0)
    own[2, :, 0] = own[2, :, 0].flip(1)  # two pixels change places: as many of each class are predicted

    class Fixed(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return own

    inputs = torch.rand(3, 3, 2, 2)
    found = disagreements(Fixed(), inputs, inputs, labels, task, verified)
    assert found.tolist() == [False, True, True]


def test_inputs_that_are_not_finite_are_replaced_as_in_verification(evaluated: Preprocessed) -> None:
    inputs, task = images(4), TASKS["classification"]
    labels = evaluated(inputs).argmax(dim=1)  # all correct: an output that is not finite would not be
    verified = {name: column.numpy() for name, column in task.outcomes(evaluated(inputs), labels).items()}
    adv_inputs = inputs.clone()
    adv_inputs[1, 0, 0, 0] = torch.nan
    assert not disagreements(evaluated, inputs, adv_inputs, labels, task, verified).any()


@pytest.fixture
def on_cuda(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what chooses the format for a run with those options as if its device were CUDA, and what was measured."""
    measured: list[tuple[Any, ...]] = []
    monkeypatch.setattr(attack_choice, "device_name", lambda _: "cuda (imagined)")
    monkeypatch.setattr(attack_choice, "_measured_format", lambda *args: measured.append(args) or "channels_last")

    def choose(batch_size: int = 20, precision: str = "fp32", **options: Any) -> str:
        plan = prepare(make_config({"model": model, "data": data, **options}))
        wrapped = plan.wrap(build_untrained(plan))
        imagined = type(plan)(**{**vars(plan), "device": torch.device("cuda")})
        return attack_choice._memory_format(imagined, wrapped, how(precision=precision), batch_size)

    return choose, measured


def test_the_format_is_measured_once_per_kind_of_pass(on_cuda: Any) -> None:
    choose, measured = on_cuda
    assert [choose() for _ in range(2)] == ["channels_last"] * 2
    assert len(measured) == 1
    choose(batch_size=21)
    choose(precision="bf16")
    assert len(measured) == 3
    assert choose(attack="noise-gaussian") == choose(attack="transfer.pgd") == "contiguous"
    assert len(measured) == 3


def test_nothing_is_measured_on_a_cpu(model: str, data: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_choice, "faster_format", lambda _: pytest.fail("measured"))
    assert run(model, data, attack="fgsm").run.attack_network is None
    assert not (own_cache / "memory-formats").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_measuring_times_whole_passes_in_both_formats(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    plan = prepare(make_config({"model": model, "data": data}))
    wrapped, timed = plan.wrap(build_untrained(plan)), []

    def choose(seconds: Any) -> str:
        timed.extend(seconds(name) for name in ("contiguous", "channels_last"))
        return "channels_last"

    monkeypatch.setattr(attack_choice, "faster_format", choose)
    assert attack_choice._measured_format(wrapped, how(precision=precision), 4, plan) == "channels_last"
    assert min(timed) > 0

    def uncopyable(*_: Any) -> None:
        raise RuntimeError("only tensors that the user made can be copied")

    monkeypatch.setattr(type(wrapped.network), "__deepcopy__", uncopyable, raising=False)
    assert attack_choice._measured_format(wrapped, how(precision=precision), 4, plan) == "contiguous"


def test_a_network_that_cannot_be_compiled_is_refused_before_anything_is_trained(
    model: str, data: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch, invoke: Any
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        def fail(_: Tensor) -> Tensor:
            raise RuntimeError("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

        return fail

    monkeypatch.setattr(torch, "compile", failing)
    result = invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--compile")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 2  # that it compiles, and that it cannot
    assert "--compile: torch.compile fails on" in result.stderr
    assert "No working C++ compiler found" in result.stderr
    assert not (own_cache / "fits").exists()
    assert (
        invoke(
            "evaluate", model, "--data", data, "--weights", "none", "--attack", "noise-gaussian", "--compile"
        ).exit_code
        == 0
    )


@pytest.mark.slow
def test_compiled_attacks_find_the_same_and_few_programs_are_compiled(model: str, data: str) -> None:
    """A batch of 4 and the rests of split batches are padded, so there is one shape, with and without gradients."""
    options = {"attack": ["fgsm", "pgd"], "limit": 20, "batch_size": 8}
    expected = run(model, data, **options)
    counters.clear()
    report = run(model, data, **options, compile=True)
    programs = counters["stats"]["unique_graphs"]
    assert 0 < programs <= 3  # one for the trial, and two
    assert outcomes(report) == outcomes(expected)
    assert 0 < report.variants[0].attacks[1].robust_accuracy < 1
    attacks = report.variants[0].attacks
    assert [attack.verdict_differences for attack in attacks] == [0, 0]
    passes = [[(a.forward_passes, a.backward_passes) for a in r.variants[0].attacks] for r in (report, expected)]
    assert passes[0] == passes[1]
    assert report.run.attack_network == how(compile=True)


@pytest.mark.slow
@pytest.mark.parametrize("bn", ["sample", "stein"])
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_compiled_attacks_of_every_kind(model: str, data: str, bn: str, stats: str) -> None:
    """Several backward passes through one graph (torchattacks' DeepFool and FAB), random search, targets."""
    attacks = [
        "autoattack:steps=5,queries=50",
        "torchattacks.DeepFool:steps=5",
        "torchattacks.FAB:steps=3",
        "pgd:norm=L2",
    ]
    options = {"bn": bn, "stats": stats, "attack": attacks, "limit": 20, "batch_size": 10, "eps": "12/255"}
    expected, report = run(model, data, **options), run(model, data, **options, compile=True)
    assert not report.dishonest()
    for found, plain in zip(report.variants[0].attacks, expected.variants[0].attacks, strict=True):
        assert found.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=1 / 20)
        assert found.verdict_differences == 0


@pytest.mark.slow
def test_a_missing_compiler_is_one_line(model: str, data: str, tmp_path: Path, monkeypatch: Any, invoke: Any) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    with inductor.patch({"cpp.cxx": (None, "no-such-compiler"), "fx_graph_cache": False}):
        torch.compiler.reset()
        result = invoke("evaluate", model, "--data", data, "--attack", "fgsm", "--compile")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 2  # that it compiles, and that it cannot
    assert "No working C++ compiler found" in result.stderr

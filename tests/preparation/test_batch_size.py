"""`--batch-size auto`: as many samples as fit, and never where the size is part of the question."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.preparation import batch_size as memory
from stein_bench.preparation.plan import prepare

CPU = torch.device("cpu")


def test_the_estimate_is_of_the_bytes_that_autograd_keeps() -> None:
    """A convolution keeps its input; BN and ReLU one tensor each of 8 maps (ReLU's output is also the pool's input)."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())
    per_sample = 4 * 16 * 16 * (3 + 8 + 8)
    small, large = (memory.activation_bytes(network, torch.zeros(n, 3, 16, 16)) for n in (2, 6))
    assert (large - small) / 4 == per_sample
    assert small - 2 * per_sample < 1000  # statistics of BN


def test_activations_are_counted_once_and_without_parameters() -> None:
    """Squaring keeps its input; so does the second square: two tensors of 2×1000 float32."""

    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1000))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.square().square() * self.scale

    assert memory.activation_bytes(Squares(), torch.zeros(2, 1000)) == 2 * 2 * 1000 * 4


class Square(nn.Module):
    """Keeps its input for the backward pass, and nothing else."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.square()


SHAPE = (1, 1000)
KEPT = 70_000
NEED = 3 * 4 * 1000 + KEPT
"""Estimated bytes of a sample: three times the activations, and what attacks keep."""


@pytest.mark.parametrize(
    ("free", "size"),
    [(0, 1), (1, 1), (4.1, 4), (15.1, 15), (16.1, 16), (17.1, 16), (64.1, 64), (71.9, 64), (1000.1, 960), (1e9, 5000)],
)
def test_on_the_cpu_the_estimate_takes_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free: float, size: int
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 4 * free * NEED)
    assert memory.fitting_batch_size(Square(), SHAPE, CPU, most=5000, kept=KEPT) == size


def test_attacks_keep_copies_of_the_inputs_and_the_random_numbers_of_square() -> None:
    assert memory.attack_bytes((3, 32, 32), queries=5000, open_batches=0) == 4 * (12 * 3 * 32 * 32 + 5000 * (2 + 3))
    assert memory.attack_bytes((1, 8, 8, 8), queries=0, open_batches=8) == 4 * 28 * 512


GIB = 2**30


class Allocator:
    """Stands for the memory of a CUDA device, of which some is used by the network and by other programs.

    A pass takes `fixed` bytes, and `each` for every sample, as long as they fit. The first pass also allocates a
    workspace that stays. Freed memory stays reserved until the cache is emptied.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, others: float = GIB) -> None:
        self.fixed, self.each, self.total, self.others = fixed, each, 24 * GIB, others
        self.used = self.peak = self.reserved = GIB / 2
        self.passes: list[int] = []
        for name, function in {
            "empty_cache": lambda: setattr(self, "reserved", self.used),
            "reset_peak_memory_stats": lambda _: setattr(self, "peak", self.used),
            "memory_allocated": lambda _: int(self.used),
            "max_memory_allocated": lambda _: int(self.peak),
            "memory_reserved": lambda _: int(self.reserved),
            "mem_get_info": lambda _: (int(self.total - self.others - self.reserved), self.total),
        }.items():
            monkeypatch.setattr(torch.cuda, name, function)
        monkeypatch.setattr(memory, "run_pass", lambda model, shape, device, samples: self.run(samples))

    def fits(self, samples: int, extra: float = 0) -> bool:
        return self.used + self.fixed + samples * (self.each + extra) <= self.total - self.others

    def run(self, samples: int) -> None:
        if not self.passes:
            self.used += 32 * 2**20
        self.passes.append(samples)
        if not self.fits(samples):
            raise torch.OutOfMemoryError("simulated")
        self.peak = self.used + self.fixed + samples * self.each
        self.reserved = max(self.reserved, self.peak)

    def choose(self, shape: tuple[int, ...] = (3, 32, 32), most: int = 10**9) -> int:
        return memory.fitting_batch_size(nn.Identity(), shape, torch.device("cuda"), most, KEPT)


@pytest.mark.parametrize("each", [1e5, 2e6, 9e7, 4e8, 2e9, 7e9])
@pytest.mark.parametrize("fixed", [0, 1e7, 1e9, 8e9, 2e10])
def test_on_cuda_what_is_chosen_fits_and_is_no_less_than_two_thirds_of_what_does(
    monkeypatch: pytest.MonkeyPatch, fixed: float, each: float
) -> None:
    for others in (GIB, 2 * GIB):
        device = Allocator(monkeypatch, fixed, each, others)
        if not device.fits(1):
            continue
        size, extra = device.choose(), KEPT
        largest = 0
        for bit in reversed(range(30)):
            largest += 2**bit if device.fits(largest + 2**bit, extra) else 0
        assert size <= max(largest, 1)
        assert largest <= max(1.5 * size, size + 1)
        assert device.reserved == device.used  # the probes' memory is given back


def test_the_number_of_samples_bounds_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Allocator(monkeypatch, 1e8, 1e5).choose(most=777) == 777


def test_what_torch_has_reserved_and_does_not_use_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Allocator(monkeypatch, 0, 1e8)
    plain = memory.free_bytes(torch.device("cuda"))
    device.reserved += 5 * GIB
    assert memory.free_bytes(torch.device("cuda")) == plain


def test_probes_that_do_not_fit_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Allocator(monkeypatch, 1e9, 2e9)
    assert device.choose() == 9  # 11 would fit
    assert device.passes == [1, 32, 16, 8, 2]
    device = Allocator(monkeypatch, 1e9, 1.5e10)
    assert device.choose() == 1
    assert device.passes == [1, 32, 16, 8, 4, 2]


def test_if_one_sample_does_not_fit_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        Allocator(monkeypatch, 1e9, 1e11).choose()
    message = "--batch-size auto: not even one sample of 3×32×32 fits into cuda (22.5 GiB free)."
    assert str(caught.value) == message


def test_a_probe_leaves_the_model_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen: list[torch.Tensor] = []
    network[0].register_full_backward_hook(lambda *_: seen.append(torch.ones(())))
    memory.run_pass(network, (3, 8, 8), CPU, 2)
    assert seen  # it ran backward
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_a_model_that_hides_its_gradients_is_probed_forward() -> None:
    class Hidden(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.detach().flatten(1).mean(dim=1)

    memory.run_pass(Hidden(), (3, 8, 8), CPU, 2)


@pytest.mark.gpu
def test_on_a_device_the_chosen_size_runs_and_its_double_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    torch.cuda.set_per_process_memory_fraction(4 * GIB / torch.cuda.get_device_properties(device).total_memory)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 4 * GIB - torch.cuda.memory_allocated(device))
    try:
        size = memory.fitting_batch_size(network.to(device).eval(), (3, 64, 64), device, 10**9, 0)
        assert memory.peak_bytes(network, (3, 64, 64), device, size) is not None
        assert memory.peak_bytes(network, (3, 64, 64), device, round(1.5 * size)) is None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 2**20 < memory.free_bytes(CPU) < 2**50


@pytest.mark.integration
def test_auto_changes_no_verdict(model: str, data: str) -> None:
    settings = {"model": model, "data": data, "attack": ["fgsm", "pgd"], "eps": "12/255"}
    auto, seven = (run_evaluation(make_config({**settings, "batch_size": size})) for size in ("auto", "7"))
    assert auto.variants[0].outcomes == seven.variants[0].outcomes


@pytest.mark.parametrize("options", [{"stats": "batch"}, {"bn": "stein", "controls": True}])
def test_auto_is_refused_where_the_size_is_part_of_the_question(
    model: str, data: str, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="results under batch statistics depend on the batch size"):
        prepare(make_config({"model": model, "data": data, "batch_size": "auto", **options}))


@pytest.mark.slow
def test_two_runs_give_equal_reports_but_for_the_run_and_its_times(model: str, data: str) -> None:
    settings = {
        "model": model,
        "data": data,
        "attack": ["fgsm", "pgd"],
        "bn": ["sample", "stein"],
        "stats": ["running", "batch"],
    }
    first, second = (run_evaluation(make_config(settings)).model_dump() for _ in range(2))
    other = run_evaluation(make_config({**settings, "attack": ["pgd", "fgsm"], "workers": 2})).model_dump()
    for report in (first, second, other):
        del report["run"]
        for variant in report["variants"]:
            variant["attacks"].sort(key=lambda attack: attack["label"])
            variant["effects"].sort(key=lambda effect: (effect["outcome"], effect["name"]))
            for part in (variant["clean"], *variant["attacks"]):
                del part["seconds"]
        report["diagnostics"].sort(key=lambda check: (check["name"], str(check["variant"]), str(check["attack"])))
    assert first == second
    probes = ("probe-", "unbounded")  # they take the budget of the first attack, here the same
    assert other["variants"] == first["variants"]
    assert [c for c in other["diagnostics"] if c["name"].startswith(probes)] == [
        c for c in first["diagnostics"] if c["name"].startswith(probes)
    ]

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


def test_activations_are_counted_once_and_without_parameters() -> None:
    """Squaring keeps its input; so does the second square: two tensors of 2×1000 float32."""

    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1000))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.square().square() * self.scale

    assert memory.activation_bytes(Squares(), torch.zeros(2, 1000)) == 2 * 2 * 1000 * 4


@pytest.mark.parametrize(
    ("free", "size"), [(0, 1), (3 * 4 * 4000, 1), (3 * 4 * 4000 * 5, 4), (3 * 4 * 4000 * 64, 64), (10**15, 512)]
)
def test_the_size_is_a_power_of_two_that_fits(monkeypatch: pytest.MonkeyPatch, free: int, size: int) -> None:
    """One square of 1,000 float32 keeps 4,000 bytes; three times that must fit into a quarter of what is free."""

    class Square(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.square()

    monkeypatch.setattr(memory, "free_bytes", lambda _: free)
    assert memory.fitting_batch_size(Square(), (1000,), CPU) == size


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 2**20 < memory.free_bytes(CPU) < 2**50


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

"""Batches of independent samples in chunks: what the model is shown, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.attacks.chunks import LARGEST, WHOLE, chunks
from stein_bench.attacks.losses import dlr, loss_gradient
from stein_bench.evaluation.outcomes import CountingModel
from tests.attacks.known import LinearClasses, problem, run

CPU = torch.device("cpu")
LARGE = 2 * LARGEST + WHOLE + 3
ASKS_FOR_CLASSES = {1}
"""The batch with which `run` finds out how many classes there are."""


class Watched(nn.Module):
    """Keeps the sizes of the batches that it is shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.sizes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        outputs: Tensor = self.model(inputs)
        return outputs


@given(st.integers(0, 5 * LARGEST))
def test_chunks_follow_one_another_and_have_few_sizes(count: int) -> None:
    parts = list(chunks(count, CPU))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= LARGEST and (size < WHOLE or size.bit_count() == 1) for size in sizes)
    assert sum(size < WHOLE for size in sizes) <= 1


def test_a_gpu_gets_its_batch_whole() -> None:
    assert list(chunks(5000, torch.device("cuda"))) == [slice(0, 5000)]


@pytest.mark.parametrize("backward", [True, False])
def test_gradients_logits_losses_and_passes_do_not_depend_on_the_chunks(*, backward: bool) -> None:
    inputs, labels = problem(LinearClasses(4, 12), (12,), LARGE)
    model = CountingModel(LinearClasses(4, 12).double())
    arguments = (inputs.double(), labels, labels, dlr)
    whole = loss_gradient(model, *arguments, batch_dependent=True, backward=backward)
    passes = (model.forward_passes, model.backward_passes)
    split = loss_gradient(model, *arguments, batch_dependent=False, backward=backward)
    for one, other in zip(whole, split, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    assert passes == (LARGE, LARGE if backward else 0)
    assert (model.forward_passes, model.backward_passes) == (2 * passes[0], 2 * passes[1])


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "mifgsm", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "fab"])
def test_gradients_come_in_chunks_only_where_samples_are_independent(attack: str) -> None:
    inputs, labels = problem(LinearClasses(4, 12), (12,), LARGE)
    spec = attack if attack == "fgsm" else f"{attack}:steps=2"
    batch_dependent = Watched(LinearClasses(4, 12))
    run(spec, batch_dependent, inputs, labels, batch_dependent=True)
    assert set(batch_dependent.sizes) - ASKS_FOR_CLASSES == {LARGE}
    independent = Watched(LinearClasses(4, 12))
    run(spec, independent, inputs, labels)
    assert LARGEST in independent.sizes

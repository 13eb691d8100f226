"""Where searches start: at the clean inputs, or at random, drawn ahead of their use where a GPU would wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.search import Batch
from stein_bench.host import upload


class CleanStart:
    """Maps samples to no perturbation at all: the search starts at the clean inputs, and evaluates them too."""

    def __call__(self, batch: Batch, attempts: Sequence[int]) -> Tensor:
        """Return zeros of the shape of the inputs."""
        return torch.zeros_like(batch.inputs)


class RandomStarts:
    """Maps samples and the numbers of their attempts to random starts in the ball, see `random_start`.

    Starts are drawn on the CPU, sample by sample, so that they do not depend on the device. For a GPU, those of first
    attempts can be drawn by another thread while it works on earlier samples (`prefetch`).

    Args:
        norm, eps: the ε-ball.
    """

    def __init__(self, norm: str, eps: float) -> None:
        self._norm, self._eps = norm, eps
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[int, tuple[Future[Tensor], int]] = {}

    def prefetch(self, batch: Batch) -> None:
        """Draw the starts of first attempts in the background, unless the samples are on the CPU."""
        if batch.inputs.device.type == "cpu":
            return
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="stein-bench-starts")
        drawn = self._thread.submit(random_start, batch.inputs.shape, batch.seeds, self._norm, self._eps)
        self._ahead |= {seed: (drawn, row) for row, seed in enumerate(batch.seeds)}

    def __call__(self, batch: Batch, attempts: Sequence[int]) -> Tensor:
        """Return a start for each sample on its device, (n, C, …)."""
        starts: dict[int, Tensor] = {}
        for row, (seed, attempt) in enumerate(zip(batch.seeds, attempts, strict=True)):
            if attempt == 0 and seed in self._ahead:
                drawn, place = self._ahead.pop(seed)
                starts[row] = drawn.result()[place]
        missing = [row for row in range(len(attempts)) if row not in starts]
        if missing:
            shape = (len(missing), *batch.inputs.shape[1:])
            seeds, numbers = ([values[row] for row in missing] for values in (batch.seeds, attempts))
            starts |= zip(missing, random_start(shape, seeds, self._norm, self._eps, numbers), strict=True)
        if not starts:
            return torch.zeros_like(batch.inputs)
        return upload(torch.stack([starts[row] for row in range(len(attempts))]), batch.inputs.device)

"""A model that watches an attack being tried, and ends it when its time is over or its end is known."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor, nn


class CutShort(Exception):  # noqa: N818 - not an error
    """The time for trying an attack is over."""


class Known(Exception):  # noqa: N818 - not an error
    """What is left of an attack is known."""


class Deadline:
    """The end of the time for trying something.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.perf_counter() > self._end

    def check(self) -> None:
        """Raise `CutShort` once it has passed."""
        if self.over:
            raise CutShort


class Recorder(nn.Module):
    """Counts calls and passes of a model, in samples; its outputs are unchanged.

    Args:
        model: the attacked model.
        deadline: after which the next call raises `CutShort`; None: never.
        ended: is shown the outputs of every call; once it returns true, `Known` is raised.

    Attributes:
        calls: number of calls.
        forward_passes, backward_passes: in samples.
        last: number of samples of the last call.
    """

    def __init__(
        self, model: nn.Module, deadline: Deadline | None = None, ended: Callable[[Tensor], bool] | None = None
    ) -> None:
        super().__init__()
        self.model, self._deadline, self._ended = model, deadline, ended
        self.calls = self.forward_passes = self.backward_passes = self.last = 0
        self.training = model.training

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs."""
        if self._deadline is not None:
            self._deadline.check()
        outputs: Tensor = self.model(inputs)
        self.calls, self.last = self.calls + 1, len(inputs)
        self.forward_passes += len(inputs)
        if outputs.requires_grad:
            outputs.register_hook(lambda _: self._count(len(inputs)))  # type: ignore[no-untyped-call]
        if self._ended is not None and self._ended(outputs.detach()):
            raise Known
        return outputs

    def _count(self, samples: int) -> None:
        self.backward_passes += samples

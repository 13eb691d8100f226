"""Drop-in replacements for `nn.BatchNorm1d`, `2d` and `3d` that normalize by shrinkage estimates.

The buffers `running_mean` and `running_var` hold running *sample* moments, as in ordinary batch
normalization, so that weights go both ways. One more buffer, `count`, holds the elements per channel of the
last training batch; 0, which weights of plain layers get when they are loaded, means unknown. (Plain layers
load a Stein layer's weights with ``strict=False``, or after conversion back.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from stein_bench.errors import UsageError, unknown_name
from stein_bench.normalization.context import is_watched, runs_plainly
from stein_bench.normalization.derived import DerivedMoments, Sources, may_be_kept, remember
from stein_bench.normalization.estimators import Count, widen
from stein_bench.normalization.estimators import estimator as estimator_function
from stein_bench.normalization.functional import ProcessGroup, elements_per_channel, normalize_batch
from stein_bench.normalization.fused import normalize_batch_fast
from stein_bench.normalization.names import EstimatorName, parse_estimator
from stein_bench.normalization.synchronised import group_to_synchronise

STATS = ("running", "batch")
"""The statistics that evaluation can use: the running averages, or those of the evaluated batch."""


class SteinNorm(_BatchNorm):
    """What all Stein layers share; to be mixed in before an ordinary batch normalization class.

    In training mode the batch's own statistics normalize, and running averages of the sample moments are
    kept. In evaluation mode `stats` alone decides: ``"running"`` shrinks the running averages, with
    N = `count` (infinity while unknown); ``"batch"`` shrinks the moments of the evaluated batch and changes
    no buffer. A layer with ``track_running_stats=False`` has no running averages and always uses the batch.

    With the estimator ``sample`` the layer computes exactly what the ordinary layer computes.

    A training batch of one element per channel has no variance: it leaves `running_var` and `count` alone.

    Args (all others go to the ordinary layer):
        estimator: an estimator's name, such as ``stein`` or ``ridge:0.3``.
        stats: ``running`` or ``batch``.

    Raises:
        UsageError: `estimator` or `stats` is not known.
    """

    count: Tensor | None
    _derived: DerivedMoments | None = None  # what evaluation derived from the running averages, until they change

    def __init__(self, *args: Any, estimator: str = "stein", stats: str = "running", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adopt(estimator, stats)

    def adopt(self, estimator: str | EstimatorName, stats: str) -> None:
        """Set estimator and statistics, and add what an ordinary layer lacks: the buffer `count`."""
        self.estimator = estimator
        self.stats = stats
        if "count" not in self._buffers:
            tracked = self.num_batches_tracked if self.track_running_stats else None
            self.register_buffer("count", None if tracked is None else torch.zeros_like(tracked))

    def release(self) -> None:
        """Remove all that `adopt` added, so that only an ordinary layer's state is left."""
        del self.count, self._estimator, self._stats
        self.__dict__.pop("_derived", None)

    @property
    def estimator(self) -> str:
        """The estimator's canonical name; setting it takes any spelling."""
        return str(self._estimator)

    @estimator.setter
    def estimator(self, name: str | EstimatorName) -> None:
        self._estimator = parse_estimator(name) if isinstance(name, str) else name

    @property
    def stats(self) -> str:
        """The statistics that evaluation uses: ``running`` or ``batch``."""
        return self._stats

    @stats.setter
    def stats(self, source: str) -> None:
        if source not in STATS:
            raise unknown_name("statistics source", source, STATS)
        self._stats = source

    def extra_repr(self) -> str:
        ordinary = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{ordinary}, estimator={self.estimator}, stats={self.stats}"

    def reset_running_stats(self) -> None:
        super().reset_running_stats()
        count = self._buffers.get("count")  # the ordinary constructor resets before there is one
        if count is not None:
            count.zero_()

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        return self._normalize(input)

    def sample_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sample moments that the running averages stand for: (mean, biased variance, N).

        Raises:
            UsageError: the layer keeps no running averages.
        """
        if self.running_mean is None or self.running_var is None:
            raise UsageError("this layer keeps no running averages (track_running_stats=False)")
        variance = widen(self.running_var)
        if self.count is None:
            count = torch.tensor(torch.inf, dtype=variance.dtype, device=variance.device)
        else:
            count = torch.where(self.count > 0, self.count.to(variance.dtype), torch.inf)
        return widen(self.running_mean), variance * (1 - 1 / count), count

    def running_moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance, float32 or wider, that evaluation with running statistics uses.

        Raises:
            UsageError: the layer keeps no running averages.
        """
        if self._is_ordinary and self.running_mean is not None and self.running_var is not None:
            return widen(self.running_mean), widen(self.running_var)  # ordinary layers keep it unbiased
        return estimator_function(self._estimator)(*self.sample_moments())

    @property
    def _is_ordinary(self) -> bool:
        return self._estimator.family == "sample"

    def _normalize(self, x: Tensor) -> Tensor:
        if not self._uses_batch():
            return self._normalize_by_running(x)
        group = self._group()
        if group is not None:
            return self._normalize_by_batch(x, group)
        count = elements_per_channel(x)
        if count == 0:
            return x.clone()  # nothing to normalize, and nothing to learn from
        if self._is_ordinary and count > 1:
            return self._normalize_as_ordinary(x, count)
        return self._normalize_by_batch(x, None)

    def _uses_batch(self) -> bool:
        return self.training or self._stats == "batch" or self._buffers["running_mean"] is None

    def _group(self) -> ProcessGroup | None:
        """Return the process group over whose batches the statistics are taken, or None for this batch alone."""
        return None

    def _normalize_by_running(self, x: Tensor) -> Tensor:
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if self._is_ordinary:
            return F.batch_norm(x, self.running_mean, self.running_var, weight, bias, eps=self.eps)
        mean, variance = self._derived_moments()
        if weight is not None and weight.dtype != mean.dtype:
            weight = weight.to(mean.dtype)
        if bias is not None and bias.dtype != mean.dtype:
            bias = bias.to(mean.dtype)
        return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

    def _derived_moments(self) -> tuple[Tensor, Tensor]:
        """Return `running_moments()`, computed anew only if something has changed since the last time."""
        buffers, kept = self._buffers, self._derived
        sources = cast(Sources, (buffers["running_mean"], buffers["running_var"], buffers["count"]))
        if kept is not None and not is_watched() and kept.still_right(self._estimator, sources):
            return kept.mean, kept.variance
        if sources[2] is None or not may_be_kept(sources):
            return self.running_moments()
        # later evaluations may record gradients, for which tensors made in inference mode are of no use
        with torch.inference_mode(False), torch.no_grad():
            kept = self._derived = remember(self._estimator, sources, *self.running_moments())
        return kept.mean, kept.variance

    def _normalize_as_ordinary(self, x: Tensor, count: int) -> Tensor:
        """Do what the ordinary layer does in training, bit for bit; without the averages in evaluation."""
        if not (self.training and self.track_running_stats) or self.num_batches_tracked is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        self.num_batches_tracked.add_(1)
        if self.count is not None:
            self.count.fill_(count)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        moments = (self.running_mean, self.running_var)
        return F.batch_norm(x, *moments, self.weight, self.bias, training=True, momentum=share, eps=self.eps)

    def _normalize_by_batch(self, x: Tensor, group: ProcessGroup | None) -> Tensor:
        plain = runs_plainly(x, self.weight, self.bias)
        function = normalize_batch_fast if plain else normalize_batch
        estimator = estimator_function(self._estimator)
        y, mean, variance, count = function(x, self.weight, self.bias, estimator, self.eps, group)
        if self.training and self.track_running_stats:
            self._track(mean, variance, count)
        return y

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Count) -> None:
        """Move the running averages towards the sample moments of a training batch of N = `count`."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        _move(self.running_mean, mean, share)
        if count > 1:
            _move(self.running_var, variance * (count / (count - 1)), share)
            if self.count is not None:
                self.count.fill_(count)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._derived = None  # frees memory on the device that the layer may be leaving
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_derived"}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if self.count is not None and prefix + "count" not in state_dict:
            running_mean = state_dict.get(prefix + "running_mean")
            if running_mean is not None:  # moments of a plain layer: their count is unknown
                state_dict[prefix + "count"] = running_mean.new_zeros((), dtype=torch.long)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _move(average: Tensor, value: Tensor, share: float | Tensor) -> None:
    average.copy_(widen(average) * (1 - share) + value * share)


class SteinBatchNorm1d(SteinNorm, nn.BatchNorm1d):
    """`nn.BatchNorm1d` (input ``(n, C)`` or ``(n, C, L)``) with a shrinkage estimator; see `SteinNorm`."""


class SteinBatchNorm2d(SteinNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` (input ``(n, C, H, W)``) with a shrinkage estimator; see `SteinNorm`."""


class SteinBatchNorm3d(SteinNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` (input ``(n, C, D, H, W)``) with a shrinkage estimator; see `SteinNorm`."""


class SteinSyncBatchNorm(SteinNorm, nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` (input ``(n, C, ...)``) with a shrinkage estimator; see `SteinNorm`.

    In training the statistics are those of the batches of all processes of `process_group` (the default group
    for None) together, which may differ in size; N counts the elements of all. Gradients reach the elements
    of every process. In evaluation each process is on its own, also with ``stats="batch"``. Without a process
    group, or alone in it, the layer is that of a single process. It works on the CPU, too.
    """

    def _group(self) -> ProcessGroup | None:
        return group_to_synchronise(self.process_group) if self.training else None


def stein_layers(model: nn.Module) -> Iterator[tuple[str, SteinNorm]]:
    """Yield (name, layer) of every Stein layer of `model`, shared ones once."""
    for name, module in model.named_modules():
        if isinstance(module, SteinNorm):
            yield name, module

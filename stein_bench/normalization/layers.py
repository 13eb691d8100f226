"""Drop-in replacements for `nn.BatchNorm1d`, `2d`, `3d` and `nn.SyncBatchNorm` that normalize with shrinkage estimates.

The buffers `running_mean` and `running_var` hold running *sample* moments, as in plain BN, so that weights can be
loaded in both directions. An additional buffer, `count`, holds the elements per channel of the last training batch; 0
means unknown and is set when weights of a plain layer are loaded. (Plain layers load a Stein layer's weights with
``strict=False``, or after conversion back.)
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
from stein_bench.normalization.own import OwnEstimator
from stein_bench.normalization.synchronized import group_to_synchronize

STATS = ("running", "batch")
"""Statistics sources in evaluation: the running averages, or the evaluated batch."""


class SteinNorm(_BatchNorm):
    """Base of all Stein layers: a mixin that precedes a plain BN class.

    Training mode normalizes with the batch statistics and updates running averages of the sample moments. In
    evaluation mode only `stats` matters: ``"running"`` shrinks the running averages, with N = `count` (infinity if
    unknown); ``"batch"`` shrinks the moments of the evaluated batch and changes no buffer. A layer with
    ``track_running_stats=False`` has no running averages and always uses batch statistics.

    With the estimator ``sample`` the layer computes exactly what the ordinary layer computes.

    A training batch with one element per channel has no variance and leaves `running_var` and `count` unchanged.

    Args (all others are passed to the ordinary layer):
        estimator: an estimator name, such as ``stein`` or ``ridge:0.3``.
        stats: ``running`` or ``batch``.

    Raises:
        UsageError: `estimator` or `stats` is unknown.
    """

    count: Tensor | None
    _derived: DerivedMoments | None = None  # cached for evaluation until the running averages change

    def __init__(self, *args: Any, estimator: str = "stein", stats: str = "running", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adopt(estimator, stats)

    def adopt(self, estimator: str | EstimatorName, stats: str) -> None:
        """Set estimator and statistics source, and add the buffer `count` if the layer lacks it."""
        self.estimator = estimator
        self.stats = stats
        if "count" not in self._buffers:
            tracked = self.num_batches_tracked if self.track_running_stats else None
            self.register_buffer("count", None if tracked is None else torch.zeros_like(tracked))

    def release(self) -> None:
        """Remove everything that `adopt` added, leaving the state of an ordinary layer."""
        del self.count, self._estimator, self._stats
        self.__dict__.pop("_derived", None)

    @property
    def estimator(self) -> str:
        """The estimator's canonical name; the setter accepts any spelling."""
        return str(self._estimator)

    @estimator.setter
    def estimator(self, name: str | EstimatorName) -> None:
        self._estimator = parse_estimator(name) if isinstance(name, str) else name

    @property
    def own_estimator(self) -> OwnEstimator | None:
        """The estimator if somebody brings it, None if stein-bench does."""
        return self._estimator.own

    @property
    def stats(self) -> str:
        """The statistics source in evaluation: ``running`` or ``batch``."""
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
        count = self._buffers.get("count")  # missing when the ordinary constructor calls this
        if count is not None:
            count.zero_()

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        return self._normalize(input)

    def sample_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the running sample moments: (mean, biased variance, N).

        Raises:
            UsageError: the layer has no running averages.
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
            UsageError: the layer has no running averages.
        """
        if self._is_ordinary and self.running_mean is not None and self.running_var is not None:
            return widen(self.running_mean), widen(self.running_var)  # ordinary layers use the unbiased variance
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
            return x.clone()  # an empty batch: nothing to normalize or to track
        if self._is_ordinary and count > 1:
            return self._normalize_as_ordinary(x, count)
        return self._normalize_by_batch(x, None)

    def _uses_batch(self) -> bool:
        return self.training or self._stats == "batch" or self._buffers["running_mean"] is None

    def _group(self) -> ProcessGroup | None:
        """Return the process group over which statistics are pooled, or None to use this batch alone."""
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
        """Return `running_moments()`, recomputed only if something has changed since the last call."""
        buffers, kept = self._buffers, self._derived
        sources = cast(Sources, (buffers["running_mean"], buffers["running_var"], buffers["count"]))
        if kept is not None and not is_watched() and kept.still_right(self._estimator, sources):
            return kept.mean, kept.variance
        if sources[2] is None or not may_be_kept(sources):
            return self.running_moments()
        # later evaluations may need gradients, which tensors created in inference mode do not support
        with torch.inference_mode(False), torch.no_grad():
            kept = self._derived = remember(self._estimator, sources, *self.running_moments())
        return kept.mean, kept.variance

    def _normalize_as_ordinary(self, x: Tensor, count: int) -> Tensor:
        """Do exactly what the ordinary layer does in training; in evaluation, leave the averages unchanged."""
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
        """Update the running averages with the sample moments of a training batch with N = `count`."""
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
            if running_mean is not None:  # weights of a plain layer: the count is unknown
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

    In training, statistics are pooled over the batches of all processes of `process_group` (the default group if
    None), which may differ in size; N counts the elements of all. Gradients reach the elements of every process. In
    evaluation nothing is pooled, even with ``stats="batch"``. Without a process group, or with a single process in
    it, the layer behaves like an unsynchronized one. It also works on the CPU.
    """

    def _group(self) -> ProcessGroup | None:
        return group_to_synchronize(self.process_group) if self.training else None


def stein_layers(model: nn.Module) -> Iterator[tuple[str, SteinNorm]]:
    """Yield (name, layer) of every Stein layer of `model`, shared ones once."""
    for name, module in model.named_modules():
        if isinstance(module, SteinNorm):
            yield name, module

"""A network with its preprocessing as the first layer, so that attacks work on inputs in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stein_bench.errors import UsageError, unknown_name
from stein_bench.models.outputs import check_float32, logits, per_sample

PRECISIONS = ("fp32", "bf16")


class Preprocessed(nn.Module):
    """``network((x - mean) / std)`` for inputs of any rank, with float32 logits.

    Args:
        network: takes (n, C, *spatial), returns (n, K) logits or an output that `outputs.logits` extracts them from.
        mean: one value, or one per channel, for inputs in [0, 1].
        std: one value, or one per channel, above 0.
        precision: ``fp32``, or ``bf16`` to run the network under bfloat16 autocast. Preprocessing and logits are
            float32 and gradients flow in either case.
        single_probability: the network returns the probability of class 1 of two, which becomes its logit.
        dense: whether there is a class per pixel. Otherwise (n, K, 1, 1) are scores (n, K) of a class per sample.

    Raises:
        UsageError: for a `mean` or `std` that `check_preprocessing` refuses, or an unknown `precision`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        precision: str = "fp32",
        *,
        single_probability: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        check_preprocessing(mean, std)
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        self.network = network
        self.precision, self.single_probability, self.dense = precision, single_probability, dense
        # not persistent, so that the state dict contains only the network
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 logits (n, K), or (n, K, H, W) if `dense`, for `x` (n, C, *spatial) in [0, 1].

        Raises what `scores` does.
        """
        outputs = self.scores(x)
        if self.single_probability:
            # finite where a float32 probability is exactly 0 or 1
            outputs = torch.logit(outputs.double(), eps=torch.finfo(torch.float64).eps)
        return outputs.float()

    def scores(self, x: Tensor) -> Tensor:
        """Return what the network returns for each sample or pixel, in the type in which it computes it.

        Raises `UsageError` if mean and std are for another number of channels, or the network's output holds no logits.
        """
        channels = x.shape[1]
        # without this check, three means would broadcast one channel to three
        for values in (self.mean, self.std):
            if values.numel() not in (1, channels):
                raise UsageError(f"mean and std are for {values.numel()} channels, the inputs have {channels}.")
        per_channel = (1, -1, *(1,) * (x.dim() - 2))
        scaled = (x - self.mean.view(per_channel)) / self.std.view(per_channel)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            output = self._output(scaled)
        scores = logits(output)
        if self.precision == "fp32":
            check_float32(scores)
        return scores if self.dense else per_sample(scores)

    def _output(self, scaled: Tensor) -> Any:
        """Return what the network returns; without a gradient if it raises for inputs that need one only."""
        if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and scaled.requires_grad):
            return self.network(scaled)
        try:
            return self.network(scaled)
        except (torch.OutOfMemoryError, UsageError):
            raise
        except Exception:  # noqa: BLE001 - raised again if it has another cause
            with torch.no_grad():
                return self.network(scaled.detach())

    def extra_repr(self) -> str:
        return f"mean={self.mean.tolist()}, std={self.std.tolist()}, precision={self.precision}"


_GRAY = " Give one value or, for a model of three channels, add ,channels=3 to the data (npz, npy, mnist, …)."


def check_preprocessing(mean: Sequence[float], std: Sequence[float], channels: int | None = None) -> None:
    """Raise `UsageError` unless `mean` and `std` are finite, `std` above 0, each of 1 or `channels` values.

    With `channels` None, only their lengths have to fit each other.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) == 0:
            raise UsageError(f"{name} has no values.")
        if channels is not None and len(values) not in (1, channels):
            plural = "channels" if channels > 1 else "channel"
            advice = _GRAY if channels == 1 and len(values) == 3 else ""
            raise UsageError(f"{name} has {len(values)} values, but the inputs have {channels} {plural}.{advice}")
        if not all(math.isfinite(value) for value in values):
            raise UsageError(f"{name} has a value that is not finite: {_listed(values)}")
    if any(value <= 0 for value in std):
        raise UsageError(f"std has a value that is not above 0: {_listed(std)}")
    if 1 not in (len(mean), len(std)) and len(mean) != len(std):
        raise UsageError(f"mean has {len(mean)} values, but std has {len(std)}.")


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)

"""The draws behind the verdicts on a random model: which are right, their expected accuracy, and the same packed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stein_bench.errors import UsageError
from stein_bench.report.packing import pack_bits, unpack_bits
from stein_bench.report.results import ExpectedAccuracy, Outcomes, PackedDrawn, PackedDraws
from stein_bench.statistics.rates import Bits, expected_accuracy


@dataclass(frozen=True, eq=False)
class Drawn:
    """Repeated predictions of a random model on n inputs, in two independent sets of D draws.

    Attributes:
        right: which draws of the set that gives figures are right, (n, D).
        selecting: how many of the other set are right, (n,): these only select the worst of several inputs.
    """

    right: Bits
    selecting: NDArray[np.int64]

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Drawn | None:
        """Return the draws from the columns ``draws`` and ``selecting``, (n, D); None if there are none."""
        if "draws" not in columns:
            return None
        return cls(columns["draws"].astype(np.bool_), columns["selecting"].astype(np.bool_).sum(axis=1))

    def worse_than(self, other: Drawn) -> Bits:
        """Return which inputs were right less often than the other ones, in the draws that select."""
        return np.asarray(self.selecting < other.selecting, np.bool_)

    def where(self, taken: Bits, other: Drawn) -> Drawn:
        """Return the draws with those of the samples that are `taken` from another input."""
        right = np.where(taken[:, None], other.right, self.right)
        return Drawn(right, np.where(taken, other.selecting, self.selecting))

    def expected(self, cluster: int) -> ExpectedAccuracy:
        """Return the mean over samples of the share of draws that are right, see `expected_accuracy`."""
        rate = expected_accuracy(self.right, cluster)
        return ExpectedAccuracy(value=rate.value, ci95=(rate.low, rate.high), draws=self.right.shape[1])


def pack_drawn(clean: Drawn | None, robust: Mapping[str, Drawn | None]) -> PackedDraws | None:
    """Return the draws of all outcomes, robust ones by label, as the report keeps them; None if there are none."""
    if clean is None:
        return None
    return PackedDraws(
        draws=clean.right.shape[1],
        clean=_pack(clean),
        robust={label: _pack(drawn) for label, drawn in robust.items() if drawn is not None},
    )


def unpack_drawn(kept: Outcomes) -> tuple[Drawn | None, dict[str, Drawn]]:
    """Undo `pack_drawn`.

    Raises:
        UsageError: the packed draws are damaged.
    """
    packed, n = kept.drawn, kept.samples
    if packed is None:
        return None, {}
    draws = packed.draws

    def unpack(one: PackedDrawn) -> Drawn:
        right = unpack_bits(one.right, n * draws).reshape(n, draws)
        try:
            selecting = np.frombuffer(base64.b64decode(one.selecting, validate=True), "<u2").astype(np.int64)
        except ValueError:
            raise UsageError("packed draws are not base64 or of odd length; the report is damaged.") from None
        if selecting.size != n:
            raise UsageError(f"packed draws hold {selecting.size} counts for {n} samples; the report is damaged.")
        return Drawn(right, selecting)

    return unpack(packed.clean), {label: unpack(one) for label, one in packed.robust.items()}


def _pack(drawn: Drawn) -> PackedDrawn:
    counts = base64.b64encode(drawn.selecting.astype("<u2").tobytes()).decode()
    return PackedDrawn(right=pack_bits(drawn.right), selecting=counts)

"""Confidence and its calibration, from the columns ``confidence`` and ``correct``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stein_bench.measures.outcome import Columns
from stein_bench.report.results import Calibration
from stein_bench.statistics.calibration import calibration_error, error_if_calibrated
from stein_bench.statistics.rates import Bits

CONFIDENCE, CORRECT = "confidence", "correct"
_DIGITS = 6
"""Decimals of the figures: the next ones of a float32 softmax depend on the machine and on the size of a batch."""


def calibration(draws: Sequence[Columns]) -> Calibration | None:
    """Return how well the confidence of predictions agrees with their accuracy.

    Args:
        draws: the columns of several draws of the same samples, or of one. Predictions whose confidence is not finite
            are left out. Calibration errors are means over the draws, all else is of the predictions of all draws.

    Returns:
        None without the columns, or if no prediction is left.
    """
    if not draws or not all(CONFIDENCE in columns and CORRECT in columns for columns in draws):
        return None
    counted = [pair for pair in map(_finite, draws) if pair[0].size]
    if not counted:
        return None
    confidence, correct = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    mean, accuracy = float(confidence.mean()), float(correct.mean())
    wrong = confidence[~correct]
    return Calibration(
        predictions=correct.size,
        accuracy=accuracy,
        confidence=round(mean, _DIGITS),
        confidence_when_wrong=round(float(wrong.mean()), _DIGITS) if wrong.size else None,
        overconfidence=round(mean - accuracy, _DIGITS),
        ece=_mean([calibration_error(p, right) for p, right in counted]),
        ece_if_calibrated=_mean([error_if_calibrated(p) for p, _ in counted]),
    )


def calibration_under_attack(clean: Columns, adversarial: Columns, void: Bits) -> Calibration | None:
    """Return the calibration on the inputs that count: the adversarial ones, and the clean ones where those are `void`.

    Unlike in a robust accuracy, a prediction is right if it is right on that input, whatever it is on the other one.
    """
    names = [name for name in (CONFIDENCE, CORRECT) if name in clean and name in adversarial]
    return calibration([{name: np.where(void, clean[name], adversarial[name]) for name in names}])


def _finite(columns: Columns) -> tuple[NDArray[np.float64], Bits]:
    confidence = columns[CONFIDENCE].astype(np.float64)
    known = np.isfinite(confidence)
    return confidence[known], columns[CORRECT].astype(np.bool_)[known]


def _mean(errors: Sequence[float]) -> float:
    return round(sum(errors) / len(errors), _DIGITS)

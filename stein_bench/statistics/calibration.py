"""Calibration: whether predictions made with a confidence of p are right in a share p of all cases. Pure NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Bits

BINS = 15
"""The number of bins in Guo et al. (2017)."""


def calibration_error(confidence: NDArray[np.floating], correct: Bits, bins: int = BINS) -> float:
    """Return the expected calibration error (ECE) of n predictions, in [0, 1]; NaN for n = 0.

    It is Σ_b |accuracy_b - mean confidence_b|·n_b/n over bins of equal width. Bin b of B has the confidences in
    ((b-1)/B, b/B], and 0 is in the first one.

    Sources: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3;
    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Args:
        confidence: the probability that the model gives to the class it predicts, in [0, 1], (n,).
        correct: which predictions are right, (n,).
        bins: number of bins.
    """
    if not confidence.size:
        return math.nan
    surplus = correct.astype(np.float64) - confidence.astype(np.float64)
    return float(np.abs(_by_bin(confidence, surplus, bins)).sum()) / confidence.size


def error_if_calibrated(confidence: NDArray[np.floating], bins: int = BINS) -> float:
    """Return the ECE to be expected if every prediction is right with exactly the probability of its confidence.

    It is not 0: in each bin the accuracy of finitely many samples deviates from its expectation, and the ECE adds up
    absolute deviations. So an ECE no larger than this is no sign of miscalibration. That the scatter of a calibrated
    model is what a reliability diagram has to be held against is the idea of Bröcker and Smith, "Increasing the
    reliability of reliability diagrams", Weather and Forecasting 22 (2007).

    The number of right predictions in a bin then has the variance v = Σ p(1-p), and its mean absolute deviation is
    √(2v/π) in the normal approximation. Where hardly any error is expected that is too large: it is at most 2v, the sum
    of the deviations of single predictions. In simulations the result was within 8 % for 50 samples or more.

    Args:
        confidence: as in `calibration_error`; the predictions are taken as independent of each other.
        bins: number of bins.
    """
    if not confidence.size:
        return math.nan
    p = confidence.astype(np.float64)
    variance = _by_bin(confidence, p * (1 - p), bins)
    return float(np.minimum(np.sqrt(2 / math.pi * variance), 2 * variance).sum()) / confidence.size


def _by_bin(confidence: NDArray[np.floating], values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the sum of the values whose confidence is in each bin, (bins,)."""
    number = np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1
    return np.bincount(number.clip(0, bins - 1), weights=values, minlength=bins).astype(np.float64)

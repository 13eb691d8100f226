"""Mean corruption error: errors under common corruptions, relative to those of a baseline. Pure functions, no torch.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, section 4. With E_{s,c} the top-1 error of a model under corruption c at severity s, and A
those of the baseline (for ImageNet-C AlexNet):

    CE_c = Σ_s E_{s,c} / Σ_s A_{s,c},   relative CE_c = Σ_s (E_{s,c} - E_clean) / Σ_s (A_{s,c} - A_clean),

and mCE and relative mCE are their means over the corruptions. All are ratios: 1 is the baseline; papers print percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

SEVERITIES = 5
"""The number of severities over which `ALEXNET` was averaged, 1 to 5."""

_ALEXNET_MEANS = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640,
    "defocus_blur": 0.819880, "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360,
    "snow": 0.866816, "frost": 0.826572, "fog": 0.819324, "brightness": 0.564592,
    "contrast": 0.853204, "elastic_transform": 0.646056, "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip

ALEXNET: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {name: (mean,) * SEVERITIES for name, mean in _ALEXNET_MEANS.items()}
)
"""AlexNet's published top-1 errors on ImageNet-C by corruption.

Published are means over the five severities; each stands here for all five, so that sums over all of them are right
and those over some of them are refused. Sources, which agree in every digit: google-research/augmix, imagenet.py
("taken from github.com/hendrycks/robustness", whose authors link a spreadsheet), and bethgelab/game-of-noise, utils.py.
They hold for 224×224 images of ImageNet-C as it was distributed, and for no other data.
"""

LEAST = 1e-9
"""Less than this, a sum of errors is 0 up to rounding: a single error among 10^8 samples is more."""

ALEXNET_CLEAN = 0.435
"""AlexNet's top-1 error on ImageNet's validation images.

Source: Hendrycks and Dietterich (2019), table 1: 43.5 %; torchvision's AlexNet_Weights.IMAGENET1K_V1 has an accuracy of
56.522 %.
"""


def corruption_error(errors: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Return CE, the errors under one corruption over those of the baseline; None if the baseline has no error.

    Args:
        errors: of the model, each in [0, 1], one for each severity.
        baseline: of the baseline, at the same severities.

    Raises:
        ValueError: the numbers of severities differ.
    """
    return _ratio(errors, 0.0, baseline, 0.0)


def relative_corruption_error(
    errors: Sequence[float], clean: float, baseline: Sequence[float], baseline_clean: float
) -> float | None:
    """Return relative CE, how much the error rises under one corruption over how much that of the baseline does.

    It is negative if the model has less errors under the corruption than without it; None if those of the baseline do
    not rise, so that there is nothing to compare with.

    Args:
        errors: of the model, each in [0, 1], one for each severity.
        clean: the model's error on the clean images.
        baseline: of the baseline, at the same severities.
        baseline_clean: the baseline's error on the clean images.

    Raises:
        ValueError: the numbers of severities differ.
    """
    return _ratio(errors, clean, baseline, baseline_clean)


def mce(errors: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]]) -> float | None:
    """Return the mean corruption error: the mean of `corruption_error` over all corruptions, 1 for the baseline itself.

    Args:
        errors: of the model, by corruption: each in [0, 1], one for each severity.
        baseline: of the baseline: the same corruptions at the same severities, in any order of the corruptions.

    Returns:
        None without corruptions, and if the baseline has no error under one of them.

    Raises:
        ValueError: the corruptions, or the numbers of their severities, differ.
    """
    return relative_mce(errors, 0.0, baseline, 0.0)


def relative_mce(
    errors: Mapping[str, Sequence[float]],
    clean: float,
    baseline: Mapping[str, Sequence[float]],
    baseline_clean: float,
) -> float | None:
    """Return the relative mean corruption error: the mean of `relative_corruption_error` over all corruptions.

    Args:
        errors: of the model, by corruption: each in [0, 1], one for each severity.
        clean: the model's error on the clean images.
        baseline: of the baseline: the same corruptions at the same severities, in any order of the corruptions.
        baseline_clean: the baseline's error on the clean images.

    Returns:
        None without corruptions, and if the baseline's error does not rise under one of them.

    Raises:
        ValueError: the corruptions, or the numbers of their severities, differ.
    """
    if errors.keys() != baseline.keys():
        only = ", ".join(sorted(errors.keys() ^ baseline.keys()))
        raise ValueError(f"errors and those of the baseline are under different corruptions: only one has {only}")
    ratios = [_ratio(errors[name], clean, baseline[name], baseline_clean) for name in errors]
    known = [ratio for ratio in ratios if ratio is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(ratios) else None


def _ratio(errors: Sequence[float], clean: float, baseline: Sequence[float], baseline_clean: float) -> float | None:
    if len(errors) != len(baseline):
        raise ValueError(f"errors at {len(errors)} severities cannot be related to errors at {len(baseline)}")
    above, below = (
        math.fsum([*rates, -len(rates) * least]) for rates, least in ((errors, clean), (baseline, baseline_clean))
    )
    return above / below if below > LEAST else None

"""Names of the common corruptions.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019: 15 corruptions in four groups at severities 1 to 5, over which means are taken, and 4 more.
"""

from __future__ import annotations

STANDARD = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
"""The 15 corruptions of the benchmark, in the paper's order: noise, blur, weather, digital."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four extra corruptions, which no published mean includes."""

SEVERITIES = range(1, 6)

OWN_TEXTURE = ("frost",)
"""Corruptions whose published form needs photographs that this project does not have and replaces by a texture of its
own: numbers under them are not comparable with published ones."""

DETERMINISTIC = (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate",
)  # fmt: skip
"""Corruptions that draw nothing, so that the seed does not matter."""

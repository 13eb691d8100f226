"""What may help when a model rejects its inputs, by the words of its error."""

from __future__ import annotations

import re
from collections.abc import Sequence

PRECISIONS = re.compile(r"c10::(Half|BFloat16)|\b(Half|BFloat16|Double|b?float16|float64)\b|type \((double|half)")
"""Words of torch's errors where a model that is run in float32 meets another precision."""
SHAPES = re.compile(
    r"size|shape|dimension|channel|\d-?D\b|spatial|height|width|kernel|patch|view|divisible|too small", re.IGNORECASE
)
"""Words of errors about shapes, of torch's and of libraries of models."""


def advice(error: str, shape: Sequence[int]) -> str:
    """Return what may help a model that rejects inputs of that `shape` (C, …): ``""``, or a space and a sentence."""
    if PRECISIONS.search(error):
        return (
            " Models are run in float32: leave out half(), double() and conversions of the inputs in the model's code."
        )
    if not SHAPES.search(error):
        return ""
    if len(shape) != 3:
        return " It may expect images, not volumes."
    if shape[0] == 1:
        return " The data has one channel; for a model of three, add ,channels=3 to --data (npz, npy, mnist)."
    return " Another --image-size may fit."

"""The words that stand for weights, and files with a name like one of them."""

from __future__ import annotations

import os.path
from collections.abc import Sequence

from stein_bench.errors import UsageError, did_you_mean, suggestion

WEIGHTS_KEYWORDS = ("auto", "pretrained", "none", "fit")
OTHER_WORDS = {"default": "pretrained", "imagenet": "pretrained", "random": "none", "scratch": "none"}
"""Words for weights elsewhere, and the keyword that may be meant."""


def check_weights_name(text: str, keywords: Sequence[str]) -> None:
    """Raise a `UsageError` if there is no file `text` and it looks like one of the `keywords`."""
    if text in keywords:
        return
    meant = OTHER_WORDS.get(text.lower(), "")
    near = did_you_mean([meant]) if meant in keywords else suggestion(text, keywords, 1)
    if near and not os.path.lexists(os.path.expanduser(text)):
        raise UsageError(f"no such file: {text}.{near}")

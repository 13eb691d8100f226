"""Per-sample outcomes as text: packed bits, and a hash that identifies the samples of a report."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import numpy as np

from stein_bench.errors import UsageError
from stein_bench.statistics.rates import Bits


def pack_bits(bits: Bits) -> str:
    """Pack booleans into base64, most significant bit first (as `numpy.packbits`)."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack_bits(text: str, samples: int) -> Bits:
    """Undo `pack_bits` for `samples` booleans.

    Raises:
        UsageError: the text is not base64 or has the wrong length.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except ValueError:
        raise UsageError("packed outcomes are not base64; the report is damaged.") from None
    if packed.size != (samples + 7) // 8:
        raise UsageError(f"packed outcomes hold {packed.size} bytes, which does not match {samples} samples.")
    return np.unpackbits(packed, count=samples).astype(np.bool_)


def hash_ids(ids: Sequence[str]) -> str:
    """Return the SHA-256 over the sample ids in order: reports with equal hashes can be paired."""
    digest = hashlib.sha256()
    for sample_id in ids:
        digest.update(sample_id.encode("utf-8", "surrogatepass").replace(b"\0", b"\xff") + b"\0")  # 0xff is in no UTF-8
    return digest.hexdigest()

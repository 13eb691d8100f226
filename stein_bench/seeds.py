"""Seeds derived from their purpose, independent of what ran before."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2⁶³) that is a function of `parts` alone.

    Randomness derives from (run seed, attack, sample id, restart), so that an outcome depends neither on the
    batch size nor on the order of attacks nor on resuming. Parts are separated unambiguously before hashing.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}".replace("\x1f", "\x1f\x1f") for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

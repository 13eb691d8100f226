"""What the tests on a CUDA device share: the backends of an evaluation, and two networks that are alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stein_bench.guard import repeatable_backends


@pytest.fixture(autouse=True)
def backends() -> Iterator[None]:
    """Compute as an evaluation does: without TF32, by deterministic kernels where there are some."""
    with repeatable_backends():
        yield

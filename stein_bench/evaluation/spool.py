"""Rows of tensors that are put aside for later: in memory as long as they are few, else in a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import torch
from torch import Tensor

from stein_bench.errors import RunError

IN_MEMORY = 2**24
"""Bytes up to which nothing is written to the disk."""


class RowSpool:
    """Rows of float32 tensors on the CPU, all of one shape. The file has no name, and goes with its process."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed with the spool
        self._shape: tuple[int, ...] = ()
        self._row_bytes = self._count = 0

    def append(self, rows: Tensor) -> range:
        """Put `rows` (n, …) aside and return their numbers; RunError if there is no room for them."""
        self._shape, self._row_bytes = tuple(rows.shape[1:]), rows[:1].numel() * rows.element_size()
        numbers = range(self._count, self._count + len(rows))
        try:
            self._file.seek(self._count * self._row_bytes)
            self._file.write(rows.contiguous().numpy().tobytes())
        except OSError as error:
            raise RunError(
                f"adversarial inputs are kept for their replay in {tempfile.gettempdir()}, where they cannot be "
                f"written ({error.strerror or error}): set TMPDIR to a folder with more room."
            ) from error
        self._count = numbers.stop
        return numbers

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """Return the rows of these numbers, (n, …), as a tensor of their own."""
        content = bytearray()
        for number in numbers:
            self._file.seek(number * self._row_bytes, os.SEEK_SET)
            content += self._file.read(self._row_bytes)
        if not content:
            return torch.empty((0, *self._shape))
        return torch.frombuffer(content, dtype=torch.float32).view(len(numbers), *self._shape)

    def close(self) -> None:
        """Let go of all rows, and of the file."""
        self._file.close()

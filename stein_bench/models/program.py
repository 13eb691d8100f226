"""Programs: networks that were exported together with their weights, TorchScript's and those of torch.export.

Layers and weights of a program are fixed. What differs between the two kinds is in `torchscript` and `exported`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stein_bench.errors import UsageError, reason
from stein_bench.models.archives import DESCRIBED, ArchiveKind, archive_kind, program_as_model
from stein_bench.models.interface import digest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Program:
    """The source of a program in the file at `path`, a subclass for each kind of program.

    `kind` is its name in sentences; `compiles` whether torch.compile can compile it; `again` says how to export it
    again, in eval mode and for any batch size.
    """

    path: str

    pretrained: ClassVar[None] = None
    own_weights: ClassVar[bool] = True
    prefix: ClassVar[str]
    holds: ClassVar[ArchiveKind]
    compiles: ClassVar[bool]
    again: ClassVar[str]

    @property
    def spec(self) -> str:
        return f"{self.prefix}:{self.path}"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    @property
    def kind(self) -> str:
        return DESCRIBED[self.holds]

    @property
    def origin_of_weights(self) -> str:
        return f"those in the program {self.path}"

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Load the program; numbers of classes and channels are its own. See `ModelSource.build`."""
        del num_classes, in_channels
        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained weights, only those in its file.")
        try:
            return self.load(self.file, self.sha256)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"cannot load {self.spec}: {reason(error).rstrip('.')}. Export it again with this version of torch, by "
                f"{self.again}."
            ) from error

    def load(self, file: Path, sha256: str) -> nn.Module:
        """Return the network of the program in `file`, on the CPU."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return the hash of the file, which holds architecture and weights."""
        return digest(self.prefix, self.sha256)

    @property
    def file(self) -> Path:
        return Path(os.path.expanduser(self.path))

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        try:
            with self.file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {reason(error)}") from error

    def check_file(self) -> None:
        """Raise a `UsageError` unless the file exists and holds a program of this kind."""
        if not self.path:
            raise UsageError(f"{self.spec!r} names no file: write {self.prefix}:FILE.")
        if self.file.is_dir():
            raise UsageError(f"{self.path} is a folder: name the file of the program in it, {self.prefix}:FILE.")
        if not self.file.is_file():
            raise UsageError(f"no such file: {self.path}")
        found = archive_kind(self.file)
        if found == self.holds:
            return
        if found is None:
            raise UsageError(f"{self.path} is not {self.kind}, or is damaged.")
        named = program_as_model(self.file, self.path)
        todo = {
            "compiled": f"it has no gradients; save the exported program itself with torch.export.save as {self.path}",
            "weights": f"name the model that its weights belong to, and give --weights {self.path}",
        }
        raise UsageError(f"{self.path} is {DESCRIBED[found]}: {todo.get(found, f'write {named}')}.")

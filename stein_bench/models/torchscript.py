"""TorchScript programs, ``jit:FILE``, as ``torch.jit.save`` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stein_bench.models.archives import ArchiveKind
from stein_bench.models.interface import quiet_library
from stein_bench.models.program import Program

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchScriptProgram(Program):
    """A module of ``torch.jit.script``, ``torch.jit.trace`` or ``torch.jit.freeze``."""

    prefix: ClassVar[str] = "jit"
    holds: ClassVar[ArchiveKind] = "torchscript"
    compiles: ClassVar[bool] = False  # torch.compile leaves TorchScript as it is, without saying so
    again: ClassVar[str] = "torch.jit.script(model.eval()), or by torch.jit.trace if no batch size is part of the code"

    def load(self, file: Path, sha256: str) -> nn.Module:
        """Load the program on the CPU. See `Program.load`."""
        import torch
        import torchvision  # noqa: F401  (it registers operators that a program may use)

        from stein_bench.models.program_networks import TorchScriptNetwork

        with quiet_library():
            return TorchScriptNetwork(torch.jit.load(str(file), map_location="cpu"), sha256)  # type: ignore[no-untyped-call]


def find_torchscript(path: str) -> TorchScriptProgram:
    """Return the program in the file at `path`; raises `UsageError` if it holds none."""
    found = TorchScriptProgram(path)
    found.check_file()
    return found

"""Exported programs, ``pt2:FILE`` or ``FILE.pt2``, as ``torch.export.save`` writes them."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stein_bench.errors import UsageError
from stein_bench.models.archives import ArchiveKind
from stein_bench.models.interface import quiet_library
from stein_bench.models.program import Program

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ExportedProgram(Program):
    """A program of ``torch.export.export`` with one input, the images.

    A range of batch sizes that it was exported for is met by splitting and padding batches.
    """

    prefix: ClassVar[str] = "pt2"
    holds: ClassVar[ArchiveKind] = "exported"
    compiles: ClassVar[bool] = True
    again: ClassVar[str] = (
        'torch.export.export(model.eval(), (images,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}}), where x '
        "is the name of forward's argument"
    )

    def load(self, file: Path, sha256: str) -> nn.Module:
        """Load the program on the CPU. See `Program.load`."""
        import torch
        import torchvision  # noqa: F401  (it registers operators that a program may use)

        from stein_bench.guard import unlogged
        from stein_bench.models.program_networks import ExportedNetwork
        from stein_bench.models.safe_pickle import only_tensors_unpickled

        with quiet_library(), unlogged():
            try:
                with only_tensors_unpickled():
                    program = torch.export.load(str(file))
            except pickle.UnpicklingError as error:
                raise UsageError(
                    f"cannot load {self.spec}: it holds pickled objects besides tensors, so opening it could run code; "
                    "export the model without them."
                ) from error
            except RuntimeError as error:  # it refers to the log, which holds tracebacks only
                raise UsageError(
                    f"cannot load {self.spec}: it is damaged, or was exported by another PyTorch than this "
                    f"{torch.__version__}, or uses operators of a library that is not imported."
                ) from error
            shape = self._input_shape(program)
            smallest, largest = _bounds(program, shape[0])
            sides = tuple(side if isinstance(side, int) else None for side in shape[1:])
            return ExportedNetwork(program.module(), sha256, sides, smallest, largest, self.spec)

    def _input_shape(self, program: Any) -> tuple[Any, ...]:
        """Return the shape of the program's input, with a symbol for every side that may vary."""
        import torch

        values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
        inputs = [values.get(name) for name in program.graph_signature.user_inputs]
        if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim < 2:
            raise UsageError(f"{self.spec} takes {len(inputs)} inputs; expected one, the images (n, C, …).")
        if inputs[0].dtype != torch.float32:
            kind = str(inputs[0].dtype).removeprefix("torch.")
            raise UsageError(f"{self.spec} takes {kind} images: export the model in float32.")
        return tuple(inputs[0].shape)


def find_exported(path: str) -> ExportedProgram:
    """Return the program in the file at `path`; raises `UsageError` if it holds none."""
    found = ExportedProgram(path)
    found.check_file()
    return found


def _bounds(program: Any, batch: Any) -> tuple[int, int | None]:
    """Return the smallest and the largest batch size that the program takes; None for no largest one."""
    if isinstance(batch, int):
        return batch, batch
    known = program.range_constraints.get(batch.node.expr)
    if known is None:
        return 0, None
    largest = int(known.upper) if known.upper.is_finite and known.upper.is_Integer else None
    return int(known.lower), largest

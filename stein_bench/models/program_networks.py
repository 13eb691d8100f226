"""The networks of programs: they run a program as an ordinary module that evaluation can move, freeze and copy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from stein_bench.errors import UsageError
from stein_bench.models.outputs import logits

INTERPRETER = "The following operation failed in the TorchScript interpreter"


class ProgramNetwork(nn.Module):
    """A `program` as a network.

    The SHA-256 of its file is a buffer, so that the hash of the state identifies the program: constants in its code
    are not part of the state.
    """

    file_sha256: Tensor

    def __init__(self, program: nn.Module, sha256: str) -> None:
        super().__init__()
        self.program = program
        self.register_buffer("file_sha256", torch.tensor(list(bytes.fromhex(sha256)), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Any:
        """Return the output of the program."""
        return self.program(x)


class TorchScriptNetwork(ProgramNetwork):
    """A TorchScript program. Its errors are shortened to what failed, without the program's code."""

    def __init__(self, program: nn.Module, sha256: str) -> None:
        super().__init__(program, sha256)
        self.train(getattr(program, "training", False))

    def forward(self, x: Tensor) -> Any:
        """Return the output of the program."""
        try:
            return self.program(x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if not str(error).startswith(INTERPRETER):
                raise
            raise RuntimeError(str(error).strip().rpartition("\n")[2]) from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy whose parameters are leaves; with gradients on, TorchScript's would be results of copying."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        with torch.no_grad():
            copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the program, too, unless it is frozen in eval mode."""
        self.training = mode
        if hasattr(self.program, "training"):
            self.program.train(mode)
        return self


class ExportedNetwork(ProgramNetwork):
    """An exported program. Batches are split and padded to sizes that it takes, and its devices follow its weights.

    Args:
        program: the module of the exported program.
        sha256: of its file.
        shape: of one sample as it was exported for, None for a side that may vary.
        smallest: the smallest batch size that it takes.
        largest: the largest; None if there is none.
        name: of the program, for errors.
    """

    def __init__(
        self,
        program: nn.Module,
        sha256: str,
        shape: tuple[int | None, ...],
        smallest: int,
        largest: int | None,
        name: str,
    ) -> None:
        super().__init__(program, sha256)
        self._shape, self._smallest, self._largest, self._name = shape, smallest, largest, name
        self.training = False
        for module in self._graph_modules():
            _without_assertions(module)

    def forward(self, x: Tensor) -> Any:
        """Return the output of the program; one tensor for all parts if the batch had to be split or padded.

        Raises:
            UsageError: it was exported for inputs of another shape.
        """
        self._check_shape(x)
        if len(x) >= self._smallest and (self._largest is None or len(x) <= self._largest):
            return self.program(x)
        parts = torch.split(x, self._largest) if self._largest is not None else (x,)
        return torch.cat([self._padded(part) for part in parts])

    def train(self, mode: bool = True) -> Self:
        """Set the flag only: the mode of an exported program is part of it."""
        self.training = mode
        return self

    def _padded(self, x: Tensor) -> Tensor:
        """Return the logits of a part of a batch, with its first row repeated up to the smallest size."""
        missing = self._smallest - len(x)
        if missing <= 0:
            return logits(self.program(x))
        filling = x[:1].detach().expand(missing, *x.shape[1:])
        return logits(self.program(torch.cat((x, filling))))[: len(x)]

    def _check_shape(self, x: Tensor) -> None:
        given = tuple(x.shape[1:])
        fits = len(given) == len(self._shape)
        if fits and all(own in (None, side) for own, side in zip(self._shape, given, strict=True)):
            return
        own, shown = (
            "×".join("any" if side is None else str(side) for side in sides) for sides in (self._shape, given)
        )
        size = self._shape[-1]
        hint = f": give --image-size {size}" if size is not None and given[0] == self._shape[0] else ""
        raise UsageError(f"{self._name} was exported for inputs of {own}, not {shown}{hint}.")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move weights as every module does, then the constants and devices that are part of the program's code."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for module in self.program.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, Tensor):
                    setattr(module, name, fn(value))
        for module in self._graph_modules():
            _move(module, self.file_sha256.device)
        return self

    def _graph_modules(self) -> list[fx.GraphModule]:
        return [module for module in self.program.modules() if isinstance(module, fx.GraphModule)]


def _without_assertions(module: fx.GraphModule) -> None:
    """Let the code of `module` compute with other data types and on other devices than those of the export.

    Autocast and the moving of weights change them as they do for the model's own code.
    """
    found = [node for node in module.graph.nodes if node.target is torch.ops.aten._assert_tensor_metadata.default]
    for node in found:
        module.graph.erase_node(node)
    if found:
        module.recompile()


def _move(module: fx.GraphModule, device: torch.device) -> None:
    """Let the code of `module` create its tensors on `device`."""

    def moved(value: Any) -> Any:
        return device if isinstance(value, torch.device) else value

    changed = False
    for node in module.graph.nodes:
        arguments = tuple(map(moved, node.args)), {name: moved(value) for name, value in node.kwargs.items()}
        if arguments != (node.args, node.kwargs):
            node.args, node.kwargs = arguments
            changed = True
    if changed:
        module.recompile()

"""Keeps what belongs to the caller as it was: random numbers, gradient mode, default dtype, environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng

_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
_COMMAND = re.compile(r"(`[^`]*`|stein-bench [a-z]+ [^,;)]*)")
_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")


@contextmanager
def untouched(seed: int, device: str) -> Iterator[None]:
    """Run the body independently of the caller's global state, and restore that afterwards.

    These are the states of all random number generators, the gradient and inference modes, autocast, the default dtype
    and the variable that makes cuBLAS repeatable. Messages of a `UsageError` name arguments instead of options.

    Args:
        seed: seeds the body.
        device: type of the device; CUDA is initialized before its generators are saved.
    """
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.init()  # type: ignore[no-untyped-call]
    dtype, variable = torch.get_default_dtype(), os.environ.get(_VARIABLE)
    with ExitStack() as stack:
        stack.enter_context(forked_rng(seed))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in dict.fromkeys(("cpu", "cuda" if torch.cuda.is_available() else "cpu")):
            stack.enter_context(torch.autocast(kind, enabled=False))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        except UsageError as error:
            error.args = (in_python(str(error)),)
            raise
        finally:
            torch.set_default_dtype(dtype)
            if variable is None:
                os.environ.pop(_VARIABLE, None)


def in_python(message: str) -> str:
    """Return a message with arguments in place of options; commands in it stay as they are.

    >>> in_python("--batch-size: must be a whole number. Leave out --bn stein, or give --image-size.")
    "batch_size: must be a whole number. Leave out bn='stein', or give image_size."
    """
    parts = _COMMAND.split(message)
    return "".join(part if number % 2 else _with_arguments(part) for number, part in enumerate(parts))


def _with_arguments(message: str) -> str:
    valued = re.sub(
        r"(?<![\w-])--(bn|stats|weights|device|battery|norm|attack|precision|surrogate|preset) ([\w./:=-]*\w)",
        lambda found: f"{found[1]}={found[2]!r}",
        message,
    )
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), valued)

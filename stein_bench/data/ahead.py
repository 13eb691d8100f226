"""Batches ahead of their use: decoded by worker processes, copied to the device."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stein_bench.errors import RunError, SteinBenchError

Item = TypeVar("Item")

Batch = tuple[np.ndarray, Tensor, Tensor]
"""Indices (b,), images (b, *shape) and labels (b,) or, for a dense task, label maps (b, H, W)."""

Load = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""Reads the images and labels of some indices; can be pickled."""

MOST_AUTO = 8
"""Most processes that `usable_workers` proposes: each holds a few batches in memory."""

# What workers may need, if this process has it: loaded once, by the server that they are forked from.
_PRELOADED = ("torch", "stein_bench.data.sources", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "nibabel.orientations")


def usable_workers() -> int:
    """Return how many worker processes suit this machine: one core is left to this process.

    None where they cannot be forked from a server, since starting each anew takes seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores - 1, 1), MOST_AUTO)


def load_ahead(load: Load, chunks: Sequence[np.ndarray], workers: int) -> Iterator[Batch]:
    """Yield indices, images and labels of each of the `chunks` in order, loaded ahead by `workers` processes.

    The processes end with the iteration, also if it is abandoned. Images and labels lie in shared memory, of which
    there may be little: copy what is kept (`to_device` does). Raises what `load` raises, and RunError if a process is
    killed or cannot be started.
    """
    if not len(chunks):
        return
    iterator = _started(load, chunks, min(workers, len(chunks)))
    try:
        for chunk in chunks:
            loaded = _received(iterator)
            if isinstance(loaded, Exception):
                raise loaded
            yield chunk, *loaded
    finally:
        with _interrupts_later():
            del iterator  # ends the processes now, even if a traceback keeps this frame alive


def to_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield `batches` with images and labels on `device`.

    On CUDA they are copied from pinned memory, one batch ahead of its use, while the device computes. Elsewhere nothing
    happens ahead, and what is on the device already is copied only out of the shared memory of worker processes.
    """
    if device.type == "cuda":
        for batch, copied in _one_ahead(_copied(batches, device)):
            using = torch.cuda.current_stream(device)
            using.wait_event(copied)
            for tensor in batch[1:]:
                tensor.record_stream(using)  # its memory was allocated in the stream of the copies
            yield batch
    else:
        for indices, images, labels in batches:
            yield indices, _owned(images).to(device), _owned(labels).to(device)


def _copied(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, torch.cuda.Event]]:
    """Yield each batch with the event that ends its copy to the device; the copies have a stream of their own."""
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for indices, images, labels in batches:
        with torch.cuda.stream(copying):
            batch = indices, _sent(images, device), _sent(labels, device)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(copying)
        yield batch, copied


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True)


def _owned(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_shared() else tensor  # type: ignore[no-untyped-call]


def _one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items, each after the next one was asked for; an expected error comes after the items before it."""
    waiting: list[Item] = []
    try:
        for item in items:
            yield from waiting
            waiting = [item]
    except SteinBenchError:
        yield from waiting
        raise
    yield from waiting


class _Loading(Dataset[Any]):
    """Maps the indices of a chunk to what is loaded or, as a value, to the expected error; any other is raised."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def __getitem__(self, chunk: np.ndarray) -> tuple[Tensor, Tensor] | SteinBenchError:
        try:
            return self.load(chunk.tolist())
        except SteinBenchError as error:
            return error


def _unchanged(loaded: Any) -> Any:
    """Replace the loader's own conversion to tensors."""
    return loaded


def _depend_on_parent(_: int) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the program; and end when it does, even if killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: None  # else the thread that hands over batches reports that the program has gone
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """The loader's own watch looks at the server, which in turn waits for the workers."""
    if (program := multiprocessing.parent_process()) is not None:
        program.join()
        os._exit(1)


def _context() -> BaseContext:
    """Return how workers are started: forked from a running server, which has loaded torch and does nothing else.

    Forking this process would copy its threads' locks, and neither OpenMP nor CUDA survives a fork once used. Spawning
    each worker takes seconds, since each loads torch. The server takes seconds once and a worker some 50 ms, little
    enough for new workers in every phase. And a worker is no child of this process, so its death interrupts no attack:
    it shows when its batch is due.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in _PRELOADED if name in sys.modules])
    _start_server()
    return context


def _started(load: Load, chunks: Sequence[np.ndarray], workers: int) -> Iterator[Any]:
    """Start the `workers` and return the iterator over what they load; they end when it is deleted."""
    try:
        with warnings.catch_warnings(), _interrupts_later():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more than cores, as asked
            return iter(DataLoader(
                _Loading(load), batch_size=None, sampler=chunks, num_workers=workers, collate_fn=_unchanged,
                worker_init_fn=_depend_on_parent, multiprocessing_context=_context(),
                generator=torch.Generator(),  # it would draw from the global one, and workers would change results
            ))  # fmt: skip
    except (OSError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"processes that read data could not be started ({reason}): give fewer --workers.") from error


def _start_server() -> None:
    """Start the server unless it runs; it and the workers inherit that SIGINT is blocked, from their first moment."""
    from multiprocessing import forkserver  # not everywhere

    _start_tracker()  # else the server starts it, and that unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start the standard library's process that removes semaphores, without its warnings.

    An interrupted program may end between removing a semaphore and saying so, and the user would read of a leak.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C until after the body: the loader prints a traceback if it is interrupted as it starts or ends."""
    if threading.current_thread() is not threading.main_thread():  # another one is not interrupted
        yield
        return
    came: list[FrameType | None] = []
    usual = signal.signal(signal.SIGINT, lambda _, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came and callable(usual):
            usual(signal.SIGINT, came[0])


def _received(iterator: Iterator[Any]) -> Any:
    """Return what a worker sent next: what it loaded, what `load` raised, or a RunError if a worker died.

    Errors are values here, since a traceback would keep the iterator, and with it the processes, alive.
    """
    try:
        return next(iterator)
    except Exception as error:  # noqa: BLE001 - raised by the caller
        if str(error).startswith("Caught ") or not isinstance(error, RuntimeError | OSError | EOFError):
            return error.with_traceback(None)
    return RunError(
        "a process that reads data was killed, perhaps for lack of memory or of shared memory (/dev/shm): give fewer "
        "--workers (0: none) or a smaller --batch-size."
    )

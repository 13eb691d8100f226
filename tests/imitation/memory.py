"""Memory of the imitated device: live bytes, their peak, a limit; and which CPU memory is pinned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class Ledger:
    """Counts the bytes of storages that some tensor on the device still uses.

    Args:
        total: size of the memory in bytes; more live bytes are refused.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.live = self.peak = 0
        self._users: dict[int, int] = {}

    @property
    def free(self) -> int:
        """Bytes that could still be allocated."""
        return max(self.total - self.live, 0)

    def lease(self, tensor: Tensor) -> Lease:
        """Count the storage of `tensor` until the returned object dies.

        Raises:
            torch.OutOfMemoryError: the live bytes would exceed the total.
        """
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        users = self._users.get(key, 0)
        if not users:
            if self.live + size > self.total:
                raise out_of_memory(f"Tried to allocate {size} bytes, {self.free} of {self.total} are free.")
            self.live += size
            self.peak = max(self.peak, self.live)
        self._users[key] = users + 1
        return Lease(self, key, size)

    def release(self, key: int, size: int) -> None:
        """Undo one lease of the storage `key` of `size` bytes."""
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.live -= size


class Lease:
    """One tensor's use of a storage; it ends with this object."""

    __slots__ = ("_key", "_ledger", "_size")

    def __init__(self, ledger: Ledger, key: int, size: int) -> None:
        self._ledger, self._key, self._size = ledger, key, size

    def __del__(self) -> None:
        self._ledger.release(self._key, self._size)


class Pinned:
    """Which CPU memory is page-locked."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageWeakRef] = {}

    def add(self, tensor: Tensor) -> Tensor:
        """Mark the memory of `tensor` and return it."""
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = StorageWeakRef(storage)
        return tensor

    def __contains__(self, tensor: Tensor) -> bool:
        found = self._storages.get(tensor.untyped_storage().data_ptr())
        return found is not None and not found.expired()


def out_of_memory(why: str) -> torch.OutOfMemoryError:
    """Return the error that CUDA raises."""
    return torch.OutOfMemoryError(f"CUDA out of memory. {why}")

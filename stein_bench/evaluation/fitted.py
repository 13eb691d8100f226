"""Fitted networks in the user's cache: believed only as they were written, and trained by one process at a time.

A file's name ends in the SHA-256 of its content. A file with another one is damaged: it is set aside, and the network
is trained again.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from torch import nn

from stein_bench.cache import cache_folder
from stein_bench.errors import UsageError
from stein_bench.files.locks import lock_path, taking_turns
from stein_bench.models.weights import WeightsCard, load_weights, read_weights, save_weights
from stein_bench.progress import Progress

SUFFIX = ".safetensors"


class FittedNetworks:
    """The entry of one training run in the cache.

    Args:
        key: hash of everything that affects the result of the training.
    """

    def __init__(self, key: str) -> None:
        self._folder, self._key = cache_folder() / "fits", key

    def load(self, network: nn.Module) -> bool:
        """Load the weights into `network`; return False, with nothing loaded, if there are none that are undamaged."""
        for path in self._files():
            with suppress(UsageError):
                weights = read_weights(path)
                if weights.sha256 == path.name.removesuffix(SUFFIX).rpartition(".")[2]:
                    load_weights(network, weights)
                    return True
        return False

    def own_turn(self, progress: Progress) -> AbstractContextManager[None]:
        """Return a context in which no other process trains this network, entered after waiting for one that does."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        return taking_turns(lock_path(self._folder / self._key), "fitting this network", progress.note)

    def set_damaged_aside(self, progress: Progress) -> None:
        """Rename the files of this entry, which could not be loaded, and say so."""
        for path in self._files():
            aside = path.with_name(f"{path.name}.damaged")
            try:
                os.replace(path, aside)
                what = f"set aside as {aside}"
            except OSError as error:
                what = f"not set aside ({error.strerror or error})"
            progress.note(f"the fitted network {path} is damaged, is {what}, and is trained again")

    def keep(self, network: nn.Module, card: WeightsCard, progress: Progress) -> None:
        """Write the trained network; where that fails, it costs a note and the next run trains it again."""
        temporary = self._folder / f".{self._key}.{os.getpid()}{SUFFIX}"
        try:
            sha256 = save_weights(temporary, network, card)
            os.replace(temporary, self._folder / f"{self._key}.{sha256}{SUFFIX}")
        except (OSError, UsageError) as error:
            progress.note(f"the fitted network could not be cached: {error}")
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        with suppress(OSError):
            return sorted(self._folder.glob(f"{self._key}.*{SUFFIX}"))
        return []

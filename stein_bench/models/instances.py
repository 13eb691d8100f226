"""A network that a user's file or module defines, instead of a callable that builds one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stein_bench.errors import UsageError, reason
from stein_bench.models.interface import digest
from stein_bench.parts.brought import Part, described, source_text
from stein_bench.parts.source_files import loaded_sha256
from stein_bench.parts.user_code import Code, running

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Instance:
    """A user's network, which comes with its weights; random ones are the same in every run, whatever its seed."""

    spec: str
    name: str
    network: nn.Module
    code: Code
    pretrained: None = None
    own_weights: bool = True
    part: Part | None = None

    @property
    def origin_of_weights(self) -> str:
        """The network itself."""
        return f"those of the instance {self.spec}"

    def build(
        self,
        *,
        num_classes: int | None,  # noqa: ARG002  (a network's own)
        in_channels: int = 3,  # noqa: ARG002
        pretrained: bool = False,
    ) -> nn.Module:
        """Return a copy of the network on the CPU; numbers of classes and channels are its own.

        See `ModelSource.build`. Raises `UsageError` if it cannot be copied.
        """
        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained weights, only its own: use --weights none.")
        code = self.code
        with running(code.imports, f"copying the network {self.spec}", code.file, code.shown):
            try:
                return copy.deepcopy(self.network).cpu()
            except Exception as error:
                raise UsageError(
                    f"the network {self.spec} cannot be copied ({reason(error)}): name a function that builds it."
                ) from error

    def fingerprint(self) -> str:
        """Return the hash of the code, as for a callable, and of the network's state."""
        from stein_bench.models.weights import state_sha256

        settings = _settings_of(self.network)
        return digest("user instance", self.code.sha256, loaded_sha256(), state_sha256(self.network), *settings)


def _settings_of(network: nn.Module) -> list[str]:
    """Return what determines a network besides its state: the plain attributes of its modules, and their own code."""
    plain = (bool, int, float, str, tuple, list, type(None))
    found: list[str] = []
    classes: dict[type, None] = {}
    for name, module in network.named_modules():
        classes[type(module)] = None
        attributes = {
            key: value for key, value in vars(module).items() if key != "training" and isinstance(value, plain)
        }
        found.append(f"{name} {type(module).__qualname__} {described(attributes)}")
    installed = ("torch.", "torchvision.", "timm.", "stein_bench.")
    own = [kind for kind in classes if not f"{kind.__module__}.".startswith(installed)]
    return [*found, *(source_text(kind) for kind in own)]

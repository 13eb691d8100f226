"""An attack that somebody brings, as the catalog and the runner see it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stein_bench.errors import UsageError, unknown_name
from stein_bench.parts.brought import Part
from stein_bench.specs import ParameterValue

if TYPE_CHECKING:
    from torch import Tensor, nn

SOURCE = "source"
"""Parameter that identifies an attack's source, the first digits of its SHA-256; set here, never by a spec."""
DIGITS = 16
"""So many; the report has the whole hash among its parts."""


@dataclass(frozen=True)
class Budget:
    """What one call is given besides the samples and the parameters of the spec."""

    eps: float
    norm: str
    seed: int


Call = Callable[["nn.Module", "Tensor", "Tensor", Budget, Mapping[str, ParameterValue]], Any]
"""Calls the attack: model, inputs, labels, budget and parameters → adversarial inputs."""


@dataclass(frozen=True, eq=False)
class OwnAttack:
    """An attack that somebody brings.

    Attributes:
        part: its object, and the hash of its source.
        call: calls it.
        defaults: the parameters that a spec can set and that have a plain default.
        optional, required: names of those with another default or with none.
        open: whether it takes any further parameter (``**kwargs``).
    """

    part: Part
    call: Call = field(repr=False)
    defaults: Mapping[str, ParameterValue]
    optional: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    open: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters that a spec can set."""
        return (*self.defaults, *self.optional, *self.required)

    def params(self, given: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        """Return the parameters with their defaults and the hash of the source, which identify the attack.

        Raises:
            UsageError: one is unknown, missing, or of another kind than its default.
        """
        name = self.part.short
        for key, value in given.items():
            if (key not in self.names and not self.open) or key == SOURCE:
                raise unknown_name(f"parameter of {name}:", key, ["eps", "norm", *self.names])
            default = self.defaults.get(key)
            fits = default is None or type(value) is type(default) or (type(default), type(value)) == (float, int)
            if not fits:
                expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
                raise UsageError(f"{key} of attack {name} must be {expected[type(default)]}, not {value!r}.")
        if missing := [key for key in self.required if key not in given]:
            example = ",".join(f"{key}=VALUE" for key in missing)
            raise UsageError(f"attack {name} needs {' and '.join(missing)}: write {self.part.spec}:{example}.")
        return {**self.defaults, **given, SOURCE: self.part.sha256[:DIGITS]}

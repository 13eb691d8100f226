"""Static description of an attack: norm, access, name of its budget, whether it can run. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from stein_bench.attacks.brought import OwnAttack
from stein_bench.report.attack_names import SEVERITY
from stein_bench.specs import Norm, ParameterValue

Access = Literal["white-box", "score", "decision", "transfer", "none", "unknown"]

Backend = Literal["native", "torchattacks", "own"]

LINF_EPS = 8 / 255
"""The usual Linf budget on 8-bit images (Croce et al., RobustBench, 2021)."""
L2_EPS = 1.0
"""torchattacks' own default for its L2 attacks."""
L1_EPS = 12.0
"""The usual L1 budget on 32×32 images (Croce and Hein, "Mind the box", 2021)."""
TRANSFER = "transfer."
"""Prefix of the names of attacks that are crafted on a surrogate."""
L0_EPS = 10.0
"""Ten changed pixels: there is no usual value, so set your own."""
USUAL_EPS: Mapping[str, float] = MappingProxyType({"Linf": LINF_EPS, "L2": L2_EPS, "L1": L1_EPS, "L0": L0_EPS})
"""Default budgets of attacks in norms that are not their first."""


@dataclass(frozen=True)
class AttackInfo:
    """One entry of `stein-bench list attacks`.

    Attributes:
        name: as written in a spec.
        summary: one line with the source.
        norms: norms it supports, its default first; a corruption has none.
        default_eps: budget if the spec gives none; for L0 the number of changed pixels.
        access: the attacker's access: gradients (``white-box``), scores, decisions, another model (``transfer``),
            nothing (``none``), or one that a brought attack does not tell (``unknown``).
        eps_name: its parameter for the budget; None if it does not respect one: then a success counts only if the
            perturbation lies within eps.
        params: parameters with defaults (native attacks only; those of torchattacks are read from the class).
        tasks: the tasks it supports.
        minimal: whether it minimizes the perturbation, so that distances are reported.
        min_classes: smallest number of classes it works with.
        unavailable: empty, or why it cannot run.
        seeded_as: empty, or the attack whose random numbers it takes, so that a search which both make breaks the same
            samples.
        own: what the user brings, None for attacks of the catalog.
    """

    name: str
    summary: str
    norms: tuple[Norm, ...] = ("Linf",)
    default_eps: float = LINF_EPS
    access: Access = "white-box"
    eps_name: str | None = "eps"
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("classification",)
    min_classes: int = 2
    minimal: bool = False
    unavailable: str = ""
    seeded_as: str = ""
    own: OwnAttack | None = field(default=None, compare=False, repr=False)

    @property
    def method(self) -> str:
        """The attack that is run (for a transfer attack, on the surrogate): its name without ``transfer.``."""
        return self.name.removeprefix(TRANSFER)

    @property
    def backend(self) -> Backend:
        """The implementation: stein-bench itself, the torchattacks library, or what the user brings."""
        if self.own is not None:
            return "own"
        return "torchattacks" if self.method.startswith("torchattacks.") else "native"

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The tasks it supports: classification attacks that work with two classes also support binary."""
        binary = ("binary",) if "classification" in self.tasks and self.min_classes <= 2 else ()
        return (*self.tasks, *binary)

    @property
    def is_transfer(self) -> bool:
        """Whether its adversarial inputs are crafted on a surrogate and only shown to the evaluated model."""
        return self.access == "transfer"

    @property
    def is_corruption(self) -> bool:
        """Whether it is a corruption: not an attack, without a budget, evaluated on the corrupted input alone."""
        return not self.norms

    @property
    def is_common(self) -> bool:
        """Whether it is one of the common corruptions, which come at severities 1 to 5; the others are random noise."""
        return self.is_corruption and SEVERITY in self.params

    @property
    def respects_eps(self) -> bool:
        """Whether the attack respects the budget."""
        return self.eps_name is not None

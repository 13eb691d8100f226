"""Summary of the layers' Lipschitz constants: ratios to plain BN, the JSON document, a one-sentence conclusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from stein_bench.theory.figures import figure
from stein_bench.theory.lipschitz import Layer, LayerConstant, Network
from stein_bench.theory.settings import LipschitzSettings

SCHEMA_VERSION = 1
AGREEMENT = 5e-3
"""Largest relative difference at which a power iteration agrees with the direct computation."""


@dataclass(frozen=True)
class LipschitzStudy:
    """Settings and results; `network` is None for random batches."""

    settings: LipschitzSettings
    network: Network | None
    layers: tuple[Layer, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The estimators that are compared with plain BN."""
        return self.settings.bn[1:]

    def ratios(self, bn: str) -> list[float | None]:
        """Return the ratio of every layer's constant with that estimator to plain BN's; None if plain BN's is 0."""
        found = []
        for layer in self.layers:
            constants = {constant.bn: constant.norm for constant in layer.constants}
            found.append(constants[bn] / constants["sample"] if constants["sample"] > 0 else None)
        return found

    def smaller_slopes(self, bn: str) -> int:
        """Return the number of layers in which ``max |γ|/√(s'+ε)`` is smaller than plain BN's."""
        slopes = [{constant.bn: constant.slope for constant in layer.constants} for layer in self.layers]
        return sum(slope[bn] < slope["sample"] for slope in slopes)

    def agreement(self) -> tuple[int, int]:
        """Return the number of constants for which power iteration and direct computation agree, and the total."""
        constants = list(self._constants())
        return sum(found(constant) for constant in constants), len(constants)

    def conclusion(self) -> str:
        """Return a one-sentence conclusion on all estimators that were compared with plain BN."""
        if not self.others:
            return "Only plain BN was evaluated: add another estimator with --bn."
        parts = []
        for bn in self.others:
            ratios = [ratio for ratio in self.ratios(bn) if ratio is not None]
            smaller = sum(ratio < 1 for ratio in ratios)
            reach = [figure(ratio) for ratio in (min(ratios), max(ratios), median(ratios))] if ratios else []
            parts.append(f"{bn}'s in {smaller}" + (" ({} to {} times it, median {})".format(*reach) if reach else ""))
        place = "layers" if self.network else "settings"
        opening = f"Of {len(self.layers)} {place}, the local Lipschitz constant is smaller than plain BN's"
        return f"{opening}: {'; '.join(parts)}."

    def document(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        agreeing, known = self.agreement()
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "stein-bench theory lipschitz",
            "settings": asdict(self.settings),
            "network": asdict(self.network) if self.network else None,
            "agreement": {"constants": known, "agreeing": agreeing},
            "conclusion": self.conclusion(),
            "layers": [_layer_document(layer) for layer in self.layers],
        }

    def _constants(self) -> Iterator[LayerConstant]:
        for layer in self.layers:
            yield from layer.constants


def found(constant: LayerConstant) -> bool:
    """Return whether the power iteration agrees with the direct computation."""
    return abs(constant.norm - constant.reduced) <= AGREEMENT * constant.reduced + 1e-9


def _layer_document(layer: Layer) -> dict[str, Any]:
    constants = {
        constant.bn: {
            "norm": constant.norm,
            "converged": constant.converged,
            "reduced": constant.reduced,
            "closed_form": constant.closed_form,
            "slope": constant.slope,
            "starts": [asdict(start) for start in constant.starts],
        }
        for constant in layer.constants
    }
    return {**{key: value for key, value in asdict(layer).items() if key != "constants"}, "constants": constants}

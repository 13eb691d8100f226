"""Metrics that people bring: functions of logits and labels to a value for every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stein_bench.errors import RunError, SteinBenchError, UsageError, unknown_name
from stein_bench.parts.brought import Part, find_part
from stein_bench.parts.installed import find_installed, names
from stein_bench.tasks import finite_rows

KIND = "metric"


@dataclass(frozen=True)
class OwnMetric:
    """A metric that somebody brings.

    Attributes:
        part: its function, of logits and labels to a tensor (n,), or to a mapping of names to such tensors.
        name: its name in the report if it returns one tensor.
    """

    part: Part = field(repr=False)
    name: str

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the values by name, (n,) each: booleans, or float32; NaN where the logits are not finite.

        Raises:
            RunError: it raises an error, or does not return a finite value for each of the n samples.
        """
        finite = finite_rows(logits)
        try:
            with self.part.running(f"metric {self.part.short}"), torch.no_grad():
                found = self.part.found(logits.clone(), labels.clone())  # which it may change
        except SteinBenchError as error:
            raise RunError(str(error)) from error
        columns = dict(found) if isinstance(found, Mapping) else {self.name: found}
        return {str(name): self._checked(str(name), value, finite) for name, value in columns.items()}

    def _checked(self, name: str, value: Any, finite: Tensor) -> Tensor:
        told = f"metric {self.part.short}" + ("" if name == self.name else f", {name}")
        if not isinstance(value, Tensor) or value.shape != finite.shape:
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise RunError(
                f"{told}: returned {what} for {len(finite)} samples; expected one value each, ({len(finite)},)."
            )
        if value.dtype == torch.bool:
            return value & finite
        value = value.detach().float()
        if (finite & ~value.isfinite()).any():
            raise RunError(f"{told}: a value is not finite although the logits are.")
        return torch.where(finite, value, torch.nan)


def find_metrics(specs: Sequence[str]) -> tuple[OwnMetric, ...]:
    """Return the metrics of those specs: ``FILE.py:NAME``, ``package.module:NAME`` or the name of an installed one.

    Raises:
        UsageError: one is unknown, cannot be imported, or is no function.
    """
    found: list[OwnMetric] = []
    for spec in specs:
        named = find_part(KIND, spec)
        if named is not None and named[1]:
            raise UsageError(f"metric {spec!r}: a metric takes no arguments; write {named[0].spec}.")
        part = find_installed(KIND, spec) if named is None else named[0]
        if part is None:
            raise unknown_name("metric", spec, names(KIND), "Write FILE.py:NAME, a function of logits and labels.")
        if not callable(part.found):
            raise UsageError(f"metric {spec!r} is no function of logits and labels.")
        found.append(OwnMetric(part, part.short.rpartition(":")[2]))
    return tuple(found)


def try_metrics(metrics: Sequence[OwnMetric], logits: Tensor, labels: Tensor) -> None:
    """Call the metrics on some logits and labels.

    Raises:
        UsageError: one fails on them, or two give values of the same name.
    """
    seen: dict[str, OwnMetric] = {}
    for metric in metrics:
        try:
            values = metric.values(logits, labels)
        except RunError as error:
            raise UsageError(str(error)) from error
        for name in values:
            if name in seen:
                raise UsageError(
                    f"metrics {seen[name].part.short} and {metric.part.short} both give {name!r}: rename one."
                )
            seen[name] = metric

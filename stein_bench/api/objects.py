"""Python objects in place of specs: they become known in this process under specs that mean them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from stein_bench.errors import UsageError
from stein_bench.normalization.layers import stein_layers
from stein_bench.parts.brought import give, python_spec


class Objects:
    """The objects of one call; two that would have the same spec are told apart by a number."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}

    def model(self, model: Any, argument: str) -> str:
        """Return the spec of the model given as that `argument`: its name, or ``python:CLASS`` for a network.

        Raises:
            UsageError: it is neither.
        """
        if isinstance(model, str):
            return model
        if not isinstance(model, nn.Module):
            raise UsageError(
                f"{argument} is a {type(model).__name__}: give a torch.nn.Module that maps inputs in [0, 1] to logits, "
                "or the name of a model."
            )
        if isinstance(model, torch.jit.ScriptModule):
            raise UsageError(f"{argument} is a TorchScript program: save it with torch.jit.save, and give 'jit:FILE'.")
        self._know_estimators(model, argument)
        return self._give("model", model, f"python:{type(model).__name__}")

    def data(self, data: Any) -> str:
        """Return the spec of data: its name, or ``python:CLASS`` for a data set, a loader or arrays."""
        if isinstance(data, str):
            return data
        if data is None:
            raise UsageError("data is None: give a data set, a loader, (inputs, labels), or a name.")
        named = type(data).__name__ if isinstance(data, Dataset) or hasattr(data, "__getitem__") else "data"
        return self._give("data", data, f"python:{'arrays' if isinstance(data, tuple) else named}")

    def stats(self, model: Any) -> str | None:
        """Return the source of BN statistics of a network's Stein layers; None for plain BN and names.

        Raises:
            UsageError: its layers have different ones.
        """
        layers = [layer for _, layer in stein_layers(model)] if isinstance(model, nn.Module) else []
        sources = list(dict.fromkeys(layer.stats for layer in layers))
        if len(sources) > 1:
            raise UsageError("the model's Stein layers use different statistics (running and batch): give stats.")
        return sources[0] if sources else None

    def _know_estimators(self, model: nn.Module, argument: str) -> None:
        """Make the user's own estimators in a network's layers known under the names that they have there."""
        for _, layer in stein_layers(model):
            own = layer.own_estimator
            if own is None:
                continue
            if self._known.setdefault(("estimator", own.spec), own.part.found) is not own.part.found:
                raise UsageError(
                    f"{argument} has layers of two different estimators that are both called {own.spec}: name one of "
                    "the functions differently."
                )
            give("estimator", own.part.found, own.spec)

    def each(
        self, kind: str, given: Any, spec_of: Callable[[Any], str | None] = lambda _: None
    ) -> tuple[str, ...] | None:
        """Return the specs of attacks, estimators or metrics, given one by one or in a list; None if there are none.

        Args:
            kind: see `parts.brought.GROUPS`.
            given: specs and objects.
            spec_of: returns the spec of an object that needs no name of its own, otherwise None.
        """
        if given is None:
            return None
        listed = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        return tuple(
            one if isinstance(one, str) else spec_of(one) or self._give(kind, one, python_spec(one)) for one in listed
        )

    def _give(self, kind: str, found: Any, base: str) -> str:
        spec, number = base, 2
        while self._known.get((kind, spec), found) is not found:
            spec, number = f"{base}_{number}", number + 1
        self._known[kind, spec] = found
        return give(kind, found, spec).spec

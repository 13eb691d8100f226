"""Trained once: networks that many tests fit, each in a cache of its own, are the same network on the same data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from stein_bench.data.samples import Samples
from stein_bench.models.weights import state_sha256
from stein_bench.progress import Progress, Silent, phase
from stein_bench.tasks import Task
from stein_bench.training.recipes import Recipe

Fit = Callable[..., float]
State = dict[str, torch.Tensor]
INSTALLED = ("torch.nn.", "torchvision.", "timm.", "stein_bench.")
"""Packages whose layers compute what their structure, settings and state say."""


class FitsOnce:
    """`stein_bench.training.fit.fit`, which trains the same network on the same samples only once.

    The rest of a run stays as it is: the network is built, and what was trained is written to the cache of the test. A
    network with code of its own is trained every time, as is one on another device than the CPU.

    Attributes:
        trained: how many networks were trained.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit, self.trained = fit, 0
        self._found: dict[str, tuple[State, float]] = {}

    def __call__(
        self,
        model: nn.Module,
        samples: Samples,
        task: Task,
        *,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        progress: Progress | None = None,
        title: str = "fit",
    ) -> float:
        def train() -> float:
            self.trained += 1
            return self._fit(
                model, samples, task, recipe=recipe, seed=seed, device=device, progress=progress, title=title
            )

        if device.type != "cpu" or not all(map(_is_described, model.modules())):
            return train()
        identity = [type(task).__name__, recipe.identity(), seed, samples.sha256(), *_description(model)]
        key = json.dumps(identity, sort_keys=True, default=repr)
        if key not in self._found:
            loss = train()
            self._found[key] = {name: tensor.clone() for name, tensor in model.state_dict().items()}, loss
            return loss
        state, loss = self._found[key]
        total = recipe.epochs * len(samples)
        with phase(progress or Silent(), title, total):
            model.load_state_dict(state)
            if progress is not None:
                progress.advance(total, f"loss {loss:.3f}")
        model.eval()
        return loss


def _is_described(module: nn.Module) -> bool:
    """Whether the class and the attributes of a module tell what it computes."""
    own = vars(module)
    changed = "forward" in own or any(own[name] for name in own if name.endswith("_hooks"))
    if getattr(module, "own_estimator", None) is not None:
        return False
    return type(module).__module__.startswith(INSTALLED) and not changed


def _description(model: nn.Module) -> list[Any]:
    """Return the structure, the settings of every module and the state of `model`."""
    kept = (bool, int, float, str, tuple)
    settings = [
        [type(module).__qualname__, {key: value for key, value in vars(module).items() if isinstance(value, kept)}]
        for module in model.modules()
    ]
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return [str(model), settings, frozen, state_sha256(model)]

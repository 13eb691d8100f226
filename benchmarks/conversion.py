"""Which models of timm and torchvision convert: a table of all models with BN.

Models are built and converted on the meta device, so no weights and little memory are needed. It takes some minutes:

    python -m benchmarks.conversion > docs/conversion.md
"""

from __future__ import annotations

import argparse
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import timm
import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.normalization.layers import SteinNorm

TORCHVISION_PARTS = {
    "classification": torchvision.models,
    "segmentation": torchvision.models.segmentation,
    "detection": torchvision.models.detection,
    "video": torchvision.models.video,
    "optical flow": torchvision.models.optical_flow,
    "quantizable": torchvision.models.quantization,
}


@dataclass(frozen=True)
class Candidate:
    """A model that can be built: its family, name and constructor."""

    family: str
    name: str
    construct: Callable[[], nn.Module]


@dataclass
class Outcome:
    """The outcome of converting one model or a whole family: converted layers by kind, skipped ones by reason."""

    models: int = 0
    with_batchnorm: int = 0
    fully_converted: int = 0
    converted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Outcome) -> None:
        """Add the counts of another outcome."""
        self.models += other.models
        self.with_batchnorm += other.with_batchnorm
        self.fully_converted += other.fully_converted
        self.converted += other.converted
        self.skipped += other.skipped


def timm_candidates() -> Iterator[Candidate]:
    """Yield all models that timm lists, by the module that defines them."""
    for family in sorted(timm.list_modules()):
        for name in timm.list_models(module=family):
            yield Candidate(family, name, lambda name=name: timm.create_model(name))


def torchvision_candidates() -> Iterator[Candidate]:
    """Yield all models that torchvision lists, by task."""
    for part, module in TORCHVISION_PARTS.items():
        for name in torchvision.models.list_models(module=module):
            yield Candidate(part, name, lambda name=name: torchvision_model(name))


def torchvision_model(name: str) -> nn.Module:
    """Build a torchvision model with random weights, including its backbone."""
    accepted = inspect.signature(torchvision.models.get_model_builder(name)).parameters
    none = {key: None for key in ("weights", "weights_backbone") if key in accepted}
    return torchvision.models.get_model(name, **none)


def attempt(candidate: Candidate) -> Outcome:
    """Build a model on the meta device and convert it.

    What counts as BN is decided independently of the conversion: by PyTorch's base class, of which no unconverted
    layers may remain.
    """
    model = built_without_values(candidate)
    before = layer_count(model)
    _, account = convert_batchnorm(model, "stein")
    left_over = before - layer_count(model, SteinNorm)
    return Outcome(
        models=1,
        with_batchnorm=int(before > 0),
        fully_converted=int(before > 0 and left_over == 0),
        converted=Counter(layer.kind for layer in account.converted),
        skipped=Counter((layer.kind, layer.reason) for layer in account.skipped),
    )


def built_without_values(candidate: Candidate) -> nn.Module:
    """Build a model on the meta device, or on the CPU if it computes its own widths with tensors."""
    try:
        with torch.device("meta"):
            return candidate.construct()
    except NotImplementedError:
        return candidate.construct().to("meta")


def layer_count(model: nn.Module, kind: type[nn.Module] = _BatchNorm) -> int:
    """Return how many layers of that class or its subclasses a model has."""
    return sum(isinstance(module, kind) for module in model.modules())


def by_family(candidates: Iterable[Candidate]) -> dict[str, Outcome]:
    """Convert all candidates; return the sums per family."""
    families: dict[str, Outcome] = {}
    for candidate in candidates:
        families.setdefault(candidate.family, Outcome()).add(attempt(candidate))
    return families


def table(title: str, families: dict[str, Outcome]) -> str:
    """Return a section with a Markdown table of the families that have BN."""
    total = Outcome()
    for outcome in families.values():
        total.add(outcome)
    lines = [
        f"## {title}\n",
        f"Of {total.models} models, {total.with_batchnorm} have BN; in {total.fully_converted} of "
        f"these every BN layer converts ({sum(total.converted.values())} layers).\n",
        "| family | models | with BN | all converted | converted layers | not converted |",
        "|---|---|---|---|---|---|",
    ]
    lines += [row(name, outcome) for name, outcome in families.items() if outcome.with_batchnorm]
    return "\n".join([*lines, row("**all**", total)])


def row(name: str, outcome: Outcome) -> str:
    """Return one family's line."""
    converted = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.converted.items()))
    skipped = "; ".join(f"{count} {kind} ({reason})" for (kind, reason), count in sorted(outcome.skipped.items()))
    counts = [str(outcome.models), str(outcome.with_batchnorm), str(outcome.fully_converted)]
    return "| " + " | ".join([name, *counts, converted or "—", skipped or "—"]) + " |"


INTRODUCTION = """# Which models convert

`stein_bench.convert_batchnorm` was run on every model that timm and torchvision list, on the meta device.
A family is a module of timm or a task of torchvision; families without BN are omitted.
The summary that the conversion returns lists the layers that are not converted, with the reason.

This page is generated by `python -m benchmarks.conversion > docs/conversion.md`."""


def main() -> None:
    """Print the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.filterwarnings("ignore")
    print(INTRODUCTION)
    print(f"Versions: torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}.\n")
    print(table("timm", by_family(timm_candidates())) + "\n")
    print(table("torchvision", by_family(torchvision_candidates())))


if __name__ == "__main__":
    main()

"""Lipschitz constants as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group
from rich.text import Text

from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph, note_list, print_uncut
from stein_bench.render.text_table import TextTable
from stein_bench.theory.constants import LipschitzStudy, found
from stein_bench.theory.figures import figure
from stein_bench.theory.lipschitz import Layer, LayerConstant


def print_lipschitz(study: LipschitzStudy, console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`."""
    conclusion = Paragraph(study.conclusion(), style="bold")
    parts = (conclusion, Text(), Paragraph(_heading(study)), Text(), _layers(study), Text(), note_list(_notes(study)))
    print_uncut(Group(*parts), console)


def _heading(study: LipschitzStudy) -> Text:
    network = study.network
    text = Text("Local Lipschitz constants under batch statistics")
    if network is None:
        text.append(", random Gaussian batches")
    else:
        text.append(
            f", {network.model} (weights: {network.weights_kind}, trained with {network.trained_with}) at "
            f"{network.samples} samples of {network.data}"
        )
    return text


def _layers(study: LipschitzStudy) -> TextTable:
    random = study.network is None
    columns = [] if random else [Column("layer", name=True)]
    columns += [Column(header, name=random, right=True) for header in ("C", "N")]
    columns += [Column("spread of\nmeans, σ", name=True, right=True)] if random else []
    columns += [Column("plain BN\n(sample)", right=True)]
    table = TextTable([*columns, *(Column(f"{name}:\n÷ plain", right=True) for name in study.others)])
    for index, layer in enumerate(study.layers):
        ratios = [study.ratios(name)[index] for name in study.others]
        table.add(*_lead(layer), _plain(layer.constants[0]), *map(_ratio, ratios, layer.constants[1:]))
    return table


def _lead(layer: Layer) -> tuple[str, ...]:
    size = (str(layer.channels), f"{layer.elements:,}")
    return (*size, f"{layer.spread:g}") if layer.name is None else (layer.name, *size)


def _plain(constant: LayerConstant) -> str:
    return f"{constant.norm:.4g}{_mark(constant)}"


def _ratio(ratio: float | None, constant: LayerConstant) -> str:
    return (f"({constant.norm:.3g})" if ratio is None else figure(ratio)) + _mark(constant)


def _mark(constant: LayerConstant) -> str:
    return "" if found(constant) else "*"


def _notes(study: LipschitzStudy) -> Iterator[str]:
    yield (
        "constant: spectral norm of the Jacobian J of the whole batch's outputs with respect to its inputs, by power "
        f"iteration on JᵀJ; the largest of {study.settings.starts} starts"
    )
    agreeing, known = study.agreement()
    yield f"{agreeing} of {known} agree within 0.5 % with the same constant computed from a matrix of order 2C" + (
        "; * marks the others, which are lower bounds" if agreeing < known else ""
    )
    yield "plain BN's is known in closed form, max |γ|/√(s+ε) for N ≥ 3"
    if study.others:
        smaller = ", ".join(f"{name} in {study.smaller_slopes(name)}" for name in study.others)
        yield f"with mean and variance held fixed it would be max |γ|/√(s'+ε), smaller than plain BN's for {smaller}"
    if any(ratio is None for name in study.others for ratio in study.ratios(name)):
        yield "(in parentheses): the constant itself, if plain BN's is 0"
    yield (
        "the constant of one layer does not bound the network's: scaling the weights before it by k makes it k times "
        "smaller, while with plain BN the network's function stays the same"
    )

"""The summary of a training run."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from stein_bench.errors import one_line
from stein_bench.parts.trust import names_code
from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph, print_uncut
from stein_bench.render.text_table import TextTable
from stein_bench.report.results import on_lines
from stein_bench.training.card import EpochRecord, TrainingCard


def print_training(card: TrainingCard, path: Path, picture: str, console: Console | None = None) -> None:
    """Print what was trained, its first, kept and last epoch, and the files written, to stdout."""
    card = on_lines(card)
    data = card.data
    parts = f"{data.trained_on:,} samples" + (f", {data.validated_on:,} for validation" if data.validated_on else "")
    lines = [
        f"{card.model} on {data.name} ({parts}), BN {card.bn}, recipe {card.recipe['name']}, seed {card.seed}",
        *([f"adversarial training with {card.adversarial}"] if card.adversarial else []),
        *([_start(card)] if card.started_from else []),
    ]
    again = ["stein-bench", "evaluate", card.config["model"], "--data", card.config["data"], "--weights", str(path)]
    if names_code("estimator", card.bn):  # without it, its name would come from the card alone
        again += ["--bn", card.bn]
    files = (
        f"weights: {path} (card: {path.with_suffix('.json').name}, curves: {picture})",
        f"evaluate with: {shlex.join(again)}",
    )
    closing = (Text(one_line(line), no_wrap=True, overflow="ignore") for line in files)  # to be copied
    print_uncut(Group(*map(Paragraph, lines), Text(), _table(card), Text(), *closing), console)


def _start(card: TrainingCard) -> str:
    start = card.started_from
    assert start is not None
    change = f", converted from {start.bn}" if start.bn != card.bn else ""
    kept = ", γ and β absorbing the change" if start.function_preserved else ""
    return f"started from {start.weights}{change}{kept}"


def _table(card: TrainingCard) -> TextTable:
    robust = any(record.validation_robust_accuracy is not None for record in card.epochs)
    validated = card.data.validated_on > 0
    headers = ["epoch", "loss", "accuracy %"]
    headers += ["validation loss", "validation %"] if validated else []
    headers += ["robust %"] if robust else []
    table = TextTable(
        [*(Column(header, name=not i, right=True) for i, header in enumerate(headers)), Column("")], gap=3
    )
    for record in _shown(card):
        cells = [str(record.epoch), f"{record.loss:.3f}", _percent(record.accuracy)]
        cells += [_loss(record.validation_loss), _percent(record.validation_accuracy)] if validated else []
        cells += [_percent(record.validation_robust_accuracy)] if robust else []
        kept = record.epoch == card.kept_epoch
        table.add(*cells, "kept" if kept else "")
    return table


def _shown(card: TrainingCard) -> list[EpochRecord]:
    numbers = sorted({1, card.kept_epoch, len(card.epochs)})
    return [card.epochs[number - 1] for number in numbers]


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"

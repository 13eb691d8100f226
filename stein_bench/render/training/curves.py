"""Learning curves of a training run, drawn without a display."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stein_bench.errors import UsageError, one_line
from stein_bench.training.card import EpochRecord, TrainingCard


@mpl.rc_context({"text.parse_math": False})  # a $ in a name must not start math mode
def plot_curves(card: TrainingCard, path: str | Path) -> None:
    """Draw loss and accuracy by epoch, and mark the epoch whose weights were kept.

    Raises:
        UsageError: the file cannot be written.
    """
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, card, "loss", 1.0)
    _draw(right, card, "accuracy", 100.0)
    if _spreads([loss for record in card.epochs for loss in (record.loss, record.validation_loss)]):
        left.set_yscale("log")
    left.set_ylabel("mean loss")
    right.set_ylabel("accuracy (%)")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axvline(card.kept_epoch, color="0.6", linewidth=0.8, linestyle="--", label="weights kept")
    right.legend(frameon=False)
    adversarial = f", adversarial training with {card.adversarial.partition(':')[0]}" if card.adversarial else ""
    title = f"{card.model} on {card.data.name}, BN {card.bn}, recipe {card.recipe['name']}{adversarial}"
    figure.suptitle(one_line(title))
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror or error}.") from None


def _draw(axes: Axes, card: TrainingCard, figure: str, scale: float) -> None:
    trained = "training, adversarial" if card.adversarial else "training"
    curves = (
        (figure, trained),
        (f"validation_{figure}", "validation"),
        (f"validation_robust_{figure}", "validation under attack"),
    )
    for index, (field, label) in enumerate(curves):
        values = [(record.epoch, _value(record, field)) for record in card.epochs]
        points = [(epoch, scale * value) for epoch, value in values if value is not None]
        if points:
            epochs, heights = zip(*points, strict=True)
            axes.plot(epochs, heights, label=label, color=f"C{index}", marker="osD"[index], markersize=3)


def _spreads(losses: list[float | None]) -> bool:
    """Return whether a linear axis would hide all but the largest of the losses."""
    positive = [loss for loss in losses if loss is not None and loss > 0]
    return len(positive) > 1 and max(positive) > 100 * min(positive)


def _value(record: EpochRecord, field: str) -> float | None:
    value: float | None = getattr(record, field)
    return value

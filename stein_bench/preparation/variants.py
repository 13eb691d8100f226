"""The variants of a model to evaluate: BN estimators, statistics sources, and the controls they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.models.interface import ModelSource
from stein_bench.models.weights import Weights
from stein_bench.normalization.names import parse_estimator, published_source, shown_estimator
from stein_bench.parts.trust import check_trusted
from stein_bench.preparation.own_bn import own_bn

STATS: tuple[Literal["running", "batch"], ...] = ("running", "batch")
NO_CONTROL = (
    "no plain-BN control under batch statistics: these weights were not trained with plain BN, so the "
    "effect of the statistics source is unknown"
)


@dataclass(frozen=True)
class Variant:
    """One BN estimator under one statistics source; a control is added only to interpret the others."""

    bn: str
    stats: Literal["running", "batch"]
    control: bool = False

    @property
    def shown(self) -> str:
        """The estimator's name in reports, see `shown_estimator`."""
        return shown_estimator(self.bn)

    @property
    def label(self) -> str:
        """Identity of the variant within a run, e.g. ``stein/running``."""
        return f"{self.shown}/{self.stats}"


def choose_variants(
    config: RunConfig, weights: Weights | None, source: ModelSource | None = None
) -> tuple[Variant, ...]:
    """Return the variants to evaluate: those requested, in their order, then the controls.

    Args:
        config, weights: the run's configuration and the file of weights, if there is one.
        source: the model, whose networks may come with BN layers of their own; None before it is known.

    Raises:
        UsageError: an estimator is unknown, named twice, does not fit the weights, or is code that only the card of the
            weights names; or `--controls` cannot be met.
    """
    names = [str(parse_estimator(name)) for name in config.bn or ()]
    if len(set(map(shown_estimator, names))) < len(names):
        raise UsageError(f"--bn names the same estimator twice: {', '.join(names)}.")
    trained_with = _trained_with(weights, names)
    about = f"in {config.weights}"
    if weights is None and source is not None and (bn := own_bn(source)) is not None:
        trained_with, about = bn, f"of {source.spec}"
    elif not names and not config.trust_code:  # the card's estimator would be imported; that of `--bn` is the user's
        check_trusted("estimator", trained_with, f"{config.weights}: the card of the weights")
    others = [name for name in names if shown_estimator(name) != shown_estimator(trained_with)]
    if trained_with != "sample" and others:
        raise UsageError(
            f"the weights {about} were trained with --bn {trained_with}; --bn {others[0]} cannot be applied to them."
        )
    names = names or [trained_with]
    sources = {bn: config.stats if config.preset is None else (published_source(bn),) for bn in names}
    asked = [Variant(bn, stats) for bn in names for stats in sources[bn]]
    wanted: list[Variant] = []
    if config.preset is not None:
        pass  # as in the published code, which has no control
    elif config.controls:
        if trained_with != "sample":
            raise UsageError(f"--controls needs plain-BN weights to compare with; those {about} are not plain BN.")
        wanted = [Variant(bn, stats, control=True) for bn in ("sample", *names) for stats in STATS]
    elif trained_with == "sample" and any(v.bn != "sample" and v.stats == "batch" for v in asked):
        wanted = [Variant("sample", "batch", control=True)]
    labels = {variant.label for variant in asked}
    if config.batch_size == "auto" and any(variant.stats == "batch" for variant in (*asked, *wanted)):
        raise UsageError("--batch-size auto: results under batch statistics depend on the batch size; give a number.")
    controls = {variant.label: variant for variant in wanted if variant.label not in labels}
    return (*asked, *controls.values())


def _trained_with(weights: Weights | None, names: Sequence[str]) -> str:
    """Return the BN that the weights were trained with; without a card, the one named by `--bn`."""
    if weights is None:
        return "sample"
    if weights.trained_with is not None:
        return weights.trained_with
    if len(names) == 1 and names[0] != "sample":
        return names[0]
    raise UsageError(
        f"the weights in {weights.path} are from Stein layers (they contain a `count`), and no card names the "
        "estimator: evaluate them with a single --bn, the one they were trained with."
    )


def lacks_control(variants: Sequence[Variant]) -> bool:
    """Return whether another BN is evaluated under batch statistics without plain BN for comparison."""
    batch = [variant.bn for variant in variants if variant.stats == "batch"]
    return bool(batch) and "sample" not in batch

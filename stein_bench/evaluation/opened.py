"""One variant, opened: its network under its statistics source, and the models that are evaluated and attacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from stein_bench.evaluation.attack_network import attack_network
from stein_bench.evaluation.batches import Evaluated, Setting
from stein_bench.evaluation.behind_probabilities import tempered
from stein_bench.evaluation.networks import Built
from stein_bench.models.probabilities import Probabilities
from stein_bench.normalization.convert import batchnorm_stats, convert_batchnorm
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant


class Opened(NamedTuple):
    """A variant that can be evaluated.

    Attributes:
        built: its network.
        evaluated: its model and how it is evaluated.
        probabilities: what the model returns in place of logits, or None.
    """

    built: Built
    evaluated: Evaluated
    probabilities: Probabilities | None


@contextmanager
def opened(plan: Plan, variant: Variant, built: Built, setting: Setting) -> Iterator[Opened]:
    """Run the body with the variant's statistics source in force; a dry run opens variants as an evaluation does.

    Raises:
        UsageError: the model's outputs cannot be used.
    """
    network = built.network
    if variant.stats == "batch" and variant.bn == "sample":
        # Layers that can use batch statistics in evaluation; parameters and buffers stay the same.
        network, summary = convert_batchnorm(network, "sample")
        built = replace(built, summary=summary)
    with batchnorm_stats(network, variant.stats):
        model = plan.wrap(network)
        batch_size, batch_dependent = setting.batch_size, variant.stats == "batch"
        probabilities = tempered(plan, model, batch_size, batch_dependent=batch_dependent)
        attacked = attack_network(
            model, plan.attack_network, batch_size, batch_dependent=batch_dependent, probabilities=probabilities
        )
        evaluated = Evaluated(variant.label, model, setting, attacked, batch_dependent)
        yield Opened(built, evaluated, probabilities)

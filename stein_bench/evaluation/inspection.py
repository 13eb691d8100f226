"""Entry point of `stein-bench inspect`: turns a configuration into a summary of the model's BN layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stein_bench.config import RunConfig
from stein_bench.evaluation.networks import build_network
from stein_bench.guard import model_untouched
from stein_bench.normalization.inspection import (
    LayerInspection,
    ModelInspection,
    elements_per_sample,
    inspect_batchnorm,
)
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES, parse_estimator
from stein_bench.offline import keeps_offline
from stein_bench.preparation.plan import check_model, prepare, trial_outputs
from stein_bench.preparation.programs import refuse_program
from stein_bench.preparation.training_split import with_training_split
from stein_bench.preparation.untrained import with_untrained
from stein_bench.progress import Progress, Silent

DOCUMENT_VERSION = 1
DEFAULT_BATCH = 100


@dataclass(frozen=True)
class Inspection:
    """The BN layers of one model with its weights.

    Attributes:
        model, source: the model's name and spec.
        weights_kind, weights_sha256: the kind of weights and their hash.
        trained_with: the BN estimator of these weights.
        batch_size: samples per training batch, assumed for layers without a count.
        found: the inspected layers.
    """

    model: str
    source: str
    weights_kind: str
    weights_sha256: str
    trained_with: str
    batch_size: int
    found: ModelInspection

    def document(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        content = {key: value for key, value in asdict(self).items() if key != "found"}
        layers = [_layer_document(layer) for layer in self.found.layers]
        skipped = [{**asdict(layer), "converts": False} for layer in self.found.skipped]
        return {
            "document": "stein-bench inspection",
            "version": DOCUMENT_VERSION,
            **content,
            "layers": layers + skipped,
        }


def _layer_document(layer: LayerInspection) -> dict[str, Any]:
    content = asdict(layer)
    return {"name": content.pop("name"), "kind": content.pop("kind"), "converts": True, **content}


@keeps_offline
def inspect_model(config: RunConfig, *, progress: Progress | None = None) -> Inspection:
    """Build the network that `stein-bench evaluate` would evaluate, and inspect its BN layers.

    Args:
        config: model, data, weights and preprocessing; its `bn` lists the estimators to show (default: all),
            its `batch_size` is assumed for layers without a count.
        progress: receives progress if the network has to be trained.

    Raises:
        UsageError: something is wrong with the input.
        RunError: the training failed.
    """
    estimators = [str(parse_estimator(name)) for name in config.bn or ESTIMATOR_SUMMARIES if name != "sample"]
    assumed = config.batch_size if isinstance(config.batch_size, int) else DEFAULT_BATCH
    progress = progress or Silent()
    plan = prepare(config.model_copy(update={"bn": None}))
    refuse_program(plan.source, "whose BN layers cannot be told from its other code")
    plan, blank = with_untrained(plan)
    check_model(plan, blank)
    if plan.weights_kind == "fit":
        plan = with_training_split(plan, progress)
    for note in (*plan.model_notes(), *plan.training_notes):
        progress.note(note)
    trained_with = plan.variants[0].bn
    built = build_network(plan, trained_with, progress)
    model = plan.wrap(built.network, precision="fp32")
    with model_untouched(model), elements_per_sample(built.network) as elements:
        trial_outputs(model, plan, plan.device)
    found = inspect_batchnorm(built.network, estimators, elements, assumed)
    return Inspection(plan.source.name, plan.source.spec, plan.weights_kind, built.sha256, trained_with, assumed, found)

"""The parts of a run that somebody brought, for its identity and its report."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.data.userdata import UserData
from stein_bench.models.callables import UserModel
from stein_bench.models.instances import Instance
from stein_bench.normalization.names import parse_estimator
from stein_bench.parts.brought import Part
from stein_bench.preparation.plan import Plan
from stein_bench.report.document import BroughtPart


def brought_parts(plan: Plan) -> list[BroughtPart]:
    """Return the parts of `plan` that somebody brought, each once: model and data only of installed packages.

    Models and data from files or Python are identified by their weights and samples.
    """
    found = {(part.kind, part.spec): part for part in _parts(plan)}
    return [
        BroughtPart(kind=part.kind, name=part.short, sha256=part.sha256, origin=part.origin or None)
        for part in found.values()
    ]


def _parts(plan: Plan) -> Iterator[Part]:
    if isinstance(plan.source, UserModel | Instance) and plan.source.part is not None:
        yield plan.source.part
    if isinstance(plan.data, UserData) and plan.data.code.part is not None:
        yield plan.data.code.part
    for variant in plan.variants:
        if (own := parse_estimator(variant.bn).own) is not None:
            yield own.part
    yield from (attack.info.own.part for attack in plan.attacks if attack.info.own is not None)
    yield from (metric.part for metric in plan.metrics)

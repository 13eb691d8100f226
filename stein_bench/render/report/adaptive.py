"""What adaptive attacks found out about a model, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import percent
from stein_bench.report.results import AdaptiveInfo, SearchInfo, SurrogateInfo

WITHOUT_GRADIENTS = ("square", "nes", "rays", "hopskipjump")
"""Searches that use scores or decisions alone."""


def adaptive_notes(report: Report) -> Iterator[str]:
    """Yield, for each adaptive attack, what the model hides, which searches lowered the worst case, and by how much."""
    for variant in report.variants:
        for info in variant.adaptive or ():
            lead = titles(variant.attacks)[info.attack]
            if len(report.variants) > 1:
                lead = f"{variant.bn}/{variant.stats}, {lead}"
            yield from _notes(lead, info)


def _notes(lead: str, info: AdaptiveInfo) -> Iterator[str]:
    if info.hidden:
        if info.replaced:
            places = ", ".join(dict.fromkeys(_place(one) for one in info.replaced))
            yield f"{lead}: worked around: {places}"
        if info.differs_with_gradients:
            yield f"{lead}: the model returns other outputs for the same input when gradients are wanted"
        if info.logits_before:
            yield f"{lead}: logits were read before {info.logits_before}"
    if info.used and (info.hidden or len(info.used) > 1):
        yield f"{lead}: uses {', '.join(info.used)}"
    for name, why in (info.failed or {}).items():
        yield f"{lead}: {name}: not possible on this model ({why})"
    yield f"{lead}: {_verdict(info)}"


def _verdict(info: AdaptiveInfo) -> str:
    found = "the model hides its gradients" if info.hidden else "no hidden gradients found"
    if info.robust_accuracy is None:
        return found
    if info.others is None or info.together is None:
        return f"{found}; robust accuracy {percent(info.robust_accuracy)} %"
    if info.others == info.together:
        return f"{found}; the worst case is {percent(info.together)} % with it and without it"
    if info.others < info.together:  # of a random model: the draws that select its points are not those that count
        return f"{found}; the worst case is {percent(info.together)} % with it, {percent(info.others)} % without it"
    parts = [f"{_search(one)} {100 * one.lowered:.1f}" for one in info.searches if one.lowered]
    by = f" ({', '.join(parts)} points)" if parts else ""
    return (
        f"{found}; the worst case is {percent(info.together)} %, {100 * (info.others - info.together):.1f} points lower"
        f"{by}; without it this battery would have claimed {percent(info.others)} %"
    )


def _search(one: SearchInfo) -> str:
    return one.search if one.search in WITHOUT_GRADIENTS else f"{one.search} on {one.source}"


def _place(one: SurrogateInfo) -> str:
    return one.operation if one.file is None else f"{one.operation} ({one.file}:{one.line})"

"""The conclusion that a report supports: one sentence with its caveats. Pure functions, no torch.

A difference is stated only between variants under the same statistics source, on the same samples, for the outcome
fixed in advance (the worst case over the battery), and only if a paired exact test shows it, adjusted for all contrasts
of the report. Otherwise the reason is stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stein_bench.attacks.catalog import CATALOG, ONE_STEP
from stein_bench.comparison.contrasts import COLLAPSE, PLAIN, Contrast, collapsed, contrasts
from stein_bench.comparison.corruptions import ranges
from stein_bench.comparison.pairing import CLEAN, WORST_CASE, distrust, subjects, variant_name
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, in_draws, p_value, percent, signed, signed_interval
from stein_bench.report.results import CommonCorruptions, Effect, Figure, VariantResult, headline, shown

BATCH_CHECKS = frozenset({"batch-dependence", "same-in-another-batch"})
"""Checks that naturally fail under batch statistics: they limit a conclusion but do not rule it out."""


@dataclass(frozen=True)
class Conclusion:
    """One sentence that the numbers support.

    Attributes:
        sentence: human-readable, with figures.
        caveats: further limitations, one sentence each.
    """

    sentence: str
    caveats: tuple[str, ...] = ()


def conclude(report: Report, found: Sequence[Contrast] | None = None) -> Conclusion:
    """Return the conclusion that a report supports.

    Args:
        report: the report.
        found: its `contrasts`, if already computed.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    found = contrasts(report) if found is None else found
    untrusted = distrust(report, subjects(report, "the report"))
    if untrusted:
        more = f", and {len(untrusted) - 1} more" if len(untrusted) > 1 else ""
        return Conclusion(f"No conclusion: a result cannot be trusted ({untrusted[0].rstrip('.')}{more}).")
    lost = collapsed(report)
    if all(variant_name(variant) in lost for variant in report.variants):
        return Conclusion("No conclusion: every clean accuracy has collapsed; robust accuracy is meaningless.")
    changed = [variant for variant in report.variants if variant.bn != PLAIN]  # controls as well: none is singled out
    caveats = tuple(_caveats(report, found))
    if not changed:
        return Conclusion(_level(report), caveats)
    if why := _weak(report):
        return Conclusion(f"No conclusion about robustness: {why}.", caveats)
    claims = [_claim(report, variant, found, lost) for variant in changed]
    sentence = claims[0].alone if len(claims) == 1 else _together(claims)
    return Conclusion(sentence, caveats)


@dataclass(frozen=True)
class _Claim:
    """The claim about one variant: as a full sentence, and as a group and short form if there are several variants."""

    alone: str
    group: str
    words: str


def _claim(report: Report, variant: VariantResult, found: Sequence[Contrast], lost: set[str]) -> _Claim:
    name, where = variant_name(variant), f"under {variant.stats} statistics"
    words = name if len({v.stats for v in report.variants}) > 1 else variant.bn
    own = {contrast.accuracy: contrast for contrast in found if contrast.variant == name}
    reference = f"{PLAIN}/{variant.stats}"
    if obstacle := _obstacle(report, variant, own, lost, reference):
        return _Claim(f"No conclusion about {variant.bn} {where}: {obstacle}.", "nothing", f"{words} ({obstacle})")
    contrast = own.get(WORST_CASE) or next(c for key, c in own.items() if key != CLEAN)
    outcome = _outcome(report)
    figures = f"{percent(contrast.value)} % against {percent(contrast.reference_value)} % with plain BN"
    d = contrast.difference
    evidence = f"{signed_interval(d.value, d.interval)} points, 95 % interval, adjusted p {p_value(d.p_adjusted)}"
    if not d.significant:
        brief = f"{words} ({signed(d.value)} points)"
        alone = f"No difference is shown between {variant.bn} and plain BN {where}: {outcome} {figures} ({evidence})."
        return _Claim(alone, "undecided", brief)
    subject = _subject(variant)
    cost = _cost(own.get(CLEAN), d.value > 0)
    verb = "higher" if d.value > 0 else "lower"
    alone = f"{where[0].upper()}{where[1:]} {subject} has the {verb} {outcome}: {figures} ({evidence}){cost}"
    chance = 1 / max(report.model.classes, 2)
    brief = f"{words} ({signed(d.value)} points, adjusted p {p_value(d.p_adjusted)}{cost}"
    if report.data.task != "segmentation" and max(contrast.value, contrast.reference_value) <= chance:
        alone += f"; both are at or below chance ({percent(chance)} %), so neither withstands these attacks"
        brief += ", both at or below chance, so neither withstands these attacks"
    brief += ")"
    return _Claim(f"{alone}.", "better" if d.value > 0 else "worse", brief)


def _obstacle(report: Report, variant: VariantResult, own: dict[str, Contrast], lost: set[str], reference: str) -> str:
    """Return why a variant cannot be compared with plain BN; empty if it can."""
    name = variant_name(variant)
    for label, what in ((name, "its clean accuracy"), (reference, "the clean accuracy of plain BN")):
        if label in lost:
            return f"{what} has collapsed"
    if reference not in {variant_name(other) for other in report.variants}:
        return f"there is no plain BN under {variant.stats} statistics to compare it with"
    if report.run.preset:
        return f"the preset {report.run.preset} is confounded, so nothing is tested"
    if variant.function_preserved and variant.stats == "running":
        return "it computes the same function as the network it was converted from, by construction"
    if not any(key != CLEAN for key in own):
        return "no attack has a valid result"
    failed = sorted({check for label in (name, reference) for check in _failed(report, label)})
    if failed:
        return f"sanity checks failed ({', '.join(failed)}), so robust accuracies may be too high"
    if all(contrast.difference.p_adjusted is None for contrast in own.values()):
        if variant.outcomes.cluster_size:
            what = "base images" if variant.stats == "running" else "blocks of whole batches and base images"
            return f"with fewer than ten {what} there is no test, since versions of one image are not independent"
        return "with fewer than ten batches there is no test for batch-dependent samples"
    return ""


def _failed(report: Report, label: str) -> Iterator[str]:
    for check in report.diagnostics:
        batch_dependent = label.endswith("/batch") and check.name in BATCH_CHECKS
        if check.variant == label and check.status == "fail" and check.name != COLLAPSE and not batch_dependent:
            yield check.name


def _together(claims: Sequence[_Claim]) -> str:
    """Combine the claims about several variants into one sentence."""
    groups = {group: [claim.words for claim in claims if claim.group == group] for group in _GROUPS}
    told = [f"{_GROUPS[group]}: {', '.join(words)}" for group, words in groups.items() if words]
    return f"In the worst case, compared with plain BN under the same statistics, {'; '.join(told)}."


_GROUPS = {
    "better": "significantly higher",
    "worse": "significantly lower",
    "undecided": "no difference shown",
    "nothing": "no conclusion",
}


def _subject(variant: VariantResult) -> str:
    if variant.conversion == "after-training":
        return f"the network converted to {variant.bn} after training"
    return f"the network with {variant.bn}"


def _cost(clean: Contrast | None, above: bool) -> str:
    """Return the clean accuracy's change if significant and opposite to that of robust accuracy; else empty."""
    if clean is None or not clean.difference.significant or (clean.difference.value > 0) == above:
        return ""
    return f", with {signed(clean.difference.value)} points of clean accuracy"


def _outcome(report: Report) -> str:
    """Return the outcome compared: the worst case of the battery, or its only attack."""
    attacks = report.variants[0].attacks
    what = "mIoU" if report.data.task == "segmentation" else "accuracy"
    if len(attacks) == 1:
        return f"robust {what} under {attacks[0].name.replace('torchattacks.', '')}"
    return f"worst-case {what} over {len(attacks)} attacks"


def _weak(report: Report) -> str:
    """Return why the battery cannot show robustness; empty if it can."""
    names = list(dict.fromkeys(a.name for variant in report.variants for a in variant.attacks))
    if not names:
        corrupted = any(variant.corruptions for variant in report.variants)
        compared = corrupted and report.data.task != "segmentation"
        return "no attack was run" + "; the accuracies under corruptions are compared one by one" * compared
    strong = [
        name for name in names if name in CATALOG and CATALOG[name].access == "white-box" and name not in ONE_STEP
    ]
    if strong:
        return ""
    own = dict.fromkeys(a.name for variant in report.variants for a in variant.attacks if a.backend == "own")
    weak = [name for name in names if name not in own]
    told = [f"{', '.join(weak)} alone {'shows' if len(weak) == 1 else 'show'} little"] if weak else []
    told += [f"the strength of {', '.join(own)} is not known here"] if own else []
    known = "known to be strong " if own else ""
    return f"no iterated white-box attack {known}was run, and {', and '.join(told)}"


def _under(corrupted: CommonCorruptions) -> str:
    """Return what a mean under common corruptions is over: the only one by name."""
    if len(corrupted.corruptions) > 1:
        return "common corruptions"
    ((name, one),) = corrupted.corruptions.items()
    return f"{name} at severit{'ies' if len(one.severities) > 1 else 'y'} {ranges(one.severities)}"


def _level(report: Report) -> str:
    """Return the sentence on the robustness of plain BN if there is no other variant to compare it with."""
    variant = next(v for v in report.variants if variant_name(v) not in collapsed(report))
    where = f"with {variant.stats} statistics"
    figure = headline(variant.clean.accuracy, variant.clean.ci95, variant.clean.metrics)
    mean = variant.clean.expected_accuracy
    where += f", expected over {in_draws(mean.draws)}" if mean is not None else ""
    clean = f"{_percent(shown(figure, mean))} clean"
    if variant.worst_case_accuracy is None:
        if not variant.attacks and (corrupted := variant.common_corruptions) and variant.corruptions:
            clean += f" and {percent(corrupted.accuracy)} % under {_under(corrupted)}"
        none = "no attack has a result" if variant.attacks else "no attack was run"
        return f"{report.model.name} reaches {clean} {where}; {none}."
    worst = headline(variant.worst_case_accuracy, variant.worst_case_ci95, variant.worst_case_metrics)
    worst = shown(worst, variant.worst_case_expected_accuracy)
    between = f" ({percent(worst.ci95[0])}–{percent(worst.ci95[1])})" if worst.ci95 else ""
    doubt = sorted(set(_failed(report, variant_name(variant))))
    hold = f"at most {_percent(worst)}{between}"
    limits = ""
    if doubt and worst.value:  # nothing is lower than 0
        adaptive = any(info.robust_accuracy is not None for info in variant.adaptive or ())
        broken = "it may be too high even with the adaptive attack" if adaptive else "it may be far lower"
        limits = f"; failed sanity checks ({', '.join(doubt)}) indicate that {broken}"
    if not limits and (why := _weak(report)):
        limits = f"; {why}"
    return f"{report.model.name}: {clean}, {hold} {_outcome(report)}, {where}{limits}."


def _percent(figure: Figure) -> str:
    return UNKNOWN if figure.value is None else f"{percent(figure.value)} %"


def _caveats(report: Report, found: Sequence[Contrast]) -> Iterator[str]:
    """Yield further caveats."""
    if any(variant.weights.kind == "none" for variant in report.variants):
        yield "weights: none: the network is untrained, unless its code loads weights"
    changed = [variant for variant in report.variants if variant.bn != PLAIN]
    if any(variant.conversion == "before-training" for variant in changed):
        yield (
            "each BN is one trained network: a difference may be due to the training seed; only several seeds can tell"
        )
    depending = {check.variant for check in report.diagnostics if check.name in BATCH_CHECKS and check.status == "fail"}
    for variant in report.variants:
        if variant.stats == "batch" and variant_name(variant) in depending:
            yield f"{variant_name(variant)}: its verdicts hold only for these exact batches"
    if source := next(_sources(report), None):
        yield (
            f"switching from running to batch statistics alone changes plain BN's robust accuracy by "
            f"{signed(source.difference)} points (p {p_value(source.p)}): not an effect of the estimator"
        )
    if not any(c.difference.significant for c in found if c.accuracy == WORST_CASE):
        others = sum(c.difference.significant for c in found if c.accuracy not in (WORST_CASE, CLEAN))
        if others and any(c.accuracy == WORST_CASE for c in found):
            attacks = "a single attack" if others == 1 else f"{others} single attacks"
            yield f"significant under {attacks} (marked), but not in the worst case"


def _sources(report: Report) -> Iterator[Effect]:
    """Yield the effect of the statistics source on plain BN under attack."""
    for variant in report.variants:
        labels = [attack.label for attack in variant.attacks]
        primary = WORST_CASE if len(labels) > 1 else labels[0] if labels else CLEAN
        yield from (e for e in variant.effects if e.outcome == primary and e.name == "source-sample")

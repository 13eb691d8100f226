"""The report as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.contrasts import COLLAPSE, contrasts, marks
from stein_bench.comparison.pairing import CLEAN, WORST_CASE, variant_name
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES, USING_COUNT
from stein_bench.render.columns import Column
from stein_bench.render.console import Notes, Paragraph, note_list, print_uncut
from stein_bench.render.report.adaptive import adaptive_notes
from stein_bench.render.report.attack_network import attack_network_notes
from stein_bench.render.report.calibration import calibration_notes, calibration_tables
from stein_bench.render.report.common import made_here, rows_apart, stands_for_all
from stein_bench.render.report.effects import effect_tables
from stein_bench.render.report.expected import expected_notes, with_expected
from stein_bench.render.report.groups import group_notes, group_tables
from stein_bench.render.report.loading import loading_notes
from stein_bench.render.report.marks import SIGNS, Marked, legend_of
from stein_bench.render.report.metrics import AUC_UNDER_ATTACK, metric_tables, scaling_note
from stein_bench.render.report.own_metrics import own_metric_notes, own_metric_tables
from stein_bench.render.report.preset import preset_notes
from stein_bench.render.report.unsearched import unsearched_notes
from stein_bench.render.text_table import TextTable
from stein_bench.report.attack_names import SEVERITY, distinctions, noise_strength, titles
from stein_bench.report.document import Diagnostic, Report
from stein_bench.report.number_format import percent
from stein_bench.report.results import (
    AttackResult,
    BudgetResult,
    CorruptionResult,
    Distances,
    Figure,
    Replay,
    VariantResult,
    headline,
    on_lines,
)
from stein_bench.specs import format_eps


def report_table(report: Report) -> RenderableType:
    """Return what must not be overlooked, the conclusion, a table with a row per variant and attack, and the notes."""
    report = on_lines(report)
    found = contrasts(report)
    marked, concluded = marks(report, found), conclude(report, found)
    first = [("!", line, "bold red") for line in alerts(report)]
    notes = (
        *concluded.caveats, *legend_of(report, marked, found), *_notes(report), *own_metric_notes(report),
        *calibration_notes(report),
    )  # fmt: skip
    tables = (
        _rows(report, marked),
        *metric_tables(report),
        *own_metric_tables(report),
        *calibration_tables(report),
        *group_tables(report),
        *effect_tables(report),
    )
    spaced: list[RenderableType] = [part for table in tables for part in (table, Text())]
    top: list[RenderableType] = [Notes(first), Text()] if first else []
    return Group(
        *top, Paragraph(concluded.sentence, style="bold"), Text(), _heading(report), Text(), *spaced, note_list(notes)
    )


def alerts(report: Report) -> list[str]:
    """Return what comes before the results: collapsed accuracies, failed checks, and results that do not count."""
    failed = [check for check in report.diagnostics if check.status == "fail"]
    collapsed = [_check(check) for check in failed if check.name == COLLAPSE]
    others = [f"check failed: {_check(check)}" for check in failed if check.name != COLLAPSE]
    return [*collapsed, *others, *report.dishonest()]


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`."""
    print_uncut(report_table(report), console)


def about(report: Report) -> str:
    """Return what was evaluated: samples, weights and, if there is only one, the statistics source."""
    data = report.data
    shape = "×".join(map(str, data.shape))
    text = f"{data.name} ({data.split}, {data.samples} samples of {shape}), weights: {report.model.weights.kind}"
    sources = _sources(report)
    return f"{text}, {sources.pop()} statistics" if len(sources) == 1 else text


def _heading(report: Report) -> Paragraph:
    return Paragraph(f"{report.model.name} on {about(report)}")


def _sources(report: Report) -> set[str]:
    return {variant.stats for variant in report.variants}


def _rows(report: Report, marked: Marked) -> TextTable:
    several_sources = len(_sources(report)) > 1
    what = "mIoU " if report.data.task == "segmentation" else ""
    table = TextTable(
        [
            Column("BN", name=True, lead=True),
            *([Column("stats", name=True, lead=True, narrow="under", importance=2)] if several_sources else []),
            Column(f"clean {what}%", point=True, lead=True, narrow="beneath", importance=1),
            Column("attack", name=True),
            Column("norm"),
            Column("ε"),
            Column(f"robust {what}%", point=True, narrow="beneath", importance=4),
            Column("time", right=True),
        ]
    )
    for variant in report.variants:
        name = f"{variant.bn}*" if variant.control else variant.bn
        lead = [name, variant.stats] if several_sources else [name]
        signs = {key: SIGNS[mark] for (label, key), mark in marked.items() if label == variant_name(variant)}
        clean = variant.clean
        rate = _rate(clean.accuracy, clean.ci95, clean.metrics) + signs.get(CLEAN, "")
        lead.append(with_expected(rate, clean.expected_accuracy))
        for cells in _attack_cells(variant, signs):
            table.add(*lead, *cells)
            lead = [""] * len(lead)
    return table


def _attack_cells(variant: VariantResult, signs: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    more = distinctions(variant.attacks)
    for attack in variant.attacks:
        name = attack.name.replace("torchattacks.", "") + more[attack.label]
        rate = with_expected(_robust(attack) + signs.get(attack.label, ""), attack.expected_accuracy)
        yield (name, attack.norm, format_eps(attack.eps), rate, _seconds(attack.seconds))
    yield from map(_corruption_cells, rows_apart(variant))
    if (summary := variant.common_corruptions) and (cells := stands_for_all(variant)):
        seconds = _seconds(sum(one.seconds for one in made_here(variant)))
        yield ("corruptions†", "mean", cells, _rate(summary.accuracy, summary.ci95, None), seconds)
    if len(variant.attacks) > 1 and variant.worst_case_accuracy is not None and variant.worst_case_ci95:
        for budget in shared_budgets(variant):
            yield (
                "worst case",
                budget.norm,
                format_eps(budget.eps),
                with_expected(_rate(budget.accuracy, budget.ci95, budget.metrics), budget.expected_accuracy),
                "",
            )
        rate = _rate(variant.worst_case_accuracy, variant.worst_case_ci95, variant.worst_case_metrics)
        rate = with_expected(rate + signs.get(WORST_CASE, ""), variant.worst_case_expected_accuracy)
        yield ("worst case", "", "", rate, "")


def shared_budgets(variant: VariantResult) -> list[BudgetResult]:
    """Return the budgets whose worst case is neither that of the only attack at that ε nor the whole battery's."""
    found, whole = [], len(variant.attacks)
    for budget in variant.budgets:
        same = [a for a in variant.attacks if (a.norm, a.eps) == (budget.norm, budget.eps)]
        said = len(same) == 1 and budget.accuracy == same[0].robust_accuracy and budget.metrics == same[0].metrics
        if not said and len(budget.attacks) < whole:
            found.append(budget)
    return found


def _corruption_cells(corruption: CorruptionResult) -> tuple[str, ...]:
    kind, strength = noise_strength(corruption.params)
    rate: str = corruption.status
    if corruption.accuracy is not None and corruption.ci95 is not None:
        rate = _rate(corruption.accuracy, corruption.ci95, corruption.metrics)
    return (f"{corruption.name.removeprefix('noise-')}†", kind, strength, rate, _seconds(corruption.seconds))


def _robust(attack: AttackResult) -> str:
    if attack.robust_accuracy is None or attack.ci95 is None:
        return attack.status
    rate = _rate(attack.robust_accuracy, attack.ci95, attack.metrics)
    return rate if attack.status == "ok" else f"{attack.status} {rate}"


def _rate(share: float, interval: tuple[float, float], metrics: Mapping[str, Figure] | None) -> str:
    """Write the headline of a result: its accuracy, or the mIoU if there is one."""
    figure = headline(share, interval, metrics)
    if figure.ci95 is None:
        return percent(figure.value or 0.0)
    low, high = figure.ci95
    return f"{percent(figure.value or 0.0)} ({percent(low)}–{percent(high)})"


def _seconds(seconds: float) -> str:
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _notes(report: Report) -> Iterator[str]:
    yield from preset_notes(report)
    if any(variant.control for variant in report.variants):
        yield "* control, added because batch statistics alone change robustness"
    if any(variant.clean.assumes_independence for variant in report.variants):
        yield "samples of a batch depend on one another under batch statistics; the intervals assume independence"
    batch = [variant.bn for variant in report.variants if variant.stats == "batch"]
    if batch and "sample" not in batch:
        yield "no plain-BN control (weights not trained with plain BN): effect of the statistics source unknown"
    for bn in dict.fromkeys(v.bn for v in report.variants if v.conversion == "after-training"):
        if any(v.bn == bn and v.function_preserved for v in report.variants):
            yield (
                f"{bn}: converted after training with the function preserved, so under running statistics it is the "
                "same function by construction: a starting point for fine-tuning, not a result"
            )
        else:
            yield f"{bn}: converted after training, which changes the function; the weights were not trained with it"
    for bn in dict.fromkeys(v.bn for v in report.variants if v.layers_of_unknown_count and v.stats == "running"):
        family = bn.partition(":")[0]
        if family in USING_COUNT or family not in ESTIMATOR_SUMMARIES:
            effect = f", so {USING_COUNT[family]}" if family in USING_COUNT else ""
            yield (
                f"{bn}: the weights do not record the elements per channel N of training; N is treated as infinite"
                f"{effect}"
            )
    noises = [c for variant in report.variants for c in variant.corruptions if SEVERITY not in c.params]
    draws = sorted({len(noise.accuracies) for noise in noises if noise.accuracies})
    what = "mIoU" if report.data.task == "segmentation" else "accuracy"
    if draws:
        yield (
            f"† random noise, not an attack: {what} on the corrupted input alone, mean of "
            f"{' or '.join(map(str, draws))} draws; not part of the worst case"
        )
    yield from adaptive_notes(report)
    surrogates = [str(a.params["surrogate"]) for v in report.variants for a in v.attacks if "surrogate" in a.params]
    for surrogate in dict.fromkeys(surrogates):
        yield f"transfer: crafted on {surrogate}, only shown to the evaluated model"
    yield from loading_notes(report)
    yield from attack_network_notes(report)
    yield from unsearched_notes(report)
    yield from expected_notes(report)
    if any(shared_budgets(variant) for variant in report.variants):
        yield "worst case with an ε: over the attacks within that ε; without: over all attacks, up to the largest ε"
    yield from _interval_notes(report)
    yield from group_notes(report)
    if report.data.task == "binary":
        yield f"AUC: of the {_score(report)}; interval by Newcombe's method 5. {AUC_UNDER_ATTACK}"
    if (scaling := report.data.scaling) is not None and scaling.method != "none":
        yield scaling_note(scaling)
    for variant in report.variants:
        if variant.skipped_layers:
            yield f"{variant.bn}: {len(variant.skipped_layers)} normalization layers not converted (see the report)"
    if any(attack.over_budget for variant in report.variants for attack in variant.attacks):
        yield "some attacks do not respect ε; what they found beyond it does not count as a success"
    for variant in report.variants:
        names = titles(variant.attacks)
        for attack in variant.attacks:
            where = f"{variant.bn} ({variant.stats}), {names[attack.label]}"
            if attack.replay is not None:
                yield f"{where} {_replayed(attack.replay)}"
            if attack.distances is not None and attack.distances.median is not None:
                mixed = "; combined from different batches, so it is unreliable" * (variant.stats == "batch")
                yield f"{where}: {_distance(attack.norm, attack.distances)}{mixed}"
    if (processes := report.run.processes) is not None:
        nodes = f" on {processes.nodes} machines" if processes.nodes > 1 else ""
        took = _seconds(report.run.wall_seconds)
        yield f"times are summed over {processes.count} processes{nodes}; the run took {took}"
    for check in report.diagnostics:
        if check.status == "warn":
            yield f"check warning: {_check(check)}"
    if report.diagnostics:
        passed = sum(check.status == "pass" for check in report.diagnostics)
        yield f"{passed} of {len(report.diagnostics)} sanity checks passed"


FEW_IMAGES = 30
"""With fewer images than this, percentile bootstrap intervals are noticeably too narrow."""


def _interval_notes(report: Report) -> Iterator[str]:
    if report.data.task != "segmentation":
        yield "in parentheses: 95 % Wilson intervals"
        return
    yield (
        "mIoU: mean over the classes that occur, over all images together, void pixels excluded; under attack an image "
        "counts with the worse of its clean and adversarial outcomes, in the worst case with the worst of all"
    )
    few = f"; too narrow with only {report.data.samples} images" if report.data.samples < FEW_IMAGES else ""
    yield f"in parentheses: 95 % bootstrap intervals over images{few}"


def _score(report: Report) -> str:
    """Return what the AUC of a binary model ranks: float32 probabilities tie where a sigmoid saturates."""
    probabilities = any(check.name == "outputs-are-logits" and check.status == "warn" for check in report.diagnostics)
    return "model's outputs, which tie where they saturate" if probabilities else "logit"


def _check(check: Diagnostic) -> str:
    return f"{check.variant}: {check.message}" if check.variant else check.message


def _distance(norm: str, distances: Distances) -> str:
    unit, digits = ("/255", 255) if norm == "Linf" else ("", 1)
    median, mean = (f"{digits * (value or 0):.3g}{unit}" for value in (distances.median, distances.mean))
    return (
        f"nearest adversarial inputs found: {norm} median {median}, mean {mean}, for {distances.found} of "
        f"{distances.samples} samples"
    )


def _replayed(replay: Replay) -> str:
    shuffled = "–" if replay.shuffled is None else percent(replay.shuffled)
    alone = "–" if replay.alone is None else percent(replay.alone)
    return (
        f"replayed, robust %: as attacked {percent(replay.joint)}, shuffled {shuffled} (n={replay.samples}); "
        f"as attacked {percent(replay.single_joint)}, among clean {percent(replay.among_clean)}, alone {alone} "
        f"(n={replay.single_samples})"
    )

"""Sanity checks on results: consistency between attacks, dependence on the batch, collapsed clean accuracy.

A stronger attack that breaks less than a weaker one indicates a fault in the attack or masked gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from stein_bench.attacks.attack import Attack
from stein_bench.attacks.catalog import ITERATED, ONE_STEP
from stein_bench.measures import Outcome
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Diagnostic
from stein_bench.report.results import VariantResult, headline
from stein_bench.statistics.paired_tests import LEAST_BATCHES, Paired
from stein_bench.statistics.rates import COLLAPSED

Status = Literal["pass", "warn", "fail"]

SIGNIFICANT = 0.01
"""A stronger attack that breaks less is a failed check if the one-sided p is below this, else a warning."""

MASKED = "gradients may be masked: run with --adaptive"
"""What it means if a stronger attack breaks less."""

GRADED = 0.001
"""An mIoU changes with every pixel: it counts as higher under the stronger attack only beyond this difference."""
MOST_FLIPPED = 0.01
"""Largest share of flipped verdicts at which a variant does not count as batch-dependent."""


def consistency(
    variant: str, attacks: Sequence[Attack], robust: Mapping[str, Outcome], batch_size: int | None
) -> list[Diagnostic]:
    """Compare the attacks of one variant with one another, on the samples of the report.

    Within one norm and eps an iterated attack should be at least as strong as a one-step one, and a white-box attack
    at least as strong as any other; the same attack should be at least as strong at a larger eps.
    Source: Carlini et al., "On evaluating adversarial robustness" (2019), section 3.

    Args:
        variant: its label.
        attacks: those of the report, in its order.
        robust: by label, the samples that are still correct; failed attacks are missing.
        batch_size: the size of batches whose samples depend on one another; None under running statistics.
    """
    known = [attack for attack in attacks if attack.label in robust]
    found = []
    for name, weaker, stronger, advice in _pairs(known, robust):
        result = robust[weaker.label].versus(robust[stronger.label], batch_size)
        found.append(_compare(variant, name, weaker, stronger, advice, result))
    return found


def reversal(name: str, variant: str, attack: str | None, result: Paired, what: str, advice: str) -> Diagnostic:
    """Check a comparison in which the second outcome, the stronger attack's, should have the lower accuracy.

    `what` names the two, stronger first; `advice` says what a reversal means or what to do about it.
    """
    gained = result.difference
    status: Status = "pass" if gained <= (GRADED if result.graded else 0) else "warn"
    if status == "warn" and result.p_gain is not None and result.p_gain < SIGNIFICANT:
        status = "fail"
    message = f"{what}: {100 * gained:+.1f} points of robust {'mIoU' if result.graded else 'accuracy'}"
    if status != "pass":
        untested = f"no test: fewer than {LEAST_BATCHES} {result.flipped}"
        p = untested if result.p_gain is None else f"one-sided p {result.p_gain:.2g}"
        message += f" ({p}); {advice}"
    return Diagnostic(name=name, variant=variant, attack=attack, status=status, value=gained, message=message)


def _pairs(attacks: Sequence[Attack], robust: Mapping[str, Outcome]) -> Iterator[tuple[str, Attack, Attack, str]]:
    """Yield (check, weaker attack, stronger attack, advice)."""
    for weaker in attacks:
        rivals = [other for other in attacks if (other.norm, other.eps) == (weaker.norm, weaker.eps)]
        iterated = [other for other in rivals if other.info.name in ITERATED]
        white_box = [other for other in rivals if other.info.access == "white-box" and other.info.respects_eps]
        if weaker.info.name in ONE_STEP and iterated:
            yield "iterated-vs-one-step", weaker, _strongest(iterated, robust), MASKED
        if weaker.info.access not in ("white-box", "unknown") and white_box:
            advice = f"{MASKED}, and trust the lower figure"
            yield "white-box-vs-black-box", weaker, _strongest(white_box, robust), advice
        larger = [other for other in attacks if _same_but_larger(weaker, other)]
        if larger:
            nearest = min(larger, key=lambda other: other.eps)
            advice = "give more steps, or check whether the model detects large perturbations"
            yield "larger-eps", weaker, nearest, advice


def _strongest(attacks: Sequence[Attack], robust: Mapping[str, Outcome]) -> Attack:
    return min(attacks, key=lambda attack: robust[attack.label].value())


def _same_but_larger(attack: Attack, other: Attack) -> bool:
    if (attack.info.name, attack.norm) != (other.info.name, other.norm) or other.eps <= attack.eps:
        return False
    if not (attack.info.respects_eps and other.info.respects_eps):
        return False
    return _without_alpha(attack) == _without_alpha(other)


def _without_alpha(attack: Attack) -> dict[str, object]:
    return {name: value for name, value in attack.params.items() if name != "alpha"}


def _compare(variant: str, name: str, weaker: Attack, stronger: Attack, advice: str, result: Paired) -> Diagnostic:
    what = f"{stronger.info.name} against {weaker.info.name}"
    if name == "larger-eps":
        what = f"{weaker.info.name}, {255 * stronger.eps:.3g}/255 against {255 * weaker.eps:.3g}/255"
        if weaker.norm != "Linf":
            what = f"{weaker.info.name}, {stronger.eps:.3g} against {weaker.eps:.3g}"
    return reversal(name, variant, stronger.label, result, what, advice)


def collapse_diagnostics(variants: Sequence[VariantResult], classes: int) -> list[Diagnostic]:
    """Check that no clean accuracy has collapsed: a collapsed network is not robust, whatever the attacks find.

    For segmentation the mIoU is checked; predicting one class everywhere gives at most 1 / `classes`.
    """
    clean = [headline(variant.clean.accuracy, variant.clean.ci95, variant.clean.metrics) for variant in variants]
    best = max(figure.value or 0.0 for figure in clean)
    found = []
    for variant, figure in zip(variants, clean, strict=True):
        reached, chance = 100 * (figure.value or 0.0), 100 / classes
        low = figure.ci95[0] if figure.ci95 is not None else 0.0
        collapsed = reached < COLLAPSED * 100 * best or 100 * low <= chance
        few = reached > max(chance, COLLAPSED * 100 * best)  # only the interval reaches down to chance
        verb = "has collapsed to" if collapsed and not few else "is"
        what = "accuracy" if variant.clean.metrics is None or "miou" not in variant.clean.metrics else "mIoU"
        message = f"clean {what} {verb} {reached:.1f} %; the best variant has {100 * best:.1f} %, chance {chance:.1f} %"
        if collapsed and few:
            message += ", which so few samples do not show to be exceeded"
        if collapsed:
            message += ": its robust accuracies are meaningless"
        found.append(
            Diagnostic(
                name="clean-accuracy", variant=f"{variant.bn}/{variant.stats}", attack=None,
                status="fail" if collapsed else "pass", value=figure.value, message=message,
            )
        )  # fmt: skip
    return found


def batch_diagnostics(variant: VariantResult) -> list[Diagnostic]:
    """Check that verdicts under batch statistics hold in other batches."""
    found, names = [], titles(variant.attacks)
    for attack in variant.attacks:
        if attack.replay is None:
            continue
        replay = attack.replay
        flips = {
            "shuffled among adversarial inputs": replay.shuffled_flipped,
            "among clean samples": replay.among_clean_flipped,
            "alone": replay.alone_flipped,
        }
        where, worst = max(((name, share) for name, share in flips.items() if share is not None), key=lambda x: x[1])
        depends = worst > MOST_FLIPPED
        message = f"{names[attack.label]}: {100 * worst:.1f} % of the verdicts change when replayed {where}"
        if depends:
            message += "; verdicts depend on the batch: the robust accuracy holds only for these exact batches"
        found.append(
            Diagnostic(
                name="batch-dependence", variant=f"{variant.bn}/{variant.stats}", attack=attack.label,
                status="fail" if depends else "pass", value=worst, message=message,
            )
        )  # fmt: skip
    return found


def step_diagnostics(attacks: Sequence[Attack]) -> list[Diagnostic]:
    """Check that each iterated attack can reach every point of the ε-ball: α·steps ≥ 2ε."""
    found, names = [], titles(attacks)
    for attack in attacks:
        steps, alpha = attack.params.get("steps"), attack.params.get("alpha")
        if steps is None or alpha is None:
            continue
        reach = float(alpha) * int(steps) / attack.eps
        message = f"{names[attack.label]}: alpha·steps is {reach:.3g} times eps"
        if reach < 2 * (1 - 1e-9):
            message += "; below 2 it cannot reach every point of the ε-ball: give more steps or a larger alpha"
        found.append(
            Diagnostic(
                name="step-budget",
                variant=None,
                attack=attack.label,
                status="pass" if reach >= 2 * (1 - 1e-9) else "warn",
                value=reach,
                message=message,
            )
        )
    return found

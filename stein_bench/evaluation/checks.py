"""The sanity checks of one variant: which samples they use, and on what model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stein_bench.attacks.attackinfo import LINF_EPS
from stein_bench.diagnostics.probe import Probe, probe_count
from stein_bench.diagnostics.probes import CHECKS, diagnose
from stein_bench.errors import RunError, SteinBenchError
from stein_bench.evaluation.batches import Evaluated
from stein_bench.evaluation.behind_probabilities import output_diagnostics
from stein_bench.evaluation.outcomes import message_of, out_of_memory
from stein_bench.guard import model_untouched
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import BehindProbabilities, Probabilities
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Progress, phase
from stein_bench.report.document import Diagnostic
from stein_bench.seeds import derive_seed


def model_checks(
    plan: Plan,
    evaluated: Evaluated,
    probabilities: Probabilities | None,
    progress: Progress,
    *,
    most: int | None = None,
) -> list[Diagnostic]:
    """Return the results of the sanity checks of one variant, on the first samples; on fewer if memory runs out.

    Of a base image with several versions one is taken, so that the checked samples are independent.

    Args:
        plan: the run's plan.
        evaluated: the variant's model.
        probabilities: what it returns instead of logits; the checks then use the logits behind them, as attacks do.
        progress: receives progress.
        most: number of samples, if fewer than usual.

    Raises:
        RunError: memory ran out on a single sample, or under batch statistics; or the model fails.
    """
    setting = evaluated.setting
    count = min(probe_count(plan.samples.shape, dense=plan.samples.maps is not None), len(plan.samples))
    if evaluated.batch_dependent:
        count = min(count, setting.batch_size)
    count = count if most is None else min(count, most)
    while True:
        try:
            return _checked_on(plan.samples.unrelated(count), plan, evaluated, probabilities, progress)
        except torch.OutOfMemoryError as error:
            if evaluated.batch_dependent or count == 1:
                raise out_of_memory(evaluated, "checks") from error
        except SteinBenchError:
            raise
        except Exception as error:  # of the model, which may raise whatever it likes
            raise RunError(f"{evaluated.variant}: the sanity checks failed: {message_of(error)}") from error
        if count <= setting.memory.most:
            setting.memory.halve(count)
        count = setting.memory.most


def _checked_on(
    few: Sequence[int], plan: Plan, evaluated: Evaluated, probabilities: Probabilities | None, progress: Progress
) -> list[Diagnostic]:
    setting, variant, model = evaluated.setting, evaluated.variant, evaluated.model
    inputs, labels = plan.samples.batch(few)
    budgets = [(attack.norm, attack.eps) for attack in plan.attacks if attack.norm in ("Linf", "L2", "L1")]
    norm, eps = budgets[0] if budgets else ("Linf", LINF_EPS)
    probe = Probe(
        inputs.to(plan.device), labels.to(plan.device),
        [derive_seed(setting.seed, "checks", plan.samples.ids[index]) for index in few],
        plan.task, setting.classes, norm, eps, evaluated.batch_dependent,
        setting.draws if evaluated.random else None,
    )  # fmt: skip
    with torch.no_grad(), model_untouched(model):
        results = list(output_diagnostics(variant, probabilities, model(probe.inputs)))
    if probabilities is not None and isinstance(model, Preprocessed):
        model = BehindProbabilities(model, probabilities)
    with phase(progress, f"checks {variant}", CHECKS):
        for result in diagnose(variant, model, probe):
            results.append(result)
            progress.advance(1)
    return results

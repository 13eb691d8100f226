"""A search on a random subset in a whole run: who was drawn is kept per batch, and the bound is in report and notes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stein_bench.attacks import native
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.ensembles import SampledSquare
from stein_bench.config import make_config
from stein_bench.data import open_data
from stein_bench.evaluation.run import run_evaluation
from stein_bench.measures.unsearched import unsearched_result
from stein_bench.render.report.files import report_markdown
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.render.report.unsearched import unsearched_notes
from stein_bench.report.document import Report
from stein_bench.report.packing import unpack_bits
from stein_bench.tasks import TASKS

SPEC = "fast-ensemble:steps=10,queries=50,drawn=0.4"


def run(model: str, data: str, **options: Any) -> Report:
    config = make_config({"model": model, "data": data, "eps": "4/255", "attack": [SPEC], **options})
    return run_evaluation(config)


@pytest.mark.integration
def test_the_bound_of_a_run_is_that_of_its_outcomes_and_every_view_tells_it(model: str, data: str) -> None:
    report = run(model, data)
    (attack,), outcomes = report.variants[0].attacks, report.variants[0].outcomes
    clean, robust = (unpack_bits(bits, 60) for bits in (outcomes.clean_correct, outcomes.robust[attack.label]))
    resolved = resolve_attack(f"{SPEC},eps=4/255")
    assert resolved.label == attack.label
    seeds = attack_seeds(0, resolved, open_data(data).samples("test").ids)
    square = SampledSquare(TASKS["classification"], "Linf", 4 / 255, (1, 8, 8), 50, 0.8, drawn=0.4)
    members = np.array([square.admits(seed) for seed in seeds])
    found = attack.unsearched
    assert found is not None
    # Square breaks nobody here that gradients spare, so those drawn are the members among the robust.
    assert found.broken == 0
    assert found == unsearched_result(clean, robust, robust & members)
    assert 0 < found.searched < found.survivors == int(robust.sum())
    assert Report.model_validate_json(report.to_json()).variants[0].attacks[0].unsearched == found
    told = (
        f"square ran in full on a random {found.searched} of the {found.survivors} samples that survived everything "
        f"else, and broke 0; on all of them it would make the robust accuracy at most {100 * found.at_most_lower:.1f} "
        "points lower (95 %)"
    )
    console = Console(file=io.StringIO(), width=400)
    print_report(report, console)
    for text in (console.file.getvalue(), html_page([Source("r", report)]), report_markdown([("r", report)])):  # type: ignore[attr-defined]
        assert told in " ".join(text.split()).replace("\\", "")
    lost = found.model_copy(update={"searched": 0})
    variant = report.variants[0].model_copy(update={"attacks": [attack.model_copy(update={"unsearched": lost})]})
    (note,) = unsearched_notes(report.model_copy(update={"variants": [variant]}))
    assert f"in full on none of the {found.survivors} samples" in note


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_it_does_not_depend_on_batches_refill_or_resuming(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(model, data).variants[0].attacks[0].unsearched
    assert expected is not None
    assert run(model, data, batch_size=17, refill=True).variants[0].attacks[0].unsearched == expected
    real, calls = native.refill, []

    def interrupting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    output = str(tmp_path / "report.json")
    with monkeypatch.context() as patch:
        patch.setattr(native, "refill", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run(model, data, batch_size=17, output=output)
    resumed = run(model, data, batch_size=17, output=output, resume=True)
    assert resumed.variants[0].attacks[0].unsearched == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_other_attacks_and_batch_statistics_have_no_such_field(model: str, data: str) -> None:
    assert "unsearched" not in run(model, data, attack=["pgd", "strongest-ensemble:steps=4,queries=5"]).to_json()
    assert "unsearched" not in run(model, data, stats=["batch"]).to_json()

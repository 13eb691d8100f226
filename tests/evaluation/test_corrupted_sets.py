"""A corrupted test set from the command line, against plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from stein_bench.parts.user_code import import_file
from stein_bench.report.document import read_report, report_schema
from stein_bench.statistics.rates import wilson
from tests.corrupted import write_cifarc
from tests.data.known import as_inputs
from tests.tiny import write_model

LABELS = np.array([2, 0, 1, 0, 2, 1, 1, 0, 2, 1, 0, 2])
NAMES = ("fog", "snow", "gaussian_blur")


@pytest.mark.integration
def test_every_cell_has_the_accuracy_of_plain_pytorch(tmp_path: Path, invoke) -> None:
    """Two corruptions at five severities: the shares of cells and of all, and intervals of twelve base images."""
    stored = write_cifarc(tmp_path / "CIFAR-10-C", LABELS, NAMES)
    model, output = write_model(tmp_path), tmp_path / "report.json"
    torch.manual_seed(0)
    network = import_file(tmp_path / "net.py", "net.py").make(10)
    inputs, target = as_inputs(stored["fog"]), torch.from_numpy(np.tile(LABELS, 5))
    adam = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(40):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), target).backward()
        adam.step()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    result = invoke(
        "evaluate", model, "--data", f"cifar10-c:{tmp_path}", "--weights", tmp_path / "weights.pth",
        "--attack", "fgsm:eps=0.02", "--output", output, "--batch-size", 32, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    jsonschema.validate(json.loads(output.read_text()), report_schema())
    report = read_report(output)
    variant = report.variants[0]
    network.eval()
    with torch.no_grad():
        right = {name: (network(as_inputs(stored[name])).argmax(1) == target).reshape(5, 12).numpy() for name in NAMES}
    cells = {f"{name}/{level + 1}": right[name][level] for name in ("snow", "fog") for level in range(5)}
    assert {name: one.accuracy for name, one in (variant.clean.groups or {}).items()} == pytest.approx(
        {name: bits.mean() for name, bits in cells.items()}
    )
    assert list(variant.clean.groups or ()) == list(cells)
    assert variant.clean.accuracy == pytest.approx(np.mean(list(cells.values())))
    assert 0.3 < variant.clean.accuracy < 0.98
    share = wilson(12 * variant.clean.accuracy, 12)
    assert variant.clean.ci95 == pytest.approx((share.low, share.high))
    robust = variant.attacks[0]
    assert np.mean([one.accuracy for one in (robust.groups or {}).values()]) == pytest.approx(robust.robust_accuracy)
    assert (variant.outcomes.cluster_size, report.data.grouped_by) == (10, ("corruption", "severity"))
    assert variant.worst_case_groups == robust.groups
    probes = [check for check in report.diagnostics if check.name == "same-in-another-batch"]
    assert [check.status for check in probes] == ["pass"]
    text = " ".join(result.stdout.split())
    assert "gaussian_blur (corruption=all includes them)" in text
    assert "count 12 base images" in text

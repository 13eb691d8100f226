"""A network that hides the gradient of its input is refused before anything runs, in one line."""

from __future__ import annotations

import pytest

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from tests.tiny import write_data

NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, how):
        super().__init__()
        self.linear, self.how = nn.Linear(192, num_classes), how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                return self.linear(x.flatten(1))
        if self.how == "inference":
            with torch.inference_mode():
                return self.linear(x.flatten(1))
        if self.how == "detached":
            return self.linear(x.detach().flatten(1))
        return self.linear(x.flatten(1))


def make(how, num_classes=3):
    return Net(num_classes, how)
"""


@pytest.mark.parametrize("how", ["no_grad", "inference", "detached"])
def test_a_hidden_gradient_is_refused(tmp_path, how):
    (tmp_path / "nets.py").write_text(NETWORKS)
    config = {"data": write_data(tmp_path), "weights": "none", "attack": ("square:queries=1",)}
    spec = f"{tmp_path / 'nets.py'}:make,how={how}"
    with pytest.raises(UsageError, match=r"^no gradient arrives at the input of .*: its code uses torch\.no_grad\(\)"):
        run_evaluation(RunConfig(model=spec, **config))
    surrogate = {**config, "attack": ("transfer.pgd",), "surrogate": spec, "surrogate_weights": "auto"}
    with pytest.raises(UsageError, match=r"^--surrogate .*: no gradient arrives at the input of "):
        run_evaluation(RunConfig(model=f"{tmp_path / 'nets.py'}:make,how=shown", **surrogate))

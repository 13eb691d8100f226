# %% [markdown]
# # A regression gate in pytest
#
# Tests that fail when a network has become less robust than its baseline. The baseline is a report that you commit
# beside the tests, `report.save("baseline.json")`; here it is made on the spot, so that the file runs as it is.
#
# Run it with `pytest examples/test_robustness_gate.py`.

# %%
import pytest
import torch
from torch import nn

import stein_bench
from stein_bench.data import open_data

# %% [markdown]
# Two networks: the one that was released, and a new one that was trained for a third of the time.


# %%
def tensors(split, count):
    images, labels = open_data("digits").samples(split).batch(range(count))
    return images[:, :1, ::4, ::4].contiguous(), labels


def trained(epochs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    images, labels = tensors("train", 1297)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
            optimizer.step()
    return net.eval()


# %% [markdown]
# Both reports need the same data, attacks and seed: the gate compares sample by sample, and refuses anything else.


# %%
def evaluated(net):
    return stein_bench.evaluate(net, tensors("test", 300), ["fgsm", "pgd"], eps=16 / 255, progress=False)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    path = tmp_path_factory.mktemp("gate") / "baseline.json"
    evaluated(trained(epochs=3)).save(path)
    return path


# %% [markdown]
# The policy has the keys of `configs/gate.yaml`: how far an accuracy may fall, and floors that hold whatever the
# baseline. A fall counts only if a paired test on the same samples shows it.
#
# pytest has the fixture `stein_bench_gate` where stein-bench is installed. A test that it fails shows the gate's table,
# and `pytest --stein-bench-update-baseline` writes the report as the new baseline.

# %%
policy = {"tolerance": 0.02, "rules": [{"accuracy": "clean", "minimum": 0.9}]}


def test_an_unchanged_network_passes(stein_bench_gate, baseline):
    stein_bench_gate(evaluated(trained(epochs=3)), baseline, policy)


# %% [markdown]
# The network of a single epoch is worse. `stein_bench.gate` returns the verdict, for a test or a script that decides by
# itself; run pytest with `-rP` to see it.


# %%
def test_a_network_of_one_epoch_is_found_out(baseline):
    verdict = stein_bench.gate(evaluated(trained(epochs=1)), baseline, policy)
    print(verdict.summary())
    assert verdict.verdict == "failed"

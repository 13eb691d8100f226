# %% [markdown]
# # Your own network and your own data
#
# `stein_bench.evaluate` takes a network that maps images in [0, 1] to logits, and a Dataset, a DataLoader or arrays.
# Here the network is small, and the data are the 1,797 handwritten digits that come with stein-bench.

# %%
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import stein_bench
from stein_bench.data import open_data

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())

# %% [markdown]
# Data as most people have them. The digits come as 32 × 32 RGB images; one channel of 8 × 8 holds all there is in them.


# %%
def dataset(split):
    samples = open_data("digits").samples(split)
    images, labels = samples.batch(range(len(samples)))
    return TensorDataset(images[:, :1, ::4, ::4], labels)


training = DataLoader(dataset("train"), batch_size=32, shuffle=True)
test = DataLoader(dataset("test"), batch_size=100)

# %% [markdown]
# A network with batch normalization, trained for a second or two.

# %%
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(4):
    for images, labels in training:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

# %% [markdown]
# Clean, under one step of FGSM and under ten of PGD, within two budgets. Every adversarial image is checked before it
# counts. A test loader must not shuffle: the report has the outcome of every sample, in the order of the data.
#
# In a notebook, `report` alone shows the table.

# %%
report = stein_bench.evaluate(net, test, ["fgsm", "pgd"], eps=[8 / 255, 24 / 255], limit=200, progress=False)
print(report.summary())

# %% [markdown]
# The figures are attributes, with their 95 % intervals; the outcomes are an array with a boolean for every sample.

# %%
variant = report.variants[0]
for attack in variant.attacks:
    low, high = attack.ci95
    robust = f"robust {attack.robust_accuracy:.1%} ({low:.1%} to {high:.1%})"
    print(f"{attack.name:5} ε = {attack.eps * 255:2.0f}/255  {robust}")

clean, survived = report.outcomes(), report.outcomes(attack="worst-case")
print("right on the clean image, fooled by some attack:", (clean & ~survived).nonzero()[0][:10], "…")

# %% [markdown]
# The report is a file that `stein-bench gate`, `compare` and `report` read as well.

# %%
report.save(folder / "report.json")
loaded = stein_bench.Report.load(folder / "report.json")
print("the same after saving and loading:", loaded == report)
print("the network is still in training mode, as it was:", net.training)

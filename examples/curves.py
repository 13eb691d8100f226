# %% [markdown]
# # Robust accuracy as a curve over the budget
#
# One budget is one point. A curve shows whether an attack gets stronger with its budget, as it must, and where a
# network breaks.

# %%
import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import stein_bench
from stein_bench.data import open_data

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())

# %% [markdown]
# A small network, trained on 8 × 8 digits for a second.


# %%
def tensors(split, count):
    images, labels = open_data("digits").samples(split).batch(range(count))
    return images[:, :1, ::4, ::4].contiguous(), labels


torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
)
images, labels = tensors("train", 1297)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(3):
    for part in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
        optimizer.step()

# %% [markdown]
# Every budget is an attack of its own: three attacks with six budgets each are eighteen results, on the same samples.

# %%
budgets = [value / 255 for value in (4, 8, 16, 24, 32, 48)]
names = ["fgsm", "pgd", "square:queries=50"]
report = stein_bench.evaluate(net, tensors("test", 200), names, eps=budgets, progress=False)
variant = report.variants[0]

# %% [markdown]
# The figure: one line for each attack, with 95 % intervals. It starts at clean accuracy, which is the budget 0.

# %%
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.add_subplot(xlabel="ε (Linf, in 255ths)", ylabel="robust accuracy in %", ylim=(0, 101))
clean = variant.clean
for name in ("fgsm", "square", "pgd"):
    attacks = [attack for attack in variant.attacks if attack.name == name]
    eps = [0.0, *(255 * attack.eps for attack in attacks)]
    accuracy = [100 * value for value in (clean.accuracy, *(attack.robust_accuracy for attack in attacks))]
    intervals = [clean.ci95, *(attack.ci95 for attack in attacks)]
    low, high = zip(*((100 * low, 100 * high) for low, high in intervals), strict=True)
    (line,) = axes.plot(eps, accuracy, marker="o", label=name)
    axes.fill_between(eps, low, high, color=line.get_color(), alpha=0.15, lw=0)
    print(f"{name:6}", " ".join(f"{value:5.1f}" for value in accuracy))
axes.axhline(10, color="0.6", lw=0.8, ls="--")
axes.text(0, 11, "chance", color="0.4")
axes.legend(title="attack")
figure.savefig(folder / "curves.png", dpi=150)
print("figure:", folder / "curves.png")

# %% [markdown]
# `pgd` lies below `fgsm`, and the larger the budget the more: a single step misses much of the ball. `square`, which
# sees no gradients and has 50 queries here, lies far above both. So a curve is an upper bound, as good as its attack.
# The sanity checks of the report look for what a curve must not do, such as rising with the budget.

# %%
for check in report.diagnostics:
    if check.status != "pass":
        print(f"{check.status}: {check.name}: {check.message}")
print("checks passed:", sum(check.status == "pass" for check in report.diagnostics), "of", len(report.diagnostics))

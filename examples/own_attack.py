# %% [markdown]
# # An attack of your own
#
# An attack is a function of (model, inputs, labels) that returns adversarial inputs. It gets the budget, the norm and
# a seed if its signature has `eps`, `norm` and `seed`; all other parameters are settings of its own. stein-bench checks
# what it returns, so an attack cannot claim a success that is none.

# %%
import torch
from torch import nn

import stein_bench
from stein_bench.data import open_data

# %% [markdown]
# A small network, trained on 8 × 8 digits for a second.


# %%
def tensors(split):
    samples = open_data("digits").samples(split)
    images, labels = samples.batch(range(len(samples)))
    return images[:, :1, ::4, ::4].contiguous(), labels


torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
)
images, labels = tensors("train")
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(3):
    for part in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
        optimizer.step()
net.eval()
test = tuple(part[:200] for part in tensors("test"))

# %% [markdown]
# The attack: signed gradient steps on the margin between the label's logit and the largest other, first long ones, then
# shorter and shorter ones. It takes its random start from the seed that it is given, so that every run is the same.
# What the signature does not say, attributes can: the norms that it is for, and that it uses gradients.


# %%
def cooling(model, inputs, labels, *, eps, seed, steps: int = 10):
    """Signed steps of decreasing length on the margin."""
    generator = torch.Generator().manual_seed(seed)
    start = (torch.rand(inputs.shape, generator=generator) * 2 - 1).to(inputs.device)
    found = (inputs + eps * start).clamp(0, 1)
    for step in range(steps):
        found.requires_grad_()
        logits = model(found)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((others - own).sum(), found)
        moved = found.detach() + 2 * eps * (1 - step / steps) * gradient.sign()
        found = torch.min(torch.max(moved, inputs - eps), inputs + eps).clamp(0, 1)
    return found


cooling.norms, cooling.access = ("Linf",), "white-box"

# %% [markdown]
# Beside PGD, on the same samples, with the same number of gradients.

# %%
report = stein_bench.evaluate(net, test, ["pgd", cooling], eps=[8 / 255, 24 / 255], progress=False)
print(report.summary())

# %% [markdown]
# Which of the two finds more? The outcomes are paired, so count the samples on which they differ. Here they are few:
# 200 digits and one network do not show that one attack is better than the other.

# %%
pgd, own = (report.outcomes(attack=f"{name} 24/255") for name in ("pgd", "__main__:cooling"))
print("broken by pgd alone:", int((own & ~pgd).sum()), "- by cooling alone:", int((pgd & ~own).sum()))

# %% [markdown]
# One batch, without a report, as in torchattacks or foolbox: verified adversarial images.

# %%
adversarial = stein_bench.attack(net, *test, cooling, eps=24 / 255)
print(f"largest change: {(adversarial - test[0]).abs().max() * 255:.2f}/255")

# %% [markdown]
# ## What if it cheats?
#
# An attack that leaves its budget looks strong. It is found out: no image beyond the budget counts as a success, and
# the report is not returned but comes with an error.


# %%
def beyond(model, inputs, labels, *, eps):
    """Twice the budget that it was given."""
    return cooling(model, inputs, labels, eps=2 * eps, seed=0)


def in_place(model, inputs, labels, *, eps):
    """Overwrites the images that it was given."""
    return inputs.add_(eps).clamp_(0, 1)


def with_own_seed(model, inputs, labels, *, eps):
    """The same random numbers for every batch, and for whatever runs after it."""
    torch.manual_seed(42)
    return (inputs + eps * torch.randn_like(inputs).sign()).clamp(0, 1)


for cheat in (beyond, in_place, with_own_seed):
    try:
        stein_bench.evaluate(net, test, cheat, eps=8 / 255, limit=50, progress=False)
    except stein_bench.UntrustworthyReportError as error:
        result = error.report.variants[0].attacks[0]
        print(f"{cheat.__name__}: {result.status}, {result.invalid} of 50 invalid\n  {error}")

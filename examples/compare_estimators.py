# %% [markdown]
# # Plain batch normalization, two Stein estimators and one of your own
#
# An estimator maps a batch's mean and variance per channel, and the number of elements behind them, to the two that
# normalize. A network can be trained with an estimator, or converted to it after training: two different questions.

# %%
import torch
from torch import nn

import stein_bench
from stein_bench.data import open_data


# %%
def tensors(split, count):
    images, labels = open_data("digits").samples(split).batch(range(count))
    return images[:, :1, ::4, ::4].contiguous(), labels


data = {"train": tensors("train", 400), "test": tensors("test", 200)}

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
)  # fmt: skip

# %% [markdown]
# An estimator of your own is a function of (mean, variance, count). This one pulls each mean towards zero by the share
# of its square that is noise: the variance of a mean is s/N.


# %%
def denoised(mean, variance, count):
    """Each mean times its share of signal; the variance as it is."""
    signal = mean.square()
    return mean * signal / (signal + variance / count).clamp(min=1e-12), variance


estimators = ["sample", "stein", "james-stein", denoised]

# %% [markdown]
# ## Trained with each
#
# With `weights="fit"` stein-bench trains the network on the training split, once for each estimator, from the same
# initial weights and in the same order of samples, so that only the estimator differs.

# %%
trained = stein_bench.evaluate(net, data, "pgd", bn=estimators, eps=16 / 255, weights="fit", progress=False)
print(trained.summary())

# %% [markdown]
# What these numbers do not show is that an estimator makes networks more robust, or that none does. Each row is one
# network after a second of training. Another seed moves a row by more than most of the differences here, and the
# intervals are about the samples, not about training. Nor are ten steps of PGD on 200 small digits a strong attack.
# The least that such a claim needs is several seeds, the battery `standard` and a published architecture:
# `stein-bench reproduce` does that.

# %% [markdown]
# ## Converted after training
#
# Now one network, trained with plain BN, gets other estimators afterwards. The comparison is free of training noise,
# but a converted network computes another function, for which it was not trained. A loss of clean accuracy is damage,
# and what looks like a gain under attack can be the same damage.
#
# `denoised` does the same as plain BN here: a network trained with plain BN does not record how many elements a channel
# had. The count is then infinite, so a mean has no noise. For the same reason `stein` shrinks no variances: see its
# note.

# %%
images, labels = data["train"]
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(5):
    for part in torch.randperm(len(images)).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
        optimizer.step()

converted = stein_bench.evaluate(net, data, "pgd", bn=["sample", "stein", denoised], eps=16 / 255, progress=False)
print(converted.summary())

# %% [markdown]
# For a training loop of your own, convert the network first, in place. `stein_bench.evaluate` takes a network with
# Stein layers as it is: they know their estimator and the number of elements that they were trained with.

# %%
_, summary = stein_bench.convert_batchnorm(net, denoised)
print(f"{len(summary.converted)} layers converted to {summary.estimator}, {len(summary.skipped)} left as they are")

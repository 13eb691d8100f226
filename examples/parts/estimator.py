"""An estimator of mean and variance, in place of plain batch normalization's: a function of (mean, variance, count)."""

import torch


def denoised(mean, variance, count):
    """Each mean times its share of signal, and the variance as it is.

    `mean` and `variance` are those of a batch, (C,); `count` is the number of elements per channel, infinite for a
    network whose training did not record it. The variance of a mean is variance / count.
    """
    signal = mean.square()
    return mean * signal / (signal + variance / count).clamp(min=torch.finfo(mean.dtype).tiny), variance

"""The central numbers a second time, from the papers alone, for tests to compare with.

Nothing of stein_bench is imported here. Everything is written for being checked by reading, not for speed: loops over
samples and classes, exact fractions, autograd. Each function names its source.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Model = Callable[[Tensor], Tensor]


# Attacks


def cross_entropy(model: Model, x: Tensor, label: int) -> tuple[float, Tensor, bool]:
    """The loss of one sample x (C, …), its gradient with respect to x, and whether the prediction is right."""
    x = x.detach().clone().requires_grad_()
    logits = model(x[None])[0]
    loss = torch.logsumexp(logits, 0) - logits[label]
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.item(), gradient, int(logits.argmax()) == label


def unit_step(gradient: Tensor, norm: str) -> Tensor:
    """The direction of steepest ascent: sign(g), or g/‖g‖₂. Madry et al. (2018), section 2.1."""
    return gradient.sign() if norm == "Linf" else gradient / max(gradient.norm().item(), 1e-12)


def projected(x: Tensor, center: Tensor, norm: str, eps: float) -> Tensor:
    """The projection onto the ball, then onto [0, 1]. Madry et al. (2018), section 2.1; Croce and Hein (2020), 3.1."""
    if norm == "Linf":
        return torch.minimum(torch.maximum(x, center - eps), center + eps).clamp(0, 1)
    away = x - center
    size = away.norm().item()
    return (center + (away * (eps / size) if size > eps else away)).clamp(0, 1)


def pgd(model: Model, x: Tensor, label: int, norm: str, eps: float, alpha: float, steps: int, start: Tensor) -> list:
    """The iterates x^0, …, x^steps from x + start: x^(t+1) = Π(x^t + α·direction). Madry et al. (2018), section 2.1."""
    iterates = [projected(x + start, x, norm, eps)]
    for _ in range(steps):
        _, gradient, _ = cross_entropy(model, iterates[-1], label)
        iterates.append(projected(iterates[-1] + alpha * unit_step(gradient, norm), x, norm, eps))
    return iterates


def checkpoints(iterations: int) -> list[int]:
    """w_j = ⌈p_j·N⌉, p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06). Croce and Hein (2020), 3.2.

    In hundredths, so that nothing is rounded.
    """
    shares = [0, 22]
    while shares[-1] <= 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return sorted({-(-p * iterations // 100) for p in shares if p <= 100})


def apgd(
    model: Model,
    x: Tensor,
    label: int,
    norm: str,
    eps: float,
    iterations: int,
    start: Tensor,
    rounded: Callable = float,
) -> list[Tensor]:
    """The points at which auto-PGD evaluates the cross-entropy. Croce and Hein (2020), algorithm 1, α = ρ = 0.75.

    `rounded`: the precision in which losses are compared.
    """
    marks = checkpoints(iterations)
    eta, eta_at_mark = 2 * eps, 2 * eps
    before = projected(x + start, x, norm, eps)  # x^(0)
    loss, gradient, _ = cross_entropy(model, before, label)
    loss = rounded(loss)
    seen, f = [before], [loss]
    best, best_loss, best_gradient = before, loss, gradient
    best_at_mark, rises = loss, 0
    now = projected(before + eta * unit_step(gradient, norm), x, norm, eps)  # line 3: x^(1)
    for k in range(1, iterations + 1):
        seen.append(now)
        loss, gradient, _ = cross_entropy(model, now, label)
        loss = rounded(loss)
        rises += loss > f[-1]
        if loss > best_loss:
            best, best_loss, best_gradient = now, loss, gradient
        f.append(loss)
        if k in marks:
            period = k - marks[marks.index(k) - 1]
            first = rises < 0.75 * period  # condition 1
            second = eta == eta_at_mark and best_loss == best_at_mark  # condition 2
            eta_at_mark, best_at_mark, rises = eta, best_loss, 0
            if first or second:
                eta = eta / 2
                now, gradient = best, best_gradient
                f[-1] = best_loss
        if k == iterations:
            break
        z = projected(now + eta * unit_step(gradient, norm), x, norm, eps)  # line 7
        now, before = projected(now + 0.75 * (z - now) + 0.25 * (now - before), x, norm, eps), now  # line 8
    return seen


def is_robust(model: Model, iterates: Sequence[Tensor], label: int) -> bool:
    """Whether every one of the points is classified correctly: the attacker keeps any that is not."""
    return all(int(model(x[None])[0].argmax()) == label for x in iterates)


def worst_case(clean: Sequence[bool], robust: Sequence[Sequence[bool]]) -> list[bool]:
    """Per sample: right on the clean input and under every attack. Croce and Hein (2020), section 5 (AutoAttack)."""
    return [right and all(attack[i] for attack in robust) for i, right in enumerate(clean)]


# Statistics

Z = 1.959963984540054


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The two p with (p̂ - p)² = z²·p(1 - p)/n. Wilson (1927), JASA 22: the equation, not its usual solution."""
    if n == 0:
        return 0.0, 1.0
    share, slack = successes / n, Z * Z / n
    a, b, c = 1 + slack, -(2 * share + slack), share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    high = (-b + root) / (2 * a)
    return (c / a / high if high else 0.0), high


def mcnemar(lost: int, gained: int) -> Fraction:
    """P(X ≥ lost) for X ~ Bin(lost + gained, 1/2), exactly. McNemar (1947), Psychometrika 12, conditional form."""
    trials = lost + gained
    return Fraction(sum(math.comb(trials, k) for k in range(lost, trials + 1)), 2**trials)


def holm(ps: Sequence[float]) -> list[float]:
    """p̃_(i) = max over j ≤ i of min(1, (m - j + 1)·p_(j)). Holm (1979), Scandinavian Journal of Statistics 6."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    steps = [min(1.0, (len(ps) - j) * ps[i]) for j, i in enumerate(order)]
    return [max(steps[: order.index(i) + 1]) for i in range(len(ps))]


def newcombe(both: int, lost: int, gained: int, neither: int) -> tuple[float, float]:
    """The 95 % interval of p2 - p1 of paired shares. Newcombe (1998), Statistics in Medicine 17, 2635, method 10."""
    n = both + lost + gained + neither
    p1, p2 = (both + lost) / n, (both + gained) / n
    (l1, u1), (l2, u2) = wilson(both + lost, n), wilson(both + gained, n)
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    product = both * neither - lost * gained
    corrected = max(product - n / 2, 0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0
    d, lower, upper = p2 - p1, (p2 - l2, u1 - p1), (u2 - p2, p1 - l1)
    low, high = (math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0)) for a, b in (lower, upper))
    return d - low, d + high


def flip_test(losses: Sequence[int]) -> float:
    """The share of all sign patterns with a sum at least as large. Fisher (1935), The Design of Experiments, III."""
    signs = itertools.product((1, -1), repeat=len(losses))
    sums = [sum(s * loss for s, loss in zip(pattern, losses, strict=True)) for pattern in signs]
    return sum(total >= sum(losses) for total in sums) / len(sums)


def miou(counts: Sequence[Sequence[tuple[int, int, int]]]) -> float:
    """The mean over classes that occur of I / (P + T - I), of images with (I, P, T) per class.

    Everingham et al. (2015), "The Pascal visual object classes challenge", section 3.2: intersection over union per
    class over the whole set, then the mean.
    """
    shares = []
    for per_image in zip(*counts, strict=True):
        hit, predicted, target = (sum(image[i] for image in per_image) for i in range(3))
        if predicted + target:
            shares.append(Fraction(hit, predicted + target - hit))
    return float(sum(shares) / len(shares)) if shares else math.nan


def confusion(predicted: np.ndarray, target: np.ndarray, classes: int, void: int = 255) -> list[tuple[int, int, int]]:
    """(I, P, T) of each class of one image: pixel by pixel, void ones left out."""
    pairs = [(p, t) for p, t in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True) if t != void]
    return [
        (sum(p == t == k for p, t in pairs), sum(p == k for p, _ in pairs), sum(t == k for _, t in pairs))
        for k in range(classes)
    ]


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """P(positive scores above negative) + P(tie)/2 over all pairs. Mann and Whitney (1947)."""
    above = [s for s, yes in zip(scores, positive, strict=True) if yes]
    below = [s for s, yes in zip(scores, positive, strict=True) if not yes]
    return sum((a > b) + (a == b) / 2 for a in above for b in below) / (len(above) * len(below))


def calibration_error(confidence: Sequence[float], correct: Sequence[bool], bins: int = 15) -> float:
    """Σ_b |acc - conf|·n_b/n over bins ((b-1)/B, b/B]. Guo et al. (2017), equation 3."""
    found = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            share = sum(correct[i] for i in inside) / len(inside)
            found += abs(share - sum(confidence[i] for i in inside) / len(inside)) * len(inside) / len(confidence)
    return found


# Stein-shrinkage batch normalization


def shrunk(name: str, m: Tensor, s: Tensor, n: float) -> tuple[Tensor, Tensor]:
    """The estimates from the sample mean m, biased variance s (C,) and elements per channel n (inf if unknown).

    stein: arXiv 2507.08261; jsnorm: arXiv 2312.00313; james-stein: James and Stein (1961), positive part, with the
    variance of Stein (1964); ridge and lasso: the baselines of the code published with arXiv 2507.08261.
    """
    family, _, text = name.partition(":")
    strength = float(text or 1e-3)
    channels = len(m)
    enough = channels >= 3
    v = ((m - m.mean()) ** 2).mean()
    energy = (m**2).sum()
    ratio = n / (n + 1) if math.isfinite(n) else 1.0
    if family == "sample":
        return m, s
    if family in ("stein", "stein-mean"):
        factor = 1 - (channels - 2) * channels / (channels + 1) * v / energy if enough else 1.0
        if family == "stein-mean":
            return factor * m, s
        weight = 4 * (channels - 1) * ratio / ((n - 1) * channels + 2) if math.isfinite(n) else 0.0
        return factor * m, ratio * s + weight * torch.exp(torch.log(s).mean())
    if family == "jsnorm":
        if not enough:
            return m, s
        spread = ((s - s.mean()) ** 2).mean()
        return (1 - (channels - 2) * v / energy) * m, (1 - (channels - 2) * spread / (s**2).sum()) * s
    if family == "james-stein":
        noise = s.mean() / n
        return (torch.relu(1 - (channels - 2) * noise / energy) if enough else 1.0) * m, ratio * s
    if family == "ridge":
        return m * (n / (n + strength) if math.isfinite(n) else 1.0), s / (1 + strength)
    assert family == "lasso"
    return torch.sign(m) * torch.relu(m.abs() - strength / (2 * n)), torch.relu(s - strength / 2)


def normalized(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """(x - mean)/√(variance + ε)·γ + β, per channel. Ioffe and Szegedy (2015), algorithm 1."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, variance, gamma, beta = (t.reshape(shape) for t in (mean, variance, gamma, beta))
    return (x - mean) / torch.sqrt(variance + eps) * gamma + beta


def moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """The mean and biased variance of every channel of x (n, C, …), and the elements per channel."""
    rows = x.transpose(0, 1).flatten(1)
    mean = rows.sum(dim=1) / rows.shape[1]
    return mean, ((rows - mean[:, None]) ** 2).sum(dim=1) / rows.shape[1], rows.shape[1]


def by_batch(name: str, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """A layer in training, or with batch statistics: the batch's own moments, shrunk. arXiv 2507.08261, algorithm 1."""
    mean, variance, n = moments(x)
    return normalized(x, *shrunk(name, mean, variance, n), gamma, beta, eps)


def by_averages(
    name: str, x: Tensor, running: tuple[Tensor, Tensor, int], gamma: Tensor, beta: Tensor, eps: float
) -> Tensor:
    """A layer in evaluation with running statistics (mean, unbiased variance, N of the last training batch or 0).

    `sample` is ordinary BN, which uses the unbiased variance. The others take s = var·(N - 1)/N, and N = ∞ for 0.
    """
    mean, variance, count = running
    if name == "sample":
        return F.batch_norm(x, mean, variance, gamma, beta, eps=eps)
    biased = variance * ((count - 1) / count) if count else variance
    return normalized(x, *shrunk(name, mean, biased, count or math.inf), gamma, beta, eps)


def averaged(running: tuple[Tensor, Tensor, int], x: Tensor, momentum: float) -> tuple[Tensor, Tensor, int]:
    """The running averages after a training batch. Ioffe and Szegedy (2015), algorithm 2, with PyTorch's momentum."""
    mean, variance, n = moments(x)
    unbiased = variance * n / (n - 1)
    kept = 1 - momentum
    return kept * running[0] + momentum * mean, kept * running[1] + momentum * unbiased, n

"""The robust accuracy of every network of the zoo, by attacks that know the defense.

``python -m tests.defences.truth [NAME …]`` prints what `table.KNOWN` holds. Each defense is searched through a version
that is opened by hand: its forward pass is the defense's, but the derivative of each masking step is replaced (BPDA;
Athalye, Carlini, Wagner 2018, section 4.1), and random steps are averaged over (EOT; section 4.2). The searches are
targeted and untargeted ascent on the difference of two logits, written here, then apgd-t, and Square on the defense
itself. On the undefended network it is AutoAttack too, and what it finds is tried on every defense. Samples
count as broken by what the defense itself returns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from stein_bench.attacks.attack import resolve_attacks
from stein_bench.attacks.losses import margin
from stein_bench.tasks import Classification
from tests.defences import zoo
from tests.defences.weights import digits, weighted

EPS = 0.2
"""Radius of the Linf ball."""
SAMPLES = 100
"""First test images used."""
STEPS = 100
DRAWS = 200
"""Draws over which the accuracy of a random network is averaged."""
QUERIES = 2000


class Straight(zoo.Trained):
    """The defense with its `images` differentiated as if they were unchanged."""

    defense: zoo.Trained

    def images(self, x: Tensor) -> Tensor:
        return x + (self.defense.images(x) - x).detach()

    def features(self, x: Tensor) -> Tensor:
        return self.defense.features(x)


class Averaged(Straight):
    """Images differentiated as if they were a local mean."""

    def images(self, x: Tensor) -> Tensor:
        mean = functional.avg_pool2d(functional.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        return mean + (self.defense.images(x) - mean).detach()


class Steep(Straight):
    """Black and white pixels differentiated as if they were a steep sigmoid."""

    def images(self, x: Tensor) -> Tensor:
        soft = torch.sigmoid(8 * (x - 0.5))
        return soft + (self.defense.images(x) - soft).detach()


class SoftSign(Straight):
    """Binary features differentiated as if they were a sigmoid."""

    def images(self, x: Tensor) -> Tensor:
        return x

    def features(self, x: Tensor) -> Tensor:
        soft = torch.sigmoid(3 * (zoo.Trained.features(self, x) - 0.3))
        return soft + (self.defense.features(x) - soft).detach()


class AllFeatures(Straight):
    """The largest features differentiated as if all were kept."""

    def images(self, x: Tensor) -> Tensor:
        return x

    def features(self, x: Tensor) -> Tensor:
        every = zoo.Trained.features(self, x)
        return every + (self.defense.features(x) - every).detach()


class Itself(Straight):
    """The defense's own derivative."""

    def images(self, x: Tensor) -> Tensor:
        return self.defense.images(x)


OPENED: dict[type[zoo.Trained], tuple[type[zoo.Trained], ...]] = {
    zoo.RoundedSoftmax: (Straight,),
    zoo.RoundedLogits: (Straight,),
    zoo.RoundedPixels: (Straight,),
    zoo.BytePixels: (Straight,),
    zoo.LookupPixels: (Straight,),
    zoo.BinaryPixels: (Straight, Steep),
    zoo.SignFeatures: (SoftSign,),
    zoo.JpegPixels: (Straight,),
    zoo.MedianPixels: (Itself, Averaged),
    zoo.SmoothedPixels: (Straight, Averaged),
    zoo.SawtoothPixels: (Straight,),
    zoo.SparseFeatures: (Itself, AllFeatures),
    zoo.RandomNoise: (Itself,),
    zoo.RandomShift: (Itself,),
}
"""Defense → its versions with another derivative. All others compute what the undefended network does."""

OTHER_PREDICTIONS = (
    zoo.RoundedLogits, zoo.RoundedSoftmax, zoo.RoundedPixels, zoo.LookupPixels, zoo.BinaryPixels, zoo.SignFeatures,
    zoo.JpegPixels, zoo.MedianPixels, zoo.SmoothedPixels, zoo.SawtoothPixels, zoo.SparseFeatures,
)  # fmt: skip
"""Defenses with predictions of their own: Square is tried on these as well."""


def opened(defense: type[zoo.Trained]) -> Iterator[tuple[str, zoo.Trained]]:
    """Yield the networks to search on, by name."""
    if defense in zoo.SOUND:
        yield "itself", weighted(defense)
    for version in OPENED.get(defense, ()):
        model = weighted_as(version)
        model.defense = weighted(defense)
        yield version.__name__, model


def weighted_as(version: type[zoo.Trained]) -> zoo.Trained:
    """Return a network with the weights of the undefended one."""
    model = version(num_classes=10)
    model.load_state_dict(weighted(zoo.Trained).state_dict())
    return model.eval()


def ascend(
    model: nn.Module, x: Tensor, value: Callable[[Tensor], Tensor], seed: int, *, draws: int = 1, spread: float = 0.0
) -> Iterator[Tensor]:
    """Yield every tenth of the points of signed steps that lower `value` of the logits, of shrinking size.

    Args:
        model: to search on.
        x: clean images; the start is a random point of their balls.
        value: logits (n, K) → (n,).
        seed: of the start and of the noise.
        draws: gradients averaged per step.
        spread: deviation of noise on the images, over which the gradient is averaged too.
    """
    torch.manual_seed(seed)
    shift = torch.empty_like(x).uniform_(-EPS, EPS)
    for step in range(STEPS):
        point, slope = (x + shift).clamp(0, 1), torch.zeros_like(x)
        if step % 10 == 9:
            yield point
        for _ in range(draws):
            near = (point + spread * torch.randn_like(x)).requires_grad_(True)
            slope += torch.autograd.grad(value(model(near)).sum(), near)[0]
        size = EPS * 0.5 * (1 - step / STEPS) + 0.002
        shift = (shift - size * slope.sign()).clamp(-EPS, EPS)
    yield (x + shift).clamp(0, 1)


Begin = Callable[[nn.Module, Tensor, Tensor], Iterator[Tensor]]
"""Starts a search from (network, images, labels)."""


def searches(draws: int) -> Iterator[Begin]:
    """Yield searches: untargeted ones, one towards each other class, and an untargeted one with smoothed gradients."""
    for seed in range(2):
        yield lambda model, x, y, seed=seed: ascend(model, x, lambda z: margin(z, y), seed, draws=draws)  # type: ignore[misc]
    for other in range(1, 10):
        yield lambda model, x, y, other=other: ascend(  # type: ignore[misc]
            model, x, lambda z: _at(z, y) - _at(z, (y + other) % 10), other, draws=draws
        )
    if draws == 1:
        yield lambda model, x, y: ascend(model, x, lambda z: margin(z, y), 20, draws=8, spread=0.05)


def _at(z: Tensor, classes: Tensor) -> Tensor:
    return z.gather(1, classes[:, None]).squeeze(1)


@torch.no_grad()
def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return which samples are classified correctly."""
    return model(x).argmax(dim=1) == y


def robust(defense: type[zoo.Trained]) -> tuple[float, dict[str, float]]:
    """Return the robust accuracy of a defense that is not random, and what was left after each kind of search."""
    after, _ = _searched(defense)
    return list(after.values())[-1], after


@cache
def _searched(defense: type[zoo.Trained]) -> tuple[dict[str, float], Tensor]:
    """Return the accuracies after each kind of search, and the points that were found, one per sample."""
    x, y = digits("test", SAMPLES)
    model, found = weighted(defense), x.clone()
    left, after = right(model, x, y), dict[str, float]()

    def try_out(points: Tensor, rows: Tensor) -> None:
        """Keep the points that break one of the samples `rows`."""
        broken = ~right(model, points, y[rows])
        found[rows[broken]] = points[broken]
        left[rows[broken]] = False

    def rest() -> Tensor:
        return left.nonzero().squeeze(1)

    if defense not in zoo.SOUND:
        try_out(_searched(zoo.Trained)[1][left], rest())
        after["undefended"] = float(left.float().mean())
    for name, bare in opened(defense):
        for search in searches(1):
            rows = rest()
            for point in search(bare, x[rows], y[rows]):
                try_out(point, rows)
        after[name] = float(left.float().mean())
        rows = rest()
        try_out(native("autoattack" if defense in zoo.SOUND else "apgd-t", bare, x[rows], y[rows]), rows)
        after[f"{name}, native"] = float(left.float().mean())
    if defense in OTHER_PREDICTIONS:
        rows = rest()
        try_out(native(f"square:queries={QUERIES}", model, x[rows], y[rows]), rows)
        after["square"] = float(left.float().mean())
    return after, found


def native(spec: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return what one of stein-bench's attacks finds."""
    (attack,) = resolve_attacks([f"{spec}{',' if ':' in spec else ':'}eps={EPS}"])
    return attack.run(model, x, y, Classification(), classes=10, seeds=list(range(len(x))))


def expected(defense: type[zoo.Trained]) -> tuple[float, dict[str, float]]:
    """Return the expected robust accuracy of a random defense: each sample at the worst end point of its searches.

    The end point is chosen by other draws than it is judged by.
    """
    x, y = digits("test", SAMPLES)
    model, best, worst = weighted(defense), torch.full((SAMPLES,), 2.0), x.clone()
    for _, bare in opened(defense):
        for search in searches(20):
            *_, end = search(bare, x, y)
            torch.manual_seed(1)
            rate = torch.stack([right(model, end, y) for _ in range(DRAWS)]).float().mean(dim=0)
            worst[rate < best] = end[rate < best]
            best = torch.minimum(rate, best)
    torch.manual_seed(2)
    found = torch.stack([right(model, worst, y) for _ in range(DRAWS)]).float().mean()
    return float(found), {}


def main(names: list[str]) -> None:
    """Print the truth of the networks named, or of all."""
    for defense in (*zoo.SOUND, *zoo.DEFENCES):
        if not names or defense.__name__ in names:
            value, each = (expected if defense in zoo.RANDOM else robust)(defense)
            sys.stdout.write(f"{defense.__name__:18} {value:.3f} {each}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

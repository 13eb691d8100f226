"""Shell completion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


def completing(values: Callable[[], Sequence[str]]) -> Callable[[str], Iterator[str]]:
    """Return a completion function that offers those of `values` that begin with what is typed."""

    def complete(incomplete: str) -> Iterator[str]:
        return (value for value in values() if value.startswith(incomplete))

    return complete


def bn_names() -> list[str]:
    """Return the names of the BN estimators."""
    from stein_bench.normalization.names import ESTIMATOR_SUMMARIES

    return list(ESTIMATOR_SUMMARIES)


def battery_names() -> list[str]:
    """Return the names of the batteries that come with stein-bench."""
    from stein_bench.attacks.batteries import battery_names

    return battery_names()


def recipe_names() -> list[str]:
    """Return the names of the training recipes that come with stein-bench."""
    from stein_bench.training.recipes import recipe_names

    return recipe_names()


def corruption_names() -> list[str]:
    """Return what `--corruption` takes: sets of common corruptions, these, and noises."""
    from stein_bench.attacks.catalog import CATALOG

    return ["standard", "extra", "all", *(name for name, info in CATALOG.items() if info.is_corruption)]


def attack_names() -> list[str]:
    """Return the names of the attacks that can run."""
    from stein_bench.attacks.catalog import CATALOG
    from stein_bench.attacks.torchattacks_catalog import is_installed

    lacking = () if is_installed() else ("torchattacks",)
    return [name for name, info in CATALOG.items() if not info.unavailable and info.backend not in lacking]

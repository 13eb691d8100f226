"""The weights of a file that a configuration names, under the names of the network that they are for."""

from __future__ import annotations

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng
from stein_bench.models.interface import ModelSource
from stein_bench.models.weights import KEY, Weights, fit_weights, read_weights
from stein_bench.preparation.keywords import WEIGHTS_KEYWORDS, check_weights_name


def existing_weights(asked: str, key: str | None, prefix: str = "") -> Weights | None:
    """Return the weights in the file `asked`, there at `key`; None if it is one of the `WEIGHTS_KEYWORDS`.

    Raises:
        UsageError: the file cannot be used, or a keyword comes with a key. `prefix` is that of the two options' names.
    """
    option = KEY.replace("--", f"--{prefix}")
    if asked not in WEIGHTS_KEYWORDS:
        check_weights_name(asked, WEIGHTS_KEYWORDS)
        return read_weights(asked, key, option)
    if key is not None:
        raise UsageError(f"{option} {key} says where in a file the weights are: give --{prefix}weights FILE.")
    return None


def under_own_names(weights: Weights, source: ModelSource, classes: int, channels: int, seed: int) -> Weights:
    """Return `weights` under the names of the networks of `source`, see `fit_weights`.

    A network is built only if the names may differ by a prefix; they do not depend on its number of `classes`.
    """
    if not weights.may_have_other_names:
        return weights
    with forked_rng(seed):
        network = source.build(num_classes=classes, in_channels=channels)
    return fit_weights(weights, network.state_dict().keys())

"""What is wrong in a configuration and can be told before torch and the libraries of models are loaded."""

from __future__ import annotations

from pathlib import Path

from stein_bench.attacks.batteries import find_battery
from stein_bench.attacks.parameters import checked, spell_out
from stein_bench.config import RunConfig
from stein_bench.data.kinds import check_kind
from stein_bench.errors import UsageError
from stein_bench.models.sources import check_known
from stein_bench.models.spelling import split_file
from stein_bench.normalization.names import parse_estimator


def check_early(config: RunConfig) -> None:
    """Check the names of estimators, battery and attacks, and the numbers of stein-bench's own attacks.

    All of it is checked again with everything else, so what takes longer to check is left to that.

    Raises:
        UsageError: something is unknown or wrong.
    """
    for name in config.bn or ():
        parse_estimator(name)
    battery = find_battery(config.battery, trust_code=config.trust_code).attacks if config.battery is not None else ()
    for spelled in (one for text in (*battery, *config.attack) for one in spell_out(text).each):
        if spelled.info.backend == "torchattacks" or spelled.info.own is not None or config.norm is not None:
            continue
        budgets = (None,) if config.eps is None or spelled.has_budget else config.eps
        for eps in budgets:
            checked(spelled if eps is None else spelled.with_params(eps=eps))


def check_sources(data: str, *models: str | None) -> None:
    """Check that models and data are of a known kind, that their names exist, and that Python files are there.

    Raises:
        UsageError: one is not.
    """
    for spec in models:
        if spec is not None:
            _check_model_file(spec)
            check_known(spec)
    check_kind(data)


def _check_model_file(spec: str) -> None:
    in_file = split_file(spec)
    if in_file is not None and ":" not in in_file[0] and not Path(in_file[0]).expanduser().is_file():
        raise UsageError(f"no such file: {in_file[0]}")

"""Tables of `stein-bench list`. Only the list of models imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.torchattacks_catalog import is_installed
from stein_bench.errors import UsageError
from stein_bench.render.columns import Column
from stein_bench.render.console import Terminal, print_uncut
from stein_bench.render.installed import installed_rows
from stein_bench.render.text_table import TextTable

Row = Sequence[str]


def print_listing(what: str, search: str = "", console: Console | None = None) -> None:
    """Print the list of `what`, a key of `_LISTINGS`, to stdout, restricted to names that contain `search`.

    Raises:
        UsageError: no name contains `search`.
    """
    headers, rows = _LISTINGS[what]()
    rows = [row for row in rows if search.lower() in row[0].lower()]
    if not rows:
        raise UsageError(f"no {what} with {search!r} in their name.")
    console = console or Terminal()
    if len(headers) == 1:
        for row in rows:
            console.print(row[0], soft_wrap=True)
        return
    table = TextTable([Column(header, name=True) for header in headers])
    for row in rows:
        table.add(*row)
    print_uncut(table, console)


def _models() -> tuple[Row, Iterable[Row]]:
    from stein_bench.models.paper import PAPER_MODELS
    from stein_bench.models.timm_models import timm_model_names
    from stein_bench.models.torchvision_models import torchvision_model_names
    from stein_bench.models.torchvision_segmentation import torchvision_segmentation_names

    timm, torchvision = timm_model_names(), (*torchvision_model_names(), *torchvision_segmentation_names())
    brought = installed_rows("model", {*timm, *torchvision})
    return ("model",), [
        *((f"{name}  ({' '.join(description.split())})",) for name, description in brought),
        *((f"paper:{name}",) for name in PAPER_MODELS),
        *((f"timm:{name}",) for name in timm),
        *((f"torchvision:{name}",) for name in torchvision),
    ]


def _attacks() -> tuple[Row, Iterable[Row]]:
    from stein_bench.attacks.catalog import CATALOG
    from stein_bench.attacks.finding import find_brought
    from stein_bench.attacks.spellings import means_something

    rows = [(info.name, f"{info.summary}\n{_supports(info)}") for info in CATALOG.values()]

    def supports(name: str) -> str:
        found = find_brought(name)
        return "" if found is None else f"{_supports(found[0])}\n"

    rows += installed_rows("attack", means_something, supports)
    return ("attack", "description; norms, access, tasks"), rows


def _supports(info: AttackInfo) -> str:
    """Return what an attack is for, on lines of its own, so that no word is split on a narrow terminal."""
    if info.unavailable:
        return f"  not available: {info.unavailable}"
    parts = [", ".join(info.norms), info.access] if info.norms else []
    if info.norms and not info.respects_eps:
        parts.append("ignores ε")
    parts.append(", ".join(info.supported_tasks))
    parts += [f"at least {info.min_classes} classes"] if info.min_classes > 2 else []
    if info.backend == "torchattacks":
        parts += ["images only", f"extra torchattacks{'' if is_installed() else ' (not installed)'}"]
    return f"  {'; '.join(parts)}"


def _batteries() -> tuple[Row, Iterable[Row]]:
    from stein_bench.attacks.batteries import battery_names, find_battery

    batteries = [find_battery(name) for name in battery_names()]
    rows = [(battery.name, "\n".join(battery.attacks), battery.summary) for battery in batteries]
    return ("battery", "attacks", "description"), rows


def _recipes() -> tuple[Row, Iterable[Row]]:
    from stein_bench.training.recipes import find_recipe, recipe_names

    return ("recipe", "description"), [(name, find_recipe(name).summary) for name in recipe_names()]


def _data() -> tuple[Row, Iterable[Row]]:
    from stein_bench.data.catalog import DATA_SUMMARIES

    kinds = {name.partition(":")[0].partition("[")[0] for name in DATA_SUMMARIES}
    return ("data", "description"), [*DATA_SUMMARIES.items(), *installed_rows("data", kinds)]


def _bn() -> tuple[Row, Iterable[Row]]:
    from stein_bench.normalization.names import ESTIMATOR_SUMMARIES
    from stein_bench.normalization.own import find_own

    def tried(name: str) -> str:
        find_own(name)
        return ""

    brought = installed_rows("estimator", ESTIMATOR_SUMMARIES, tried)
    return ("bn", "description"), [*ESTIMATOR_SUMMARIES.items(), *brought]


def _metrics() -> tuple[Row, Iterable[Row]]:
    rows = list(installed_rows("metric"))
    if not rows:
        raise UsageError(
            "no installed package brings a metric. Your own is --metric FILE.py:NAME, a function of logits and labels."
        )
    return ("metric", "description"), rows


_LISTINGS = {
    "models": _models,
    "attacks": _attacks,
    "data": _data,
    "bn": _bn,
    "metrics": _metrics,
    "batteries": _batteries,
    "recipes": _recipes,
}

"""What the shell offers for the words of a command line. Nothing here imports torch, timm or a user's code.

A completion function takes the word so far and returns candidates: whole words, each with a line about it or ``""``.
One that ends in one of `UNFINISHED` is not finished. `FILES` as the line about it stands for the files that begin so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

Candidate = tuple[str, str]
UNFINISHED = (":", "=", ",", "/")
FILES = "\tfiles"

COMMON = ("resnet18", "resnet50", "vit_small_patch16_224", "convnext_tiny", "mobilenetv3_small_100", "efficientnet_b0")
"""Of timm's more than a thousand names, those offered before the first letter."""
MODEL_KINDS = {
    "timm:": "timm's models",
    "torchvision:": "torchvision's models",
    "paper:": "the networks of the paper",
    "hf-hub:": "a timm model of the Hugging Face hub, or a folder",
    "transformers:": "a folder of transformers",
    "hub:": "torch.hub, or a folder with hubconf.py",
    "seghead:": "a backbone with a segmentation head",
    "jit:": "TorchScript",
}


def completing(values: Callable[[], Iterable[str]]) -> Callable[[str], Iterator[Candidate]]:
    """Return a completion function that offers those of `values` that begin with what is typed."""

    def complete(incomplete: str) -> Iterator[Candidate]:
        return ((value, "") for value in values() if value.startswith(incomplete))

    return complete


def models(incomplete: str) -> Iterator[Candidate]:
    """Offer models: names, kinds, and files with the callables in them."""
    from stein_bench.models.known_names import timm_names, torchvision_names

    kind, colon, rest = incomplete.partition(":")
    named: dict[str, Callable[[], Sequence[str]]] = {
        "timm": timm_names, "torchvision": torchvision_names, "seghead": timm_names, "paper": _paper_names,
    }  # fmt: skip
    if colon and kind in named:
        yield from ((f"{kind}:{name}", "") for name in named[kind]() if name.startswith(rest))
    elif colon and f"{kind}:" in MODEL_KINDS:
        yield from _paths(rest, f"{kind}:")
    elif colon and kind.endswith(".py"):
        yield from ((f"{kind}:{name}", "") for name in _callables(kind) if name.startswith(rest))
    elif not colon:
        names = timm_names() if incomplete else COMMON
        yield from ((name, "") for name in names if name.startswith(incomplete))
        yield from _beginning(MODEL_KINDS.items(), incomplete)
        yield from _python_files(incomplete, ".pt2")


def data_sets(incomplete: str) -> Iterator[Candidate]:
    """Offer data sets: kinds, and paths behind them."""
    from stein_bench.data.catalog import DATA_SUMMARIES

    kind, colon, rest = incomplete.partition(":")
    patterns = (pattern for pattern in DATA_SUMMARIES if not pattern.startswith("FILE.py"))
    kinds = {pattern.partition(":")[0].partition("[")[0]: pattern for pattern in patterns}
    if colon and kind.endswith(".py"):
        yield from ((f"{kind}:{name}", "") for name in _callables(kind) if name.startswith(rest))
    elif colon and kind in kinds:
        yield from _paths(rest, f"{kind}:")
    elif not colon:
        for name, pattern in kinds.items():
            if name.startswith(incomplete):
                yield (f"{name}:" if f"{name}:" in pattern else name), DATA_SUMMARIES[pattern]
        yield from _python_files(incomplete)


def attacks(incomplete: str) -> Iterator[Candidate]:
    """Offer attacks that can run, and behind ``NAME:`` their parameters."""
    from stein_bench.attacks.catalog import CATALOG
    from stein_bench.attacks.torchattacks_catalog import is_installed

    name, colon, rest = incomplete.partition(":")
    if not colon:
        lacking = () if is_installed() else ("torchattacks",)
        usable = (info for info in CATALOG.values() if not info.unavailable and info.backend not in lacking)
        shown = ((info.name, info.summary) for info in usable)
        yield from _beginning([*shown, ("none", "no attack")], incomplete)
    elif (info := CATALOG.get(name)) is not None:
        done, comma, last = rest.rpartition(",")
        given = {part.partition("=")[0] for part in done.split(",")}
        for key in dict.fromkeys(("eps", "norm", *info.params)):
            if key.startswith(last) and key not in given:
                yield f"{name}:{done}{comma}{key}=", ""


def corruptions(incomplete: str) -> Iterator[Candidate]:
    """Offer what `--corruption` takes: sets of common corruptions, these with severities, and noises."""
    from stein_bench.attacks.catalog import CATALOG

    name, colon, _ = incomplete.partition(":")
    if colon:
        yield from _beginning(((f"{name}:{severity}", "") for severity in range(1, 6)), incomplete)
        return
    sets = [("standard", "the 15 of CIFAR-10-C and ImageNet-C"), ("extra", "4 more"), ("all", "both")]
    each = ((info.name, info.summary) for info in CATALOG.values() if info.is_corruption)
    yield from _beginning([*sets, *each], incomplete)


def weights(incomplete: str) -> Iterator[Candidate]:
    """Offer the kinds of weights, and files."""
    kinds = {
        "auto": "pretrained if model and data share their labels, else fit", "pretrained": "the library's own",
        "none": "not trained", "fit": "train on the training split; cached",
    }  # fmt: skip
    yield from _beginning(kinds.items(), incomplete)
    yield incomplete, FILES


def batteries(incomplete: str) -> Iterator[Candidate]:
    """Offer batteries, and files."""
    from stein_bench.attacks.batteries import battery_names, find_battery

    yield from _beginning(((name, find_battery(name).summary) for name in battery_names()), incomplete)
    yield incomplete, FILES


def recipes(incomplete: str) -> Iterator[Candidate]:
    """Offer training recipes, and files."""
    from stein_bench.training.recipes import find_recipe, recipe_names

    yield from _beginning(((name, find_recipe(name).summary) for name in recipe_names()), incomplete)
    yield incomplete, FILES


def experiments(incomplete: str) -> Iterator[Candidate]:
    """Offer the experiments of `reproduce`, and files."""
    from stein_bench.reproduction.experiment import SYSTEMS

    yield from ((name, "") for name in SYSTEMS if name.startswith(incomplete))
    yield incomplete, FILES


def estimators(incomplete: str) -> Iterator[Candidate]:
    """Offer the BN estimators."""
    from stein_bench.normalization.names import ESTIMATOR_SUMMARIES

    return _beginning(ESTIMATOR_SUMMARIES.items(), incomplete)


def devices() -> tuple[str, ...]:
    """Return the kinds of devices."""
    return ("auto", "cpu", "cuda", "mps")


def trackers() -> tuple[str, ...]:
    """Return the experiment trackers."""
    return ("wandb", "mlflow", "tensorboard")


def sources() -> tuple[str, ...]:
    """Return the statistics sources."""
    return ("running", "batch")


def _beginning(candidates: Iterable[Candidate], incomplete: str) -> Iterator[Candidate]:
    return (candidate for candidate in candidates if candidate[0].startswith(incomplete))


def _paper_names() -> list[str]:
    from stein_bench.models.paper import PAPER_MODELS

    return list(PAPER_MODELS)


def _paths(incomplete: str, prefix: str = "", suffixes: tuple[str, ...] = ()) -> list[Candidate]:
    """Return the files (with one of the suffixes, if any) and folders that begin with a path, after the prefix."""
    where, slash, start = incomplete.rpartition("/")
    folder = Path(f"{where}{slash}" or ".").expanduser()
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    found = []
    for entry in entries:
        hidden = entry.name.startswith(".") and not start.startswith(".")
        if hidden or not entry.name.startswith(start):
            continue
        if entry.is_dir():
            found.append((f"{prefix}{where}{slash}{entry.name}/", ""))
        elif not suffixes or entry.suffix in suffixes:
            found.append((f"{prefix}{where}{slash}{entry.name}", ""))
    return found


def _python_files(incomplete: str, *others: str) -> Iterator[Candidate]:
    """Yield folders, Python files, behind which a name comes, and files with one of the other suffixes."""
    for path, text in _paths(incomplete, suffixes=(".py", *others)):
        yield (f"{path}:" if path.endswith(".py") else path), text


def _callables(file: str) -> list[str]:
    """Return the functions and classes that a Python file defines, without running it."""
    import ast

    try:
        tree = ast.parse(Path(file).expanduser().read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]

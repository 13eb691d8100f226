"""Files that an evaluation would write: refused before anything is computed if they could not or must not be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.errors import UsageError

if TYPE_CHECKING:
    from stein_bench.config import RunConfig


def check_output(settings: RunConfig, config: str | None) -> None:
    """Refuse an output that could not be written or would replace an input.

    Raises:
        UsageError: so it is, or an option needs an output.
    """
    if settings.output is None:
        if settings.resume:
            raise UsageError("--resume needs --output: finished batches are stored beside the report.")
        if settings.save_adversarials is not None:
            raise UsageError("--save-adversarials needs --output: the examples are stored beside the report.")
        return
    from stein_bench.files import check_output_file

    check_output_file("--output", settings.output)
    check_overwriting(settings, config)


def check_overwriting(settings: RunConfig, config: str | None, listed: str | None = None) -> None:
    """Refuse an output that would replace an input: the configuration, the `listed` models, or what they name.

    Raises:
        UsageError: so it is.
    """
    from stein_bench.report.adversarials import adversarials_path

    if settings.output is None:
        return
    outputs = {f"--output {settings.output}": settings.output}
    if settings.save_adversarials is not None:
        examples = str(adversarials_path(settings.output))
        outputs[f"--save-adversarials ({examples})"] = examples
    check_apart(outputs, [*input_files(settings, config), (Path(listed or "").expanduser(), "the list of models")])


def check_apart(outputs: Mapping[str, str], inputs: Iterable[tuple[Path, str]]) -> None:
    """Refuse an output, of those by what a message calls them, that is one of the input files, each with what it is.

    Raises:
        UsageError: so it is.
    """
    for path, what in inputs:
        for shown, output in outputs.items():
            if path.is_file() and path.resolve() == Path(output).expanduser().resolve():
                raise UsageError(f"{shown} would overwrite {what}.")


def input_files(settings: RunConfig, config: str | None = None) -> Iterator[tuple[Path, str]]:
    """Yield the input files that the options name, and what they are."""
    from stein_bench.preparation.keywords import WEIGHTS_KEYWORDS
    from stein_bench.training.card import card_path

    for weights in (settings.weights, settings.surrogate_weights):
        if weights is not None and weights not in WEIGHTS_KEYWORDS and Path(weights).name:
            yield Path(weights).expanduser(), "the weights"
            yield card_path(weights), f"the training card of {weights}"
    if settings.mce_baseline is not None:
        yield Path(settings.mce_baseline).expanduser(), "the mCE baseline"
    yield Path(config or "").expanduser(), "the configuration"
    specs: dict[str, Sequence[str | None]] = {
        "battery": [settings.battery], "model": [settings.model, settings.surrogate], "data": [settings.data],
        "attack": settings.attack, "estimator": settings.bn or (), "metric": settings.metric,
    }  # fmt: skip
    for what, texts in specs.items():
        yield from named_files(what, *texts)


def named_files(what: str, *specs: str | None) -> Iterator[tuple[Path, str]]:
    """Yield what may be files in `specs` such as ``npz:test.npz,train=train.npz``, all called `what`."""
    for text in (part for spec in specs if spec for part in re.split(r"[:,=]", spec)):
        if Path(text).suffix:
            yield Path(text).expanduser(), f"the {what}"

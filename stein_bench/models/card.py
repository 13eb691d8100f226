"""The metadata card stored in saved weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from stein_bench.errors import UsageError
from stein_bench.reading import parse_json

FORMAT = 1


@dataclass(frozen=True)
class WeightsCard:
    """Where weights come from, and what is needed to use them as trained.

    `model` is the model's spec, `bn` its BN estimator; `mean` and `std` are its preprocessing, `input_shape` its
    (C, *spatial) input; `data` names the training data, `recipe` contains the training settings, `seed` is the
    training seed. `estimator_sha256` is the hash of the source of an estimator that the user brought, None for others.
    `format` is the card's version.
    """

    model: str
    bn: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_shape: tuple[int, ...]
    data: str
    recipe: dict[str, Any]
    seed: int
    estimator_sha256: str | None = None
    format: int = FORMAT


def card_to_json(card: WeightsCard) -> str:
    """Return the card as JSON text."""
    content = asdict(card)
    if card.estimator_sha256 is None:
        del content["estimator_sha256"]  # so that earlier versions read the card
    return json.dumps(content, sort_keys=True)


def card_from_json(text: str, where: str) -> WeightsCard:
    """Return the card in a JSON `text`; `UsageError`, naming `where`, if it is invalid or of another format."""
    try:
        found = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{where}: its stein_bench card is not JSON.") from error
    if not isinstance(found, dict):
        raise UsageError(f"{where}: its stein_bench card is not a JSON object.")
    if found.get("format") != FORMAT:
        written = found.get("format")
        raise UsageError(f"{where}: its stein_bench card has format {written!r}, this version reads {FORMAT}.")
    known = {field.name for field in fields(WeightsCard)} & {*found, *_NEEDED}
    for name in sorted(known):
        if not _fits(name, found.get(name)):
            raise UsageError(f"{where}: its stein_bench card has a missing or wrong {name!r}.")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return WeightsCard(**{name: values[name] for name in known})


_NEEDED = {field.name for field in fields(WeightsCard)} - {"estimator_sha256"}


def _fits(name: str, value: object) -> bool:
    if name in ("model", "bn", "data", "estimator_sha256"):
        return isinstance(value, str)
    if name == "recipe":
        return isinstance(value, dict)
    if name in ("mean", "std"):
        return isinstance(value, list) and all(_is_number(item) for item in value)
    if name == "input_shape":
        return isinstance(value, list) and all(_is_integer(item) for item in value)
    return _is_integer(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or isinstance(value, float)

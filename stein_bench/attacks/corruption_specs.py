"""What `--corruption` means, as specs of the catalog: ``fog``, ``fog:3``, ``fog:severity=1+3``, ``standard``, noise."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.attacks.parameters import spell_out
from stein_bench.attacks.spellings import means_something
from stein_bench.corruptions.names import EXTRA, SEVERITIES, STANDARD
from stein_bench.errors import UsageError, suggestion

SETS = {"standard": STANDARD, "extra": EXTRA, "all": (*STANDARD, *EXTRA)}
"""Words for several corruptions."""


def corruption_specs(texts: tuple[str, ...]) -> list[str]:
    """Return the specs that the values of `--corruption` stand for, in their order.

    A name of a common corruption, or of several (`SETS`), may be followed by a severity or several joined by ``+``;
    without one it stands for all five. Everything else is a noise with its parameters.

    Raises:
        UsageError: a corruption or severity is unknown, or it is an attack.
    """
    return [spec for text in texts for spec in _specs(text)]


def _specs(text: str) -> Iterator[str]:
    name, colon, rest = (part.strip() for part in text.partition(":"))
    asked = name.lower().replace("-", "_")
    names = SETS.get(asked, (asked,) if asked in SETS["all"] else ())
    if names:
        for one in names:
            yield from (f"{one}:severity={severity}" for severity in _severities(text, rest if colon else None))
        return
    try:
        found = spell_out(text)
    except UsageError as error:
        if "," in name:
            one = name.partition(",")[0].strip()
            raise UsageError(
                f"corruption {text!r}: repeat the option for several, --corruption {one} --corruption …"
            ) from None
        if holds := [known for known in SETS["all"] if asked and asked in known]:
            raise UsageError(f"unknown corruption {name!r}. Did you mean {' or '.join(holds)}?") from None
        if near := suggestion(asked, (*SETS, *SETS["all"])):
            raise UsageError(f"unknown corruption {name!r}.{near}") from None
        if not means_something(name):
            raise UsageError(
                f"unknown corruption {name!r}. Known: standard, extra, {', '.join(SETS['all'])}, and noises as in "
                "noise-gaussian:std=0.1."
            ) from None
        raise error
    if not found.info.is_corruption:
        raise UsageError(f"{name!r} is an attack, not a corruption: give it with --attack {text}.")
    yield text


def _severities(text: str, rest: str | None) -> list[int]:
    if rest is None:
        return list(SEVERITIES)
    key, equals, value = (part.strip() for part in rest.partition("="))
    if equals and key.lower() != "severity":
        raise UsageError(f"corruption {text!r}: a common corruption has a severity only, as in fog:severity=3.")
    words = [word.strip() for word in (value if equals else key).split("+")]
    for word in words:
        if word not in map(str, SEVERITIES):
            raise UsageError(
                f"corruption {text!r}: {word!r} is no severity; they are 1 to 5, several as in fog:severity=1+3."
            )
    return sorted({int(word) for word in words})

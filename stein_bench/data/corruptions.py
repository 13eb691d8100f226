"""Which of the common corruptions a data spec chooses. Their names are those of `stein_bench.corruptions.names`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stein_bench.corruptions.names import EXTRA, SEVERITIES, STANDARD
from stein_bench.errors import UsageError, suggestion

__all__ = ["EXTRA", "KEYWORDS", "OPTIONS", "SEVERITIES", "STANDARD", "UNATTACKED", "Choice", "choose"]

OPTIONS = ("corruption", "severity")
KEYWORDS = ("standard", "extra", "all")
UNATTACKED = "the images are corrupted already: 'clean' means unattacked"


@dataclass(frozen=True)
class Choice:
    """The chosen `corruptions` and `severities`, in their usual order, and `remarks` on the choice."""

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    remarks: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Name of every cell, e.g. ``fog/3``: all severities of the first corruption first."""
        return tuple(f"{corruption}/{severity}" for corruption in self.corruptions for severity in self.severities)


def choose(options: Mapping[str, str], present: Sequence[str], where: str) -> Choice:
    """Return what the `options` of a data spec choose from the corruptions `present` in the folder `where`.

    Without ``corruption=`` these are the standard ones among them, without ``severity=`` all five severities. Several
    values are joined by ``+``.

    Raises:
        UsageError: an unknown corruption or severity, one that is not there, or none at all.
    """
    corruptions = _corruptions(options.get("corruption"), _ordered(present), where)
    severities = _severities(options.get("severity"))
    remarks = (UNATTACKED, _told(corruptions, severities), *_left_out(options, corruptions, present, where))
    return Choice(corruptions, severities, remarks)


def _ordered(names: Sequence[str]) -> tuple[str, ...]:
    known = (*STANDARD, *EXTRA)
    return (*(name for name in known if name in names), *sorted(set(names) - set(known)))


def _corruptions(asked: str | None, present: Sequence[str], where: str) -> tuple[str, ...]:
    sets = {
        "standard": [name for name in present if name in STANDARD],
        "extra": [name for name in present if name in EXTRA],
        "all": present,
    }
    chosen: set[str] = set()
    for word in _words("corruption", asked or "standard"):
        if word not in (*present, *KEYWORDS):
            raise _unknown(word, present, where)
        found = [word] if word in present else sets[word]
        if not found:
            which = "none of the 15 standard corruptions" if word == "standard" else "no extra corruption"
            raise UsageError(f"{where}: holds {which}; it holds {_listed(present)}: choose with corruption=NAME")
        chosen.update(found)
    return tuple(name for name in present if name in chosen)


def _unknown(word: str, present: Sequence[str], where: str) -> UsageError:
    if word in (*STANDARD, *EXTRA):
        return UsageError(f"{where}: corruption {word!r} is not there; it holds {_listed(present)}")
    near = suggestion(word, (*present, *KEYWORDS)) or f" It holds {_listed(present)}."
    return UsageError(f"{where}: unknown corruption {word!r}.{near}")


def _severities(asked: str | None) -> tuple[int, ...]:
    if asked is None:
        return tuple(SEVERITIES)
    words = _words("severity", asked)
    for word in words:
        if word not in map(str, SEVERITIES):
            raise UsageError(f"severity={asked}: {word!r} is not a severity; they are 1 to 5, several as severity=1+3")
    return tuple(sorted({int(word) for word in words}))


def _words(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split("+")]
    if not all(words):
        raise UsageError(f"{option}={text}: a value is missing beside a '+'; several values are written as A+B")
    return words


def _told(corruptions: Sequence[str], severities: Sequence[int]) -> str:
    standard = tuple(corruptions) == STANDARD
    names = "the 15 standard corruptions" if standard else f"corruption {' + '.join(corruptions)}"
    return f"{names}, severity {' + '.join(map(str, severities))}"


def _left_out(
    options: Mapping[str, str], corruptions: Sequence[str], present: Sequence[str], where: str
) -> Iterator[str]:
    """Yield what is missing from the standard corruptions, or left out, if none was named."""
    if options.get("corruption", "standard") != "standard":
        return
    missing = [name for name in STANDARD if name not in corruptions]
    if missing:
        yield (
            f"{len(missing)} of the 15 standard corruptions are not in {where} ({', '.join(missing)}): "
            f"means are over the other {len(corruptions)}"
        )
    others = [name for name in present if name not in corruptions]
    if others:
        yield f"not among the 15 standard corruptions and left out: {', '.join(others)} (corruption=all includes them)"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

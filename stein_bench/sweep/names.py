"""Names of the reports of a sweep: from the models' specs, safe as file names, and unique."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from stein_bench.sweep.listfile import Entry

LONGEST = 100
"""File systems take names of 255 bytes, of which journals and temporary files need some."""
RESERVED = ("sweep",)
FAILED = ".failed"
_CHOSEN = re.compile(r"[^\W_][\w.+@=-]*")


def report_names(entries: Sequence[Entry]) -> list[str]:
    """Return a name for the report of each entry: the user's, or one made of its spec.

    Names differ also where upper and lower case are the same. They depend on nothing but the list.

    Raises:
        UsageError: a name that the user has chosen cannot be one of a file, or is given twice.
    """
    taken: dict[str, Entry] = {}
    for entry in entries:
        if entry.name is None:
            continue
        _check(entry, entry.name)
        other = taken.setdefault(entry.name.casefold(), entry)
        if other is not entry:
            raise entry.wrong(f"the name {entry.name!r} is also that of {other.where}.")
    used = {*taken, *RESERVED}
    seen: Counter[str] = Counter()
    names = []
    for entry in entries:
        name = entry.name or _free(safe_name(entry.spec), used, seen)
        used.add(name.casefold())
        names.append(name)
    return names


def safe_name(spec: str) -> str:
    """Return the name made of a spec.

    >>> safe_name("timm:resnet18"), safe_name("models/net.py:make,width=4")
    ('timm-resnet18', 'net.py-make-width-4')
    """
    if re.match(r"(\w+:)?[.~/]", spec) or re.search(r"\.(py|pt2?|pth)\b", spec):
        kind, slash, last = spec.rpartition("/")
        prefix = re.match(r"(jit|pt2|hub|hf-hub|transformers):", kind) if slash else None
        spec = f"{prefix[0] if prefix else ''}{last}"
    name = re.sub(r"[^\w.+@]+", "-", spec).strip("-.") or "model"
    if name.lower().endswith(FAILED):
        name = f"{name[: -len(FAILED)]}-failed"
    if len(name.encode()) > LONGEST:
        short = name.encode()[: LONGEST - 11].decode(errors="ignore")
        name = f"{short}-{hashlib.sha256(spec.encode()).hexdigest()[:10]}"
    return name


def _free(name: str, used: set[str], seen: Counter[str]) -> str:
    """Return `name`, or the first of ``name-2``, ``name-3``, … that is not used."""
    candidate = name
    while candidate.casefold() in used:
        seen[name] += 1
        candidate = f"{name}-{seen[name] + 1}"
    return candidate


def _check(entry: Entry, name: str) -> None:
    if not _CHOSEN.fullmatch(name) or len(name.encode()) > LONGEST:
        raise entry.wrong(
            f"name={name}: a name of a file is needed, of at most {LONGEST} letters, digits and any of _ . + @ = -"
        )
    if name.casefold() in RESERVED or name.casefold().endswith(FAILED):
        raise entry.wrong(f"name={name}: this name is taken by another file of the sweep; choose another.")

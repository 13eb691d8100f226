"""What an examination finds: sections of lines, each with its state."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "info", "slow", "problem", "broken"]
"""``slow`` works, but takes longer than it need; a ``problem`` concerns a part that few need; what is ``broken`` keeps
stein-bench from working."""


@dataclass(frozen=True)
class Line:
    """A finding.

    Attributes:
        name: what it is about.
        value: what was found, in words.
        state: how that is.
        advice: what to do, one sentence; "" if there is nothing.
    """

    name: str
    value: str
    state: State = "info"
    advice: str = ""

    def document(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {"name": self.name, "value": self.value, "state": self.state, "advice": self.advice}


@dataclass(frozen=True)
class Examination:
    """All findings: lines by the title of their section, and the numbers that were measured."""

    sections: Mapping[str, tuple[Line, ...]]
    measured: Mapping[str, Any]

    @property
    def usable(self) -> bool:
        """Whether nothing that is needed is broken."""
        return all(line.state != "broken" for lines in self.sections.values() for line in lines)

    def document(self) -> dict[str, Any]:
        """Return everything for JSON."""
        sections = {title: [line.document() for line in lines] for title, lines in self.sections.items()}
        return {"usable": self.usable, "sections": sections, "measured": dict(self.measured)}


def private(text: str) -> str:
    """Return a text without the user's home folder, and without names and passwords in addresses."""
    text = re.sub(r"://[^/@\s]*@", "://…@", text)
    home = str(Path.home()) if os.environ.get("HOME", "x") else ""
    return re.sub(rf"{re.escape(home)}(?=/|$|\W)", "~", text) if len(home) > 1 else text


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"

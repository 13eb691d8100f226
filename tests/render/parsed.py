"""What the tests of pages read in them: elements, headings, texts, and the contrast of colors."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The browser of the tests that use a page as a reader does; None if there is none."""


class Page(HTMLParser):
    """Every element with its attributes; the texts, those of headings, and the scripts.

    Attributes:
        elements: (tag, attributes) in the order of the page.
        headings: (level, text), without those of the dialog.
        text: everything that is read, without scripts.
        scripts: the texts of the scripts, exactly.
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.headings, self.scripts, self.text = [], [], [], ""
        self._open = ""
        self._dialog = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._dialog = self._dialog or tag == "dialog"
        if tag[0] == "h" and tag[1:].isdigit() and not self._dialog:
            self.headings.append((int(tag[1:]), ""))
            self._open = tag
        elif tag == "script":
            self.scripts.append("")
            self._open = tag

    def handle_endtag(self, tag):
        self._open = "" if tag == self._open else self._open
        self._dialog = self._dialog and tag != "dialog"

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
            return
        self.text += data
        if self._open:
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def of_class(self, name):
        return [(tag, attrs) for tag, attrs in self.elements if name in (attrs.get("class") or "").split()]


def luminance(color: str) -> float:
    """Relative luminance of ``#rgb`` or ``#rrggbb`` as WCAG 2 defines it."""
    color = "#" + "".join(2 * digit for digit in color[1:]) if len(color) == 4 else color
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of two colors, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)

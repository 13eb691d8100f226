"""What the self-contained HTML pages share: their templates, in which every text is escaped."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from stein_bench.errors import visible


def page_environment() -> Environment:
    """Return the environment of the page templates, which escapes everything."""
    environment = Environment(
        loader=PackageLoader("stein_bench.render"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def breakable(name: object) -> Markup:
    """Return a name, escaped, that may be wrapped after a slash, colon, comma or underscore."""
    return Markup(re.sub(r"(?<=[/:,_])(?=[^\W\d])", "<wbr>", str(escape(visible(str(name))))))


def tidy(text: str) -> str:
    """Return a page without trailing white space."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

"""What the self-contained HTML pages share: their templates, in which every text is escaped."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from typing import NamedTuple

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


class Script(NamedTuple):
    """The one script of a page, and its source in the page's content security policy, which forbids every other."""

    text: Markup
    source: Markup


def page_script(environment: Environment, name: str) -> Script:
    """Return the template of that name as a page's own script."""
    text = "\n" + tidy(environment.get_template(name).render())
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), Markup(f"'sha256-{digest}'"))


def breakable(name: object) -> Markup:
    """Return a name, escaped, that may be wrapped after a slash, colon, comma or underscore."""
    return Markup(re.sub(r"(?<=[/:,_])(?=[^\W\d])", "<wbr>", str(escape(visible(str(name))))))


def tidy(text: str) -> str:
    """Return a page without trailing white space."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

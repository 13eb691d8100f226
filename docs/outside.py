"""A hook of mkdocs: files of the repository outside `docs/` become pages, so that every link of the site works offline.

Pages link to them as on a code host, relative to the repository (`../examples/README.md`). Markdown is shown as it is,
other text as code, a folder as the list of its files. Which pages are needed follows from the links.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "repository"
ALWAYS = ("CONTRIBUTING.md", "examples/README.md", "CHANGELOG.md")  # named in the navigation
LINK = re.compile(r"(?<!!)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".toml": "toml", ".json": "json"}


def page_of(path: str) -> str:
    """The page of a file of the repository, relative to `docs/`: its own in `docs/`, a generated one elsewhere."""
    if path.startswith("docs/") and not (ROOT / path).is_dir():
        return path.removeprefix("docs/")
    return f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"


def path_of(page: str) -> str:
    """The file of the repository that a page shows; a page of the reference stands for its place in `docs/`."""
    return page.removeprefix(f"{FOLDER}/") if page.startswith(f"{FOLDER}/") else f"docs/{page}"


def targets(path: str, text: str) -> Iterator[str]:
    """The files and folders outside `docs/` that a file of the repository links to."""
    for match in LINK.finditer(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if page_of(target).startswith(f"{FOLDER}/") and not target.startswith("../") and (ROOT / target).exists():
            yield target


def text_of(path: str) -> str:
    """The Markdown of the page of a file or folder outside `docs/`."""
    file = ROOT / path
    if file.is_dir():
        shown = (each for each in file.iterdir() if not each.name.startswith(("_", ".")))
        names = sorted(each.name + "/" * each.is_dir() for each in shown)
        return f"# {path}\n\n{len(names)} files:\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    fence = "`" * 4
    return f"# {path}\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text}{fence}\n"


def rewritten(page: str, text: str) -> str:
    """The text with its links to files of the repository as links from page to page."""
    path = path_of(page)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if target.startswith("../") or not (ROOT / target).exists():
            return match[0]  # mkdocs says that it is broken
        return f"]({posixpath.relpath(page_of(target), posixpath.dirname(page))}{match[2] or ''})"

    return LINK.sub(link, text)


def on_files(files: Files, /, *, config: Any) -> Files:
    """Add a page for every file outside `docs/` that a page links to, and for those that these link to in Markdown."""
    waiting = [*ALWAYS]
    for file in files.documentation_pages():
        waiting += targets(path_of(file.src_uri), file.content_string)
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        text = text_of(path)
        files.append(File.generated(config, page_of(path), content=text))
        if path.endswith(".md"):
            waiting += targets(path, text)
    return files


def on_page_markdown(markdown: str, /, *, page: Any, **_: Any) -> str:
    """Rewrite the links of a page."""
    return rewritten(page.file.src_uri, markdown)

"""Reading documents of `stein-bench reproduce`, and writing files from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.errors import UsageError
from stein_bench.reading import MOST_REPORT, read_json

if TYPE_CHECKING:
    from stein_bench.reproduction.document import Reproduction


def reproduction_among(paths: Sequence[str]) -> Reproduction | None:
    """Return the document of reproduce, or None if there is none.

    Raises:
        UsageError: it is damaged, or it is not the only file.
    """
    from stein_bench.reproduction.document import KIND, read_reproduction

    found = [path for path in paths if _kind(path) == KIND]
    if not found:
        return None
    if len(paths) > 1:
        raise UsageError(f"{found[0]} was written by reproduce and must be the only file.")
    return read_reproduction(found[0])


def _kind(path: str) -> object:
    try:
        document = read_json(path, MOST_REPORT, "a report")
    except (OSError, ValueError):
        return None  # the next reader reports what is wrong
    return document.get("kind") if isinstance(document, dict) else None


def check_plot_name(path: str | None) -> None:
    """Refuse an unsupported image format."""
    if path is not None and Path(path).suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--plot {path}: the name must end in .png or .svg.")


def write_reproduction(document: Reproduction, outputs: Mapping[str, str | None]) -> None:
    """Write a document in the formats of `outputs`: option names to paths, None where not given."""
    from stein_bench.files import write_text
    from stein_bench.render.reproduction.table import reproduction_csv, reproduction_latex, reproduction_markdown

    texts = {"--markdown": reproduction_markdown, "--latex": reproduction_latex, "--csv": reproduction_csv}
    for option, make in texts.items():
        if (path := outputs.get(option)) is not None:
            write_text(path, make(document))
    if (path := outputs.get("--output")) is not None:
        write_text(path, document.to_json())
    if (path := outputs.get("--html")) is not None:
        from stein_bench.render.reproduction.page import reproduction_page

        write_text(path, reproduction_page(document))
    if (path := outputs.get("--plot")) is not None:
        _draw(document, path)


def _draw(document: Reproduction, path: str) -> None:
    from stein_bench.render.figures import save
    from stein_bench.render.reproduction.figures import figure_of_contrasts, figure_of_means, headline_rows
    from stein_bench.reproduction.summary import HEADLINE

    what = HEADLINE.get(document.data.task, "accuracy")
    rows = headline_rows(document, document.rows[0].part, what)
    save(figure_of_contrasts(rows, what) or figure_of_means(rows, what), path, "--plot")

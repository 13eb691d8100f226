"""`stein-bench list` and `stein-bench schema`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from stein_bench.cli.app import LOOK, command
from stein_bench.cli.said import say_document


class Listing(StrEnum):
    """What `stein-bench list` can list."""

    models = "models"
    attacks = "attacks"
    data = "data"
    bn = "bn"
    metrics = "metrics"
    batteries = "batteries"
    recipes = "recipes"


@command("list", LOOK, "Models, attacks, data, BN estimators, batteries, recipes, metrics")
def list_(
    what: Annotated[
        Listing,
        typer.Argument(
            metavar="KIND",
            help=f"What to list: {', '.join(Listing)}.",
            show_default=False,
            rich_help_panel="What to list",
        ),
    ],
    search: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="Only names that contain TEXT.",
            show_default=False,
            rich_help_panel="What to list",
        ),
    ] = None,
) -> None:
    """List models, attacks, data sets, BN estimators, metrics, attack batteries or training recipes.

    Those of installed packages are among them; one that cannot be used says why.

    - `stein-bench list attacks`
    - `stein-bench list models resnet`
    """
    from stein_bench.render.listings import print_listing

    print_listing(what.value, search or "")


class Document(StrEnum):
    """Documents that have a schema."""

    report = "report"
    reproduction = "reproduction"


@command("schema", LOOK, "JSON Schema of the report, or of the document of reproduce")
def schema(
    document: Annotated[
        Document,
        typer.Argument(
            metavar="report|reproduction",
            help="The report that evaluate writes, or the document that reproduce writes. Default: report.",
            show_default=False,
            rich_help_panel="Document",
        ),
    ] = Document.report,
) -> None:
    """Print the JSON Schema of the report, or of the document written by reproduce.

    - `stein-bench schema > report.schema.json`
    - `stein-bench schema reproduction`
    """
    import json

    if document is Document.report:
        from stein_bench.report.document import report_schema as made
    else:
        from stein_bench.reproduction.document import reproduction_schema as made

    say_document(json.dumps(made(), indent=2) + "\n")

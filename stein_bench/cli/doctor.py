"""`stein-bench doctor`."""

from __future__ import annotations

import json
from typing import Annotated

from stein_bench.cli import shells
from stein_bench.cli.app import LOOK, command
from stein_bench.cli.options import format_option
from stein_bench.cli.said import say_document
from stein_bench.errors import unknown_name
from stein_bench.exit_codes import DONE, FAILED


@command("doctor", LOOK, "Versions, devices, caches; what is slow here and why")
def doctor(format: Annotated[str, format_option()] = "table") -> int:
    """Say what is installed here, whether it works, and what is slow and why.

    It takes about ten seconds, measures how fast a small network runs, and sends nothing.

    - `stein-bench doctor`
    - `stein-bench doctor --format json > doctor.json`

    The JSON is for reports of bugs: it holds no secrets, and `~` instead of the home folder.

    Exit codes: 0 stein-bench works here, 3 something that it needs does not.
    """
    if format not in ("table", "json"):
        raise unknown_name("--format", format, ("table", "json"))
    from stein_bench.doctor.examine import examine

    found = examine(shells.installed())
    if format == "json":
        say_document(json.dumps(found.document(), indent=1, ensure_ascii=False) + "\n")
    else:
        from stein_bench.render.doctor import print_examination

        print_examination(found)
    return DONE if found.usable else FAILED

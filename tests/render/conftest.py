"""The report that the tests of pages share."""

from __future__ import annotations

import pytest

from stein_bench.diagnostics.effects import with_effects
from tests.render.page_reports import cell, diagnostic, report


@pytest.fixture
def whole():
    """A report with everything that a page can show."""
    cells = [cell("sample", "running", 100), cell("stein", "running", 70), cell("sample", "batch", 60),
             cell("stein", "batch", 55)]  # fmt: skip
    checks = [diagnostic("pass", name="repeatable", variant="stein/running", message="the same"),
              diagnostic("warn", name="step-budget", message="alpha·steps is 1.5 times eps"),
              diagnostic("fail", name="batch-dependence", variant="stein/batch", message="4.0 % flip")]  # fmt: skip
    return report(*with_effects(cells, 10, "classification"), diagnostics=checks)

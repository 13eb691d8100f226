"""Every report, and every part of one, comes back from its JSON as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stein_bench.errors import visible
from stein_bench.report import document, results
from stein_bench.report.document import Report, report_schema
from stein_bench.report.results import Document, Part, VariantResult
from tests.report.generated import parts_of

PARTS = sorted(
    {
        kind.__name__: kind
        for module in (results, document)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Part) and kind not in (Part, Document, Report, VariantResult)
    }.items()
)
quick = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", [kind for _, kind in PARTS], ids=[name for name, _ in PARTS])
@given(data=st.data())
@quick
def test_a_part_comes_back(kind, data):
    one = data.draw(parts_of(kind))
    assert kind.model_validate(json.loads(one.model_dump_json())) == one
    assert kind.model_validate_json(one.model_dump_json()) == one


@pytest.mark.integration
@given(st.data())
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_whole_report_comes_back_and_satisfies_its_schema(data):
    jsonschema = pytest.importorskip("jsonschema")
    variants = st.lists(parts_of(VariantResult, budgets=st.just([]), shrinkage=st.just([])), max_size=1)
    one = data.draw(parts_of(Report, variants=variants))
    text = one.to_json()
    assert Report.model_validate(json.loads(text)) == one
    assert visible(text) == text
    jsonschema.validate(json.loads(text), report_schema())

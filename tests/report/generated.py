"""Reports from their schema: a strategy for any part of a document, with every value that its fields allow."""

from __future__ import annotations

import functools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

WHOLE = 2**53
"""Integers up to it are floats as well, as in every JSON reader."""
_NUMBERS = st.integers(-WHOLE, WHOLE) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@functools.cache
def parts_of(model: type[BaseModel], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for a part of a document, whose `fixed` fields are as given."""
    fields = {
        name: fixed[name] if name in fixed else _of(info.annotation, info.metadata)
        for name, info in model.model_fields.items()
        if name != "schema_version"
    }
    if "schema_version" in model.model_fields:
        fields["schema_version"] = st.just(1)
    return st.builds(model, **fields)


def _of(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner = [one for item in arguments[1:] for one in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _of(arguments[0], [*metadata, *inner])
    if origin in (Union, types.UnionType):
        return st.one_of(*(_of(one, metadata) for one in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(_of(arguments[0], []), max_size=2)
    if origin is tuple and arguments[-1:] == (...,):
        return st.lists(_of(arguments[0], []), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(_of(one, []) for one in arguments))
    if origin is dict:
        return st.dictionaries(_of(arguments[0], []), _of(arguments[1], []), max_size=2)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return st.deferred(lambda: parts_of(kind))
    return _simple(kind, metadata)


def _simple(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    limits = {name: getattr(one, name) for one in metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)}
    pattern = next((one.pattern for one in metadata if getattr(one, "pattern", None)), None)
    if kind is str:
        return st.text(max_size=8) if pattern is None else st.from_regex(pattern.replace("$", r"\Z"), fullmatch=True)
    if kind is int:
        least, most = limits.get("ge", -WHOLE), limits.get("le", limits.get("lt", WHOLE + 1) - 1)
        return st.integers(least, most)
    if kind is float:
        return st.floats(limits.get("ge"), limits.get("le"), allow_nan=False, allow_infinity=False)
    return {bool: st.booleans(), type(None): st.none(), Any: _JSON, object: _JSON}[kind]

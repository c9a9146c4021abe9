from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.localkube.apiserver.crd.schemas import OBJECTS, ROOTS, Schema, with_defaults

from localkube.apiserver.crd import conformity
from localkube.apiserver.crd.defaulting import default
from localkube.apiserver.crd.pruning import prune


def test_missing_fields_and_nulls_that_may_not_be() -> None:
    schema = {
        "type": "object",
        "properties": {
            "foo": {"type": "string", "default": "x"},
            "bar": {"type": "string", "nullable": True, "default": "x"},
            "baz": {"type": "string"},
            "deep": {
                "type": "object",
                "default": {},
                "properties": {"a": {"type": "integer", "default": 5}},
            },
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}},
            },
        },
    }
    obj = {"foo": None, "bar": None, "baz": None, "list": [{}, {"p": "UDP"}]}
    assert default(schema, obj) == {
        "foo": "x",
        "bar": None,
        "deep": {"a": 5},
        "list": [{"p": "TCP"}, {"p": "UDP"}],
    }


def test_defaults_are_not_shared_between_objects() -> None:
    schema = {"type": "object", "properties": {"l": {"type": "array", "default": [], "items": {}}}}
    first = default(schema, {})
    first["l"].append(1)
    assert default(schema, {}) == {"l": []}


@given(ROOTS, OBJECTS, st.data())
def test_defaulting_twice_is_defaulting_once(schema: Schema, obj: dict[str, Any], data: Any) -> None:
    schema = with_defaults(schema, data.draw)
    before = repr(obj)
    filled = default(schema, obj)
    assert default(schema, filled) == filled
    assert repr(obj) == before


@given(ROOTS, OBJECTS, st.data())
def test_defaults_keep_a_good_object_good(schema: Schema, obj: dict[str, Any], data: Any) -> None:
    """Only what counts properties can object to a property that was not there before."""
    schema = with_defaults(schema, data.draw)
    pruned, _ = prune(schema, obj)
    if not conformity.check(schema, pruned):
        found = conformity.check(schema, default(schema, pruned))
        assert all("Too many" in error.message or error.field == "<nil>" for error in found)

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.localkube.apiserver.crd.schemas import OBJECTS, ROOTS, Schema

from localkube.apiserver.crd.pruning import prune

SPEC: Schema = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "tags": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"n": {"type": "string"}}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"spec": {"type": "object"}},
                },
            },
        }
    },
}


def test_what_is_not_known_goes_and_is_told() -> None:
    obj = {
        "apiVersion": "x/v1",
        "metadata": {"name": "n"},
        "extra": 1,
        "spec": {
            "tags": [{"n": "a"}, {"n": "b", "m": 1}],
            "free": {"any": [{"thing": 1}]},
            "map": {"k": {"x": 1}},
            "template": {"kind": "Pod", "metadata": {"labels": {}}, "more": 1, "spec": {"y": 1}},
        },
    }
    pruned, dropped = prune(SPEC, obj)
    assert pruned == {
        "apiVersion": "x/v1",
        "metadata": {"name": "n"},
        "spec": {
            "tags": [{"n": "a"}, {"n": "b"}],
            "free": {"any": [{"thing": 1}]},
            "map": {"k": {}},
            "template": {"kind": "Pod", "metadata": {"labels": {}}, "spec": {}},
        },
    }
    assert dropped == [
        "extra", "spec.map.k.x", "spec.tags[1].m", "spec.template.more", "spec.template.spec.y",
    ]  # fmt: skip


def test_below_what_is_kept_the_declared_is_still_pruned() -> None:
    schema = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }
    pruned, dropped = prune(schema, {"known": {"a": "x", "b": 1}, "other": {"b": 1}})
    assert pruned == {"known": {"a": "x"}, "other": {"b": 1}}
    assert dropped == ["known.b"]


@given(ROOTS, OBJECTS)
def test_pruning_twice_is_pruning_once(schema: Schema, obj: dict[str, Any]) -> None:
    pruned, dropped = prune(schema, obj)
    assert prune(schema, pruned) == (pruned, [])
    assert (pruned == obj) is (not dropped)


@given(ROOTS, OBJECTS, st.data())
def test_pruning_never_touches_what_it_was_given(schema: Schema, obj: dict[str, Any], data: Any) -> None:
    before = repr(obj)
    prune(schema, obj)
    assert repr(obj) == before

"""Structural schemas and values for them, drawn at random."""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

NAMES = st.sampled_from(["a", "b", "c", "kind", "name", "x-y"])
_integers = st.integers(-20, 20)


def _string() -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 3),
            "maxLength": st.integers(0, 5),
            "pattern": st.sampled_from(["^[a-c]+$", "b", "^$"]),
            "enum": st.lists(st.sampled_from(["a", "b", "abc", ""]), min_size=1, max_size=3),
        },
    )


def _integer() -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": _integers,
            "maximum": _integers,
            "exclusiveMinimum": st.booleans(),
            "exclusiveMaximum": st.booleans(),
            "multipleOf": st.integers(1, 5),
            "enum": st.lists(_integers, min_size=1, max_size=3),
        },
    ).map(_with_bounds)


def _with_bounds(schema: Schema) -> Schema:
    """Draft 4 allows the exclusive flags only beside their bounds."""
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound not in schema:
            schema.pop(flag, None)
    return schema


def _object(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, below, max_size=3)},
        optional={
            "required": st.lists(NAMES, min_size=1, max_size=2, unique=True),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 3),
            "x-kubernetes-preserve-unknown-fields": st.just(True),
        },
    )


def _map(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": below})


def _array(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.just("array"), "items": below},
        optional={"minItems": st.integers(0, 2), "maxItems": st.integers(0, 3)},
    )


def _values(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """With restrictions of values below junctors."""
    limits = st.lists(
        st.sampled_from([{"minLength": 2}, {"maximum": 3}, {"required": ["a"]}, {"enum": ["a", 1]}]),
        min_size=1,
        max_size=2,
    )
    return st.tuples(below, st.sampled_from(["anyOf", "oneOf", "allOf"]), limits).map(
        lambda drawn: {**drawn[0], drawn[1]: drawn[2]}
    )


SCHEMAS: st.SearchStrategy[Schema] = st.recursive(
    _string() | _integer() | st.just({"type": "boolean"}),
    lambda below: _object(below) | _map(below) | _array(below) | _values(below),
    max_leaves=6,
)
ROOTS = _object(SCHEMAS)
"""Schemas of whole objects."""

VALUES = st.recursive(
    st.none() | st.booleans() | _integers | st.floats(-9, 9, width=16) | st.text("abc", max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


def with_defaults(schema: Schema, draw: Any) -> Schema:
    """The schema with defaults for some properties, drawn from the values that these allow."""
    from localkube.apiserver.crd import conformity, defaulting, pruning

    changed = dict(schema)
    if isinstance(schema.get("properties"), dict):
        changed["properties"] = {n: with_defaults(s, draw) for n, s in schema["properties"].items()}
        for name, below in changed["properties"].items():
            value = draw(st.none() | VALUES)
            wrapped = {"type": "object", "properties": {"v": below}}
            pruned = pruning.prune(wrapped, {"v": value})[0].get("v")
            filled = defaulting.default(wrapped, {"v": pruned}).get("v")
            if filled is not None and not conformity.check(below, filled):
                changed["properties"][name] = {**below, "default": pruned}
    if isinstance(schema.get("items"), dict):
        changed["items"] = with_defaults(schema["items"], draw)
    return changed

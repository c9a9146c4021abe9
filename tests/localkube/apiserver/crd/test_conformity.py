from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.localkube.apiserver.crd.schemas import ROOTS, SCHEMAS, VALUES, Schema

from localkube.apiserver.crd.conformity import check

TYPES = jsonschema.Draft4Validator.TYPE_CHECKER.redefine(
    "integer",
    lambda checker, value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer())
    ),
)
ORACLE = jsonschema.validators.extend(jsonschema.Draft4Validator, type_checker=TYPES)
"""As the API has it, 3.0 is an integer."""


def said(schema: Schema, value: Any, path: str = "x", **old: Any) -> list[str]:
    return [str(error) for error in check(schema, value, path, **old)]


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (
            {"type": "integer", "maximum": 10},
            11,
            "Invalid value: 11: x in body should be less than or equal to 10",
        ),
        (
            {"type": "integer", "maximum": 10, "exclusiveMaximum": True},
            10,
            "Invalid value: 10: x in body should be less than 10",
        ),
        (
            {"type": "number", "minimum": 0.5},
            0.25,
            "Invalid value: 0.25: x in body should be greater than or equal to 0.5",
        ),
        ({"type": "integer", "multipleOf": 3}, 4, "Invalid value: 4: x in body should be a multiple of 3"),
        ({"type": "string"}, 1, 'Invalid value: "integer": x in body must be of type string: "integer"'),
        ({"type": "integer"}, 1.5, 'Invalid value: "number": x in body must be of type integer: "number"'),
        ({"type": "object"}, None, 'Invalid value: "null": x in body must be of type object: "null"'),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            'Invalid value: "boolean": x in body must be of type integer,string: "boolean"',
        ),
        ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        (
            {"type": "string", "minLength": 2},
            "a",
            'Invalid value: "a": x in body should be at least 2 chars long',
        ),
        ({"type": "string", "pattern": "^b"}, "a", "Invalid value: \"a\": x in body should match '^b'"),
        (
            {"type": "string", "format": "date-time"},
            "no",
            'Invalid value: "no": x in body must be of type date-time: "no"',
        ),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "integer", "enum": [1, 2]}, 3, 'Unsupported value: 3: supported values: "1", "2"'),
        ({"type": "array", "maxItems": 1, "items": {}}, [1, 2], "Too many: 2: must have at most 1 item"),
        (
            {"type": "array", "minItems": 1, "items": {}},
            [],
            "Invalid value: 0: x in body should have at least 1 items",
        ),
        ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}, "Too many: 2: must have at most 1 item"),
        (
            {"type": "object", "minProperties": 1},
            {},
            "Invalid value: 0: x in body should have at least 1 properties",
        ),
    ],
)
def test_the_real_words(schema: Schema, value: Any, message: str) -> None:
    assert said(schema, value) == [f"x: {message}"]


def test_paths_of_what_lies_below() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "required": ["a"]}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["spec"],
    }
    assert said(schema, {"list": [{"a": 1}, {}], "map": {"k": 1}}, "") == [
        "list[1].a: Required value",
        'map.k: Invalid value: "integer": map.k in body must be of type string: "integer"',
        "spec: Required value",
    ]


def test_alternatives_fail_as_one_and_with_what_comes_nearest() -> None:
    schema = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    both = 'Invalid value: "": "x" must validate one and only one schema (oneOf). Found'
    assert said(schema, {}) == [f"<nil>: {both} none valid", "x.a: Required value"]
    assert said(schema, {"a": 1, "b": 1}) == [f"<nil>: {both} 2 valid alternatives"]
    assert said({"not": {"required": ["a"]}}, {"a": 1}) == [
        '<nil>: Invalid value: "": "x" must not validate the schema (not)'
    ]


def test_an_integer_is_a_number_and_a_whole_number_an_integer() -> None:
    assert said({"type": "number"}, 3) == []
    assert said({"type": "integer"}, 3.0) == []


def test_unknown_formats_mean_nothing() -> None:
    assert said({"type": "string", "format": "nonsense"}, "x") == []


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date-time", "2026-01-02T03:04:05.6Z", "2026-01-02"),
        ("date", "2026-02-28", "2026-02-30"),
        ("duration", "1h30m", "soon"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uuid", "7f3e1b5a-6a86-4b2e-9d3b-0c8d0c0d0e0f", "7f3e1b5a"),
        ("byte", "aGk=", "a"),
        ("uri", "https://a.b/c", "a b"),
        ("hostname", "a.example.com", "-a"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("k8s-short-name", "abc", "A"),
    ],
)
def test_formats(form: str, good: str, bad: str) -> None:
    assert said({"type": "string", "format": form}, good) == []
    assert len(said({"type": "string", "format": form}, bad)) == 1


def test_what_did_not_change_is_not_checked_again() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 1},
            "rows": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {
                    "type": "object",
                    "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}},
                },
            },
            "atoms": {"type": "array", "items": {"type": "integer", "maximum": 1}},
        },
    }
    old = {"a": "long", "rows": [{"k": "x", "v": 5}, {"k": "y", "v": 0}], "atoms": [7]}
    new = {"a": "long", "rows": [{"k": "y", "v": 6}, {"k": "x", "v": 5}], "atoms": [7, 0]}
    fields = [error.field for error in check(schema, new, "", old)]
    assert fields == ["rows[0].v", "atoms[0]"]


@settings(max_examples=300)
@given(SCHEMAS | ROOTS, VALUES)
def test_it_agrees_with_jsonschema(schema: Schema, value: Any) -> None:
    """JSON Schema's Draft 4 means the same by what both know."""
    assert (not check(schema, value)) is ORACLE(schema).is_valid(value)


@given(ROOTS, st.dictionaries(st.sampled_from("ab"), VALUES))
def test_an_object_that_does_not_change_has_no_faults(schema: Schema, obj: dict[str, Any]) -> None:
    assert check(schema, obj, "", obj) == []

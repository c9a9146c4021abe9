import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import mergepatch
from localkube.apiserver.status import StatusError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


# The examples of RFC 7386, appendix A, whose patch is an object: the API patches objects only.
@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_rfc_7386(doc: Any, patch: Any, result: Any) -> None:
    assert mergepatch.apply(doc, patch) == result


@pytest.mark.parametrize(("patch", "found"), [([1], "array"), ("x", "string"), (1, "number"), (True, "bool")])
def test_only_objects_are_patches(patch: Any, found: str) -> None:
    with pytest.raises(StatusError) as refused:
        mergepatch.apply({}, patch)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")
    assert refused.value.message == (
        f"error decoding patch: json: cannot unmarshal {found} "
        "into Go value of type map[string]interface {}"
    )


def test_null_is_no_patch() -> None:
    with pytest.raises(StatusError, match="Invalid JSON Patch"):
        mergepatch.apply({}, None)


@given(OBJECTS, OBJECTS)
def test_twice_is_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((doc, patch))
    once = mergepatch.apply(doc, patch)
    assert mergepatch.apply(once, patch) == once
    assert (doc, patch) == before


@given(OBJECTS)
def test_the_empty_patch_changes_nothing(doc: dict[str, Any]) -> None:
    assert mergepatch.apply(doc, {}) == doc


@given(OBJECTS, OBJECTS)
def test_an_object_without_nulls_is_reached_by_the_patch_that_says_it(
    doc: dict[str, Any], patch: dict[str, Any]
) -> None:
    """A patch from `doc` to any object: its members, and null for what it lacks."""
    target = mergepatch.apply({}, patch)

    def difference(a: Any, b: dict[str, Any]) -> dict[str, Any]:
        a = a if isinstance(a, dict) else {}
        gone: dict[str, Any] = {k: None for k in a if k not in b}
        return gone | {k: difference(a.get(k), v) if isinstance(v, dict) else v for k, v in b.items()}

    assert mergepatch.apply(doc, difference(doc, target)) == target

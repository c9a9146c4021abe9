import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import jsonpatch
from localkube.apiserver.status import StatusError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), JSON, max_size=4)


def pointers(node: Any, prefix: str = "") -> list[str]:
    """Every pointer into a document, the document itself left out."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for key, value in items:
        path = f"{prefix}/{str(key).replace('~', '~0').replace('/', '~1')}"
        found += [path, *pointers(value, path)]
    return found


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": [1]}], {"a": 1, "b": [1]}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/-1", "value": 3}], {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
        ({"a": 1}, [{"op": "remove", "path": "/a"}], {}),
        ({"a": {"b": 1}}, [{"op": "replace", "path": "/a/b", "value": None}], {"a": {"b": None}}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": [2, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/c~0d"}], {}),
        ({"a~1": 1}, [{"op": "remove", "path": "/a~01"}], {}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/none", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "", "value": {"a": 1}}], {"a": 1}),
    ],
)
def test_operations(doc: Any, patch: Any, result: Any) -> None:
    assert jsonpatch.apply(doc, patch) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/data/none"},
        {"op": "replace", "path": "/data/none", "value": 1},
        {"op": "frobnicate", "path": "/data/k"},
        {"path": "/data/k"},
        {"op": "remove"},
        {"op": "remove", "path": 5},
        {"op": "remove", "path": "data"},
        {"op": "add", "path": "/none/x", "value": 1},
        {"op": "add", "path": "/data/k/x", "value": 1},
        {"op": "add", "path": "", "value": {}},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "remove", "path": "/list/2"},
        {"op": "remove", "path": "/list/-3"},
        {"op": "remove", "path": "/list/-"},
        {"op": "move", "from": "/none", "path": "/x"},
        {"op": "copy", "path": "/x"},
        {"op": "test", "path": "/data/k", "value": "w"},
        {"op": "test", "path": "/list/0", "value": True},
        {"op": "replace", "path": "", "value": 5},
    ],
)
def test_what_does_not_fit_is_unprocessable(operation: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as refused:
        jsonpatch.apply({"data": {"k": "v"}, "list": [1, 2]}, [operation])
    assert refused.value.status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ({}, 400, "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}"),
        ([1], 400, "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
        (
            [{"op": "test", "path": "/a", "value": 1}] * 10_001,
            413,
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ],
)
def test_what_is_no_patch_is_refused(patch: Any, code: int, message: str) -> None:
    with pytest.raises(StatusError) as refused:
        jsonpatch.apply({"a": 1}, patch)
    assert (refused.value.code, refused.value.message) == (code, message)


@given(OBJECTS, JSON, st.data())
def test_what_was_replaced_tests_equal_and_nothing_else_changes(
    doc: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    found = pointers(doc)
    if not found:
        return
    path = data.draw(st.sampled_from(found))
    before = copy.deepcopy(doc)
    patched = jsonpatch.apply(doc, [{"op": "replace", "path": path, "value": value}])
    assert doc == before
    assert jsonpatch.apply(patched, [{"op": "test", "path": path, "value": value}]) == patched
    untouched = [p for p in found if not p.startswith(path) and not path.startswith(p)]
    for other in untouched:
        jsonpatch.apply(patched, [{"op": "copy", "from": other, "path": "/copied"}])


@given(OBJECTS, JSON)
def test_add_then_remove_is_nothing(doc: dict[str, Any], value: Any) -> None:
    patch = [{"op": "add", "path": "/new", "value": value}, {"op": "remove", "path": "/new"}]
    assert jsonpatch.apply(doc, patch) == doc

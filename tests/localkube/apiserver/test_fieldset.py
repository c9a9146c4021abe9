"""Field sets against a model: plain sets of paths, each a tuple of steps."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import fieldset
from localkube.apiserver.fieldset import FieldSet

STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"c"}', 'v:"d"'])
PATHS = st.lists(STEPS, min_size=1, max_size=3).map(tuple)
MODELS = st.frozensets(PATHS, max_size=8)
Model = frozenset[tuple[str, ...]]


def built(model: Model) -> FieldSet:
    """The field set of some paths."""
    tree: FieldSet = {}
    for path in model:
        node = tree
        for step in path:
            node = node.setdefault(step, {"children": True})
        node["."] = {}

    def tidy(node: FieldSet) -> FieldSet:
        below = {k: tidy(v) for k, v in node.items() if k not in (".", "children")}
        return {".": {}, **below} if "." in node and below else below

    return tidy(tree)


def model(fields: FieldSet, prefix: tuple[str, ...] = ()) -> Model:
    """The paths of a field set; that a node is never an empty object without being a member is checked."""
    found: set[tuple[str, ...]] = set()
    for step, node in fields.items():
        if step != ".":
            path = (*prefix, step)
            below = model(node, path)
            if fieldset.has(node):
                found.add(path)
            else:
                assert below, f"{path} is there and nothing below it"
            found |= below
    return frozenset(found)


@given(MODELS)
def test_the_model_is_the_same_set(a: Model) -> None:
    assert model(built(a)) == a


@given(MODELS, MODELS)
def test_union(a: Model, b: Model) -> None:
    assert model(fieldset.union(built(a), built(b))) == a | b


@given(MODELS, MODELS)
def test_intersection(a: Model, b: Model) -> None:
    assert model(fieldset.intersection(built(a), built(b))) == a & b


@given(MODELS, MODELS)
def test_difference(a: Model, b: Model) -> None:
    assert model(fieldset.difference(built(a), built(b))) == a - b


@given(MODELS, MODELS)
def test_without_below(a: Model, b: Model) -> None:
    kept = {path for path in a if not any(path[: len(top)] == top for top in b)}
    assert model(fieldset.without_below(built(a), built(b))) == kept


@given(MODELS, MODELS)
def test_arguments_are_not_changed(a: Model, b: Model) -> None:
    left, right = built(a), built(b)
    for operation in (fieldset.union, fieldset.intersection, fieldset.difference, fieldset.without_below):
        operation(left, right)
    assert (model(left), model(right)) == (a, b)


@given(MODELS)
def test_the_wire_form_comes_back(a: Model) -> None:
    fields = built(a)
    wire = json.dumps(fieldset.canonical(fields))
    decoded = json.loads(wire)
    assert fieldset.valid(decoded)
    assert decoded == fields
    assert json.dumps(fieldset.canonical(decoded)) == wire


@given(MODELS)
def test_every_path_is_printed_once(a: Model) -> None:
    printed = ["".join(fieldset.element(step) for step in path) for path in a]
    assert sorted(fieldset.paths(built(a))) == sorted(printed)


def test_paths_are_printed_as_the_api_does() -> None:
    fields = {
        "f:metadata": {"f:finalizers": {'v:"x/y"': {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {}},
                }
            },
            "f:replicas": {},
        },
        "f:z": {},
    }
    assert list(fieldset.paths(fields)) == [
        ".z",
        '.metadata.finalizers[="x/y"]',
        ".spec.replicas",
        '.spec.containers[name="c"]',
        '.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"]',
    ]


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        "x",
        {"a": {}},
        {"f:a": 1},
        {"x:a": {}},
        {"k:name": {}},
        {"k:[]": {}},
        {"i:x": {}},
        {".": {"f:a": {}}},
    ],
)
def test_what_is_no_field_set(fields: Any) -> None:
    assert not fieldset.valid(fields)


def test_an_index_is_a_step() -> None:
    assert fieldset.valid({"f:a": {"i:0": {}}})
    assert list(fieldset.paths({"f:a": {"i:0": {}}})) == [".a[0]"]

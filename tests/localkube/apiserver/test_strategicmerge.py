import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import strategicmerge
from localkube.apiserver.status import StatusError

POD = "io.k8s.api.core.v1.Pod"


def apply(doc: dict[str, Any], patch: Any, type_name: str = POD) -> dict[str, Any]:
    before = copy.deepcopy((doc, patch))
    result = strategicmerge.apply(doc, patch, type_name)
    assert (doc, patch) == before, "arguments are not changed"
    return result


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


def refusal(doc: dict[str, Any], patch: Any, type_name: str = POD) -> tuple[int, str, str]:
    with pytest.raises(StatusError) as refused:
        strategicmerge.apply(doc, patch, type_name)
    return refused.value.code, refused.value.reason, refused.value.message


A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}


def test_elements_merge_by_their_key() -> None:
    patched = apply(pod(A, B), pod({"name": "b", "image": "2"}))
    assert patched == pod(A, {"name": "b", "image": "2"})


def test_new_elements_come_before_those_the_patch_does_not_name() -> None:
    assert apply(pod(A, B), pod(C)) == pod(C, A, B)


def test_elements_take_the_order_of_the_patch() -> None:
    assert apply(pod(A, B, C), pod({"name": "c"}, {"name": "a"})) == pod(B, C, A)


def test_an_element_is_deleted_by_its_key() -> None:
    assert apply(pod(A, B), pod({"$patch": "delete", "name": "a"})) == pod(B)


def test_a_list_that_merges_is_replaced_on_demand() -> None:
    assert apply(pod(A, B), pod({"$patch": "replace"}, C)) == pod(C)


def test_a_list_that_does_not_merge_is_replaced_directive_and_all() -> None:
    doc = {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}
    patch = {"imagePullSecrets": [{"$patch": "replace"}, {"name": "z"}]}
    assert apply(doc, patch, "io.k8s.api.core.v1.ServiceAccount") == patch


def test_a_map_is_replaced_or_emptied_on_demand() -> None:
    doc = {"metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}}}
    patch = {"metadata": {"labels": {"$patch": "replace", "c": "3"}, "annotations": {"$patch": "delete"}}}
    assert apply(doc, patch) == {"metadata": {"labels": {"c": "3"}, "annotations": {}}}


def test_null_deletes_and_is_never_set() -> None:
    doc = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    patch = {"metadata": {"labels": {"a": None}, "annotations": {"x": None, "y": "1"}}}
    assert apply(doc, patch) == {"metadata": {"labels": {"b": "2"}, "annotations": {"y": "1"}}}


def test_lists_of_primitives_merge_and_lose_what_is_named() -> None:
    doc = {"metadata": {"finalizers": ["a", "b", "c"]}}
    assert apply(doc, {"metadata": {"finalizers": ["d", "b"]}}) == {
        "metadata": {"finalizers": ["d", "a", "b", "c"]}
    }
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "x"]}}
    assert apply(doc, patch) == {"metadata": {"finalizers": ["a", "c"]}}
    patch["metadata"]["finalizers"] = ["b"]
    assert apply(doc, patch)["metadata"]["finalizers"] == ["b", "a", "c"]


def test_deleting_from_a_list_that_is_not_there() -> None:
    assert apply({"metadata": {}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}) == {
        "metadata": {}
    }


def test_set_element_order() -> None:
    order = [{"name": "c"}, {"name": "a"}]
    patch = {"spec": {"$setElementOrder/containers": order, "containers": [{"name": "a", "image": "2"}]}}
    assert apply(pod(A, B, C), patch) == pod(B, C, {"name": "a", "image": "2"})
    only = {"metadata": {"$setElementOrder/finalizers": ["c", "b"]}}
    assert apply({"metadata": {"finalizers": ["a", "b", "c"]}}, only) == {
        "metadata": {"finalizers": ["a", "c", "b"]}
    }


def test_set_element_order_of_a_list_that_is_not_there() -> None:
    patch = {"metadata": {"$setElementOrder/finalizers": ["b", "a"], "finalizers": ["b", "a"]}}
    assert apply({"metadata": {}}, patch) == {"metadata": {"finalizers": ["b", "a"]}}
    del patch["metadata"]["finalizers"]
    assert apply({"metadata": {}}, patch) == {"metadata": {}}


def test_retain_keys_clears_the_rest() -> None:
    doc = pod(volumes=[{"name": "v", "emptyDir": {}}])
    volume = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
    assert apply(doc, {"spec": {"volumes": [volume]}})["spec"]["volumes"] == [
        {"name": "v", "hostPath": {"path": "/x"}}
    ]


def test_directives_do_not_end_up_in_what_is_new() -> None:
    patch = {
        "metadata": {"labels": {"$patch": "delete"}},
        "spec": {"containers": [{"$patch": "delete", "name": "x"}, A]},
    }
    assert apply({}, patch) == {"metadata": {}, "spec": {"containers": [A]}}


def test_another_type_replaces() -> None:
    assert apply({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": "x"}}) == {
        "metadata": {"labels": "x"}
    }


def test_ports_merge_by_their_number() -> None:
    port = {"name": "http", "containerPort": 80}
    patched = apply(
        pod({**A, "ports": [port]}), pod({"name": "a", "ports": [{"containerPort": 80, "hostPort": 1}]})
    )
    assert patched["spec"]["containers"][0]["ports"] == [{**port, "hostPort": 1}]


@pytest.mark.parametrize(
    ("patch", "code", "reason", "message"),
    [
        (
            [1],
            400,
            "BadRequest",
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            pod({"image": "x"}),
            500,
            "",
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (pod("x"), 500, "", "list element types are not identical: [x]"),
        (pod([A]), 422, "Invalid", "the server rejected our request due to an error in our request"),
        (
            {"spec": {"$setElementOrder": []}},
            400,
            "BadRequest",
            "invalid patch format of setElementOrder list",
        ),
        (
            {"spec": {"$deleteFromPrimitiveList": []}},
            400,
            "BadRequest",
            "invalid patch format of primitive list",
        ),
        ({"spec": {"$retainKeys": "x"}}, 400, "BadRequest", "invalid patch format of retainKeys"),
        (
            {"spec": {"$retainKeys": ["x"], "hostname": "y"}},
            400,
            "BadRequest",
            "invalid patch format of retainKeys",
        ),
        ({"$patch": "merge"}, 500, "", "unknown patch type: merge in map: map[$patch:merge]"),
        (pod({"$patch": "merge"}), 500, "", "merging lists cannot yet be specified in the patch"),
        (
            pod({"$patch": "x", "name": "a"}),
            500,
            "",
            "unknown patch type: x in map: map[$patch:x name:a]",
        ),
        (
            {"spec": {"$setElementOrder/containers": {}}},
            500,
            "",
            "expected a []interface {}, but received a map[string]interface {}",
        ),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}},
            500,
            "",
            "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
    ],
)
def test_refusals(patch: Any, code: int, reason: str, message: str) -> None:
    assert refusal(pod(A, B), patch) == (code, reason, message)


NAMES = st.sampled_from("abcde")
CONTAINERS = st.lists(
    st.builds(lambda n, i: {"name": n, "image": i}, NAMES, st.sampled_from("123")),
    max_size=5,
    unique_by=lambda c: c["name"],
)


@given(CONTAINERS, CONTAINERS)
def test_merged_elements(live: list[dict[str, Any]], patch: list[dict[str, Any]]) -> None:
    """Everything is there once, as the patch has it, in the patch's order; the others keep theirs."""
    merged = apply(pod(*live), pod(*patch))["spec"]["containers"]
    ours = [c["name"] for c in patch]
    assert [c for c in merged if c["name"] in ours] == patch
    assert [c for c in merged if c["name"] not in ours] == [c for c in live if c["name"] not in ours]
    again = apply(pod(*merged), pod(*patch))["spec"]["containers"]
    assert again == merged

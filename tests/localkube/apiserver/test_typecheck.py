from typing import Any

import pytest

from localkube.apiserver import typecheck
from localkube.apiserver.schema import Field

POD = "io.k8s.api.core.v1.Pod"


def said(type_name: str, value: Any) -> str:
    return typecheck.message(list(typecheck.faults(Field("struct", "", type_name), value)))


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", **fields}]}}


def test_a_good_pod_has_no_faults() -> None:
    spec = {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "env": None,
            }
        ],
        "nodeSelector": {"a": "b"},
        "hostNetwork": False,
    }
    metadata = {"name": "p", "finalizers": ["x"], "creationTimestamp": None}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    assert not list(typecheck.faults(Field("struct", "", POD), pod))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"foo": 1}, ".foo: field not declared in schema"),
        ({"spec": {"x": 1, "y": 2}}, ".spec.x: field not declared in schema"),
        (
            container(image=5),
            '.spec.containers[name="c"].image: expected string, got &value.valueUnstructured{Value:5}',
        ),
        (
            container(image={"a": ["b"]}),
            '.spec.containers[name="c"].image: expected string, got &value.valueUnstructured'
            '{Value:map[string]interface {}{"a":[]interface {}{"b"}}}',
        ),
        (
            {"spec": {"nodeSelector": {"x": True}}},
            ".spec.nodeSelector.x: expected string, got &value.valueUnstructured{Value:true}",
        ),
        (
            {"spec": {"tolerations": [{"key": 0.5}]}},
            ".spec.tolerations[0].key: expected string, got &value.valueUnstructured{Value:0.5}",
        ),
        (
            {"spec": {"priority": "high"}},
            ".spec.priority: expected numeric (int or float), got string",
        ),
        ({"spec": {"priority": True}}, ".spec.priority: expected numeric (int or float), got bool"),
        ({"spec": {"hostNetwork": "yes"}}, ".spec.hostNetwork: expected boolean, got &{yes}"),
        ({"spec": {"containers": "x"}}, ".spec.containers: expected list, got &{x}"),
        (
            {"spec": {"containers": {"b": 1, "a": None}}},
            ".spec.containers: expected list, got &{map[a:<nil> b:1]}",
        ),
        ({"spec": [1, "x"]}, ".spec: expected map, got &{[1 x]}"),
        (
            {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}},
            '.spec.containers: duplicate entries for key [name="c"]',
        ),
        (
            {"spec": {"containers": [None]}},
            ".spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (
            {"spec": {"containers": ["c"]}},
            ".spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            {"metadata": {"finalizers": [None]}},
            ".metadata.finalizers: element 0: "
            "associative list without keys has an element that's an explicit null",
        ),
        (
            {"foo": 1, "spec": {"priority": "x"}},
            ".foo: field not declared in schema",
        ),
        (
            {"spec": {"priority": "x", "hostNetwork": 1}},
            "errors:\n  .spec.priority: expected numeric (int or float), got string\n"
            "  .spec.hostNetwork: expected boolean, got &{1}",
        ),
    ],
)
def test_faults(value: Any, message: str) -> None:
    assert said(POD, value) == message


def test_a_list_key_with_a_default_may_be_missing() -> None:
    assert not list(
        typecheck.faults(Field("struct", "", POD), {"spec": {"initContainers": [{"image": "x"}]}})
    )

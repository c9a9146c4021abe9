"""PriorityClasses, and the priority that pods get by them; and the service account that they name."""

from typing import Any

import pytest
from tests.localkube.conftest import Answer, Localkube

Object = dict[str, Any]
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def pod(name: str = "p", **spec: Any) -> Object:
    containers = [{"name": "c", "image": "busybox"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


@pytest.fixture
def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def create_class(server: Localkube, name: str, value: int, **more: Any) -> Answer:
    return server.call("POST", CLASSES, {"metadata": {"name": name}, "value": value, **more})


def test_every_cluster_has_two(localkube_process: Localkube) -> None:
    found = localkube_process.call("GET", f"{CLASSES}/system-node-critical").body
    assert (found["value"], found["preemptionPolicy"]) == (2_000_001_000, "PreemptLowerPriority")
    assert found["description"].startswith("Used for system critical pods")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = localkube_process.call("GET", f"{CLASSES}/system-cluster-critical", headers=accept).body
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == ["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"]
    (row,) = table["rows"]
    assert row["cells"][:3] == ["system-cluster-critical", 2_000_000_000, False]


def test_they_stay(localkube_process: Localkube) -> None:
    refused = localkube_process.call("DELETE", f"{CLASSES}/system-node-critical")
    assert refused.code == 403
    assert refused.body["message"] == (
        'priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority '
        "class and cannot be deleted"
    )


def test_a_pod_gets_the_priority_of_its_class(
    localkube_process: Localkube, pods: str, namespace: str
) -> None:
    name = f"high-{namespace}"
    made = create_class(localkube_process, name, 1000, preemptionPolicy="Never")
    assert (made.code, made.body["metadata"]["generation"]) == (201, 1)
    try:
        found = localkube_process.call("POST", pods, pod(priorityClassName=name)).body["spec"]
        assert (found["priority"], found["preemptionPolicy"]) == (1000, "Never")
        other = localkube_process.call("POST", pods, pod("q", priorityClassName=name, priority=5))
        assert other.body["message"] == (
            'pods "q" is forbidden: the integer value of priority (5) must not be provided in pod spec; '
            "priority admission controller computed 1000 from the given PriorityClass name"
        )
    finally:
        assert localkube_process.call("DELETE", f"{CLASSES}/{name}").code == 200


def test_a_pod_without_a_class_has_none(localkube_process: Localkube, pods: str) -> None:
    found = localkube_process.call("POST", pods, pod()).body["spec"]
    assert (found["priority"], found["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in found


def test_a_class_that_is_missing(localkube_process: Localkube, pods: str) -> None:
    body = {**pod(priorityClassName="nope"), "metadata": {"generateName": "gen-"}}
    refused = localkube_process.call("POST", pods, body)
    # the name is generated after this plugin has looked
    assert refused.body["message"] == 'pods "gen-" is forbidden: no PriorityClass with name nope was found'


def test_the_default_for_all(localkube_process: Localkube, pods: str, namespace: str) -> None:
    name = f"default-{namespace}"
    assert create_class(localkube_process, name, 7, globalDefault=True).code == 201
    try:
        found = localkube_process.call("POST", pods, pod()).body["spec"]
        assert (found["priorityClassName"], found["priority"]) == (name, 7)
        second = create_class(localkube_process, "second", 8, globalDefault=True)
        assert (second.code, second.body["message"]) == (
            403,
            f'priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass {name} is already '
            "marked as default. Only one default can exist",
        )
        again = {"description": "the default", "globalDefault": True}
        patched = localkube_process.call(
            "PATCH", f"{CLASSES}/{name}", again, content_type="application/merge-patch+json"
        )
        assert (patched.code, patched.body["description"]) == (200, "the default")
    finally:
        localkube_process.call("DELETE", f"{CLASSES}/{name}")


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        (
            "big",
            {"value": 1_000_000_001},
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "system-mine",
            {"value": 1},
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system "
            "use only. error: system-mine is not a known system priority class",
        ),
        (
            "odd",
            {"value": 1, "preemptionPolicy": "Sometimes"},
            'preemptionPolicy: Unsupported value: "Sometimes": supported values: "Never", '
            '"PreemptLowerPriority"',
        ),
    ],
)
def test_bad_classes(localkube_process: Localkube, name: str, more: Object, said: str) -> None:
    refused = localkube_process.call("POST", CLASSES, {"metadata": {"name": name}, **more})
    assert refused.code == 422
    assert refused.body["message"] == f'PriorityClass.scheduling.k8s.io "{name}" is invalid: {said}'


def test_a_value_does_not_change(localkube_process: Localkube) -> None:
    patch = {"value": 1}
    refused = localkube_process.call(
        "PATCH", f"{CLASSES}/system-node-critical", patch, content_type="application/merge-patch+json"
    )
    assert refused.code == 422
    assert "value: Forbidden: may not be changed in an update." in refused.body["message"]


def test_a_service_account_that_is_missing(localkube_process: Localkube, pods: str, namespace: str) -> None:
    refused = localkube_process.call("POST", pods, pod(serviceAccountName="nope"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        f'pods "p" is forbidden: error looking up service account {namespace}/nope: serviceaccount "nope" '
        "not found"
    )

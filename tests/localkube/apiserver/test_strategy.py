import base64
import copy
from typing import Any

import pytest

from localkube.apiserver import defaults, schema, strategy
from localkube.apiserver.resources import Resources
from localkube.apiserver.status import StatusError

RESOURCES = Resources()
ACCOUNTS: dict[tuple[str, str], dict[str, Any]] = {
    ("ns", "default"): {},
    ("ns", "quiet"): {"automountServiceAccountToken": False, "imagePullSecrets": [{"name": "pull"}]},
}
CONTAINERS = [{"name": "c", "image": "busybox"}]


def lookup(key: str, namespace: str, name: str) -> dict[str, Any] | None:
    return ACCOUNTS.get((namespace, name)) if key == "serviceaccounts" else None


def create(key: str, obj: dict[str, Any]) -> dict[str, Any]:
    resource = RESOURCES[key]
    decoded, _ = schema.decode(resource, obj)
    defaults.apply(resource, decoded)
    decoded["metadata"] |= {"uid": "u", "name": "a"}
    if resource.namespaced:
        decoded["metadata"]["namespace"] = "ns"
    strategy.prepare_create(resource, decoded, lookup)
    return decoded


def update(key: str, old: dict[str, Any], change: dict[str, Any], subresource: str = "") -> dict[str, Any]:
    resource = RESOURCES[key]
    before = copy.deepcopy(old)
    new, _ = schema.decode(resource, {**copy.deepcopy(old), **change})
    defaults.apply(resource, new)
    strategy.prepare_update(resource, new, old, subresource)
    assert old == before, "stored objects are shared and must not be touched"
    return new


def test_a_job_gets_a_selector_that_only_its_pods_match() -> None:
    job = create("jobs.batch", {"spec": {"template": {"spec": {"containers": CONTAINERS}}}})
    labels = {
        "batch.kubernetes.io/controller-uid": "u",
        "batch.kubernetes.io/job-name": "a",
        "controller-uid": "u",
        "job-name": "a",
    }
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert job["spec"]["template"]["metadata"]["labels"] == labels
    assert job["metadata"]["labels"] == labels
    assert job["metadata"]["generation"] == 1


def test_a_manual_selector_is_left_alone() -> None:
    spec = {
        "manualSelector": True,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}},
    }
    job = create("jobs.batch", {"spec": spec})
    assert job["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert job["spec"]["template"]["metadata"]["labels"] == {"a": "b"}


def test_generation_counts_changes_of_the_spec_only() -> None:
    job = create("jobs.batch", {"spec": {"template": {"spec": {"containers": CONTAINERS}}}})
    same = update("jobs.batch", job, {"metadata": {**job["metadata"], "annotations": {"a": "b"}}})
    assert same["metadata"]["generation"] == 1
    changed = update("jobs.batch", job, {"spec": {**job["spec"], "parallelism": 2}})
    assert changed["metadata"]["generation"] == 2
    claimed = update("jobs.batch", job, {"metadata": {**job["metadata"], "generation": 9}})
    assert claimed["metadata"]["generation"] == 1


def test_spec_and_status_change_only_through_their_own_path() -> None:
    job = create("jobs.batch", {"spec": {"template": {"spec": {"containers": CONTAINERS}}}})
    change = {"spec": {**job["spec"], "parallelism": 2}, "status": {"active": 1}}
    assert update("jobs.batch", job, change)["status"] == {}
    through_status = update("jobs.batch", job, change, "status")
    assert (through_status["spec"], through_status["status"]) == (job["spec"], {"active": 1})
    assert through_status["metadata"]["generation"] == 1


def test_what_is_the_server_s_own_is_put_back() -> None:
    config = create("configmaps", {"data": {"k": "v"}})
    config["metadata"] |= {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
    }
    changed = update(
        "configmaps", config, {"metadata": {"name": "a", "creationTimestamp": "2000-01-01T00:00:00Z"}}
    )
    assert changed["metadata"] == config["metadata"]


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "Guaranteed"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_a_new_pod_is_pending_with_its_class_of_service(resources: dict[str, Any], qos: str) -> None:
    pod = create(
        "pods",
        {"spec": {"containers": [{**CONTAINERS[0], "resources": resources}]}, "status": {"phase": "Running"}},
    )
    assert pod["status"] == {"phase": "Pending", "qosClass": qos}


def test_a_pod_gets_a_token_tolerations_and_a_priority() -> None:
    pod = create("pods", {"spec": {"containers": CONTAINERS, "initContainers": [{"name": "i"}]}})
    spec = pod["spec"]
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    for container in (*spec["containers"], *spec["initContainers"]):
        mount = container["volumeMounts"][0]
        assert mount == {
            "name": volume["name"],
            "readOnly": True,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert [t["key"] for t in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert create("pods", pod)["spec"] == spec


def test_a_token_is_not_mounted_where_nobody_wants_it() -> None:
    refused = create("pods", {"spec": {"containers": CONTAINERS, "automountServiceAccountToken": False}})
    assert "volumes" not in refused["spec"]
    quiet = create("pods", {"spec": {"containers": CONTAINERS, "serviceAccountName": "quiet"}})
    assert "volumes" not in quiet["spec"]
    assert quiet["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    insists = {"containers": CONTAINERS, "serviceAccountName": "quiet", "automountServiceAccountToken": True}
    assert len(create("pods", {"spec": insists})["spec"]["volumes"]) == 1
    mine = [{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    own = create("pods", {"spec": {"containers": [{**CONTAINERS[0], "volumeMounts": mine}]}})
    assert "volumes" not in own["spec"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"serviceAccountName": "gone"},
            'error looking up service account ns/gone: serviceaccount "gone" not found',
        ),
        ({"priorityClassName": "gone"}, "no PriorityClass with name gone was found"),
        (
            {"priority": 5},
            "the integer value of priority (5) must not be provided in pod spec; priority admission "
            "controller computed 0 from the given PriorityClass name",
        ),
    ],
)
def test_admission_refuses_what_it_cannot_resolve(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as refusal:
        create("pods", {"spec": {"containers": CONTAINERS, **spec}})
    assert (refusal.value.code, refusal.value.message) == (403, f'pods "a" is forbidden: {message}')


def test_a_pod_that_tolerates_everything_gets_no_tolerations() -> None:
    spec = {"containers": CONTAINERS, "tolerations": [{"operator": "Exists"}]}
    assert create("pods", {"spec": spec})["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_string_data_becomes_data() -> None:
    secret = create("secrets", {"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "new"}})
    assert "stringData" not in secret
    assert base64.b64decode(secret["data"]["b"]) == b"new"
    changed = update("secrets", secret, {"stringData": {"c": "d"}})
    assert changed["data"] == {**secret["data"], "c": "ZA=="}


def test_a_namespace_is_named_by_a_label_and_kept_by_a_finalizer() -> None:
    namespace = create("namespaces", {"spec": {"finalizers": ["a.b/c"]}})
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert namespace["spec"]["finalizers"] == ["a.b/c", "kubernetes"]
    assert update("namespaces", namespace, {"spec": {}})["spec"] == namespace["spec"]
    assert update("namespaces", namespace, {"spec": {}}, "finalize")["spec"] == {"finalizers": []}
    label = {"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "x"}}}
    assert update("namespaces", namespace, label)["metadata"]["labels"]["kubernetes.io/metadata.name"] == "a"


def test_a_pod_s_status_path_cannot_touch_owners_or_deletion() -> None:
    pod = create("pods", {"spec": {"containers": CONTAINERS}})
    pod["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "1"}]
    change = {
        "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running"},
    }
    changed = update("pods", pod, change, "status")
    assert changed["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]
    assert "deletionTimestamp" not in changed["metadata"]
    assert changed["status"] == {"phase": "Running", "qosClass": "BestEffort"}

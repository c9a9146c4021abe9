"""The API in process: what controllers rely on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localkube.apiserver import events
from localkube.apiserver.registry import APPLY, Registry
from localkube.apiserver.status import StatusError


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    made = Registry(clock=clock)
    made.create("namespaces", "", {"metadata": {"name": "ns"}})
    made.create("serviceaccounts", "ns", {"metadata": {"name": "default"}})
    return made


def configmap(name: str = "a", **content: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **content}


def pod(name: str = "p") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def test_what_is_given_is_not_touched(registry: Registry) -> None:
    given = configmap(data={"k": "v"})
    created = registry.create("configmaps", "ns", given)
    assert given == {"metadata": {"name": "a"}, "data": {"k": "v"}}
    registry.update("configmaps", "ns", {**created, "data": {"k": "2"}})
    assert created["data"] == {"k": "v"}


def test_generated_names_avoid_each_other(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = iter(["b", "b", "c"])
    monkeypatch.setattr("localkube.apiserver.registry.generated_name", lambda base: f"{base}{next(suffixes)}")
    template = {"metadata": {"generateName": "x-"}}
    names = [registry.create("configmaps", "ns", template)["metadata"]["name"] for _ in range(2)]
    assert names == ["x-b", "x-c"]


def test_a_dry_run_leaves_nothing(registry: Registry) -> None:
    revision = registry.store.revision
    made = registry.create("configmaps", "ns", configmap(), dry_run=True)
    assert "resourceVersion" not in made["metadata"]
    registry.patch(
        "configmaps",
        "ns",
        "b",
        {**configmap("b"), "kind": "ConfigMap", "apiVersion": "v1"},
        APPLY,
        dry_run=True,
    )
    assert registry.list("configmaps", "ns") == []
    assert registry.store.revision == revision


def test_writing_the_same_again_is_no_change(registry: Registry, clock: Clock) -> None:
    created = registry.create("configmaps", "ns", configmap(data={"k": "v"}))
    clock.now += timedelta(minutes=1)
    assert registry.update("configmaps", "ns", created) is created
    assert registry.patch("configmaps", "ns", "a", {"data": {"k": "v"}}) is created


def test_a_stale_write_is_refused(registry: Registry) -> None:
    first = registry.create("configmaps", "ns", configmap(data={"k": "1"}))
    registry.update("configmaps", "ns", {**first, "data": {"k": "2"}})
    with pytest.raises(StatusError, match="the object has been modified") as caught:
        registry.update("configmaps", "ns", {**first, "data": {"k": "3"}})
    assert caught.value.code == 409


def test_an_update_of_another_incarnation_is_refused(registry: Registry) -> None:
    created = registry.create("configmaps", "ns", configmap())
    other = {**created, "metadata": {**created["metadata"], "uid": "other", "resourceVersion": ""}}
    with pytest.raises(StatusError, match="Precondition failed: UID in precondition: other") as caught:
        registry.update("configmaps", "ns", other)
    assert caught.value.code == 409


def test_a_lease_is_not_replaced_blindly(registry: Registry) -> None:
    registry.create("leases.coordination.k8s.io", "ns", configmap("l"))
    with pytest.raises(StatusError, match="must be specified for an update"):
        registry.update("leases.coordination.k8s.io", "ns", configmap("l"))


def test_each_path_writes_its_part(registry: Registry) -> None:
    created = registry.create("pods", "ns", pod())
    status = {**created["status"], "phase": "Running"}
    changed = registry.update("pods", "ns", {**created, "status": status})
    assert changed["status"]["phase"] == "Pending"
    changed = registry.patch("pods", "ns", "p", {"status": {"phase": "Running"}}, subresource="status")
    assert changed["status"]["phase"] == "Running"


def test_a_bound_pod_says_so(registry: Registry) -> None:
    registry.create("pods", "ns", pod())
    bound = registry.bind("ns", "p", "n")
    assert bound["spec"]["nodeName"] == "n"
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    with pytest.raises(StatusError, match="already assigned"):
        registry.bind("ns", "p", "m")


def test_a_pod_on_a_node_stays_until_its_kubelet_lets_go(registry: Registry) -> None:
    registry.create("pods", "ns", pod())
    registry.bind("ns", "p", "n")
    marked = registry.delete("pods", "ns", "p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert registry.exists("pods", "ns", "p")
    registry.delete("pods", "ns", "p", grace=0)
    assert not registry.exists("pods", "ns", "p")


def test_the_last_finalizer_lets_an_object_go(registry: Registry) -> None:
    held = {"metadata": {"name": "a", "finalizers": ["a.b/c"]}}
    registry.create("configmaps", "ns", held)
    registry.delete("configmaps", "ns", "a")
    registry.patch("configmaps", "ns", "a", {"metadata": {"finalizers": None}})
    assert not registry.exists("configmaps", "ns", "a")


def test_a_collection_is_deleted_by_selector(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.create("configmaps", "ns", {"metadata": {"name": name, "labels": {"l": name}}})
    deleted = registry.delete_collection("configmaps", "ns", labels="l=a")
    assert [d["metadata"]["name"] for d in deleted] == ["a"]
    assert [c["metadata"]["name"] for c in registry.list("configmaps", "ns")] == ["b"]


async def test_a_watch_begins_with_what_is_there_and_a_bookmark(registry: Registry) -> None:
    registry.create("configmaps", "ns", configmap("a"))
    watch = registry.watch("configmaps", "ns", bookmark=True)
    registry.create("configmaps", "ns", configmap("b"))
    seen = [await anext(watch) for _ in range(3)]
    assert [(e.type, e.object["metadata"].get("name")) for e in seen] == [
        ("ADDED", "a"),
        ("BOOKMARK", None),
        ("ADDED", "b"),
    ]
    watch.close()
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


def test_an_unreadable_patch_result_is_the_patchs_fault(registry: Registry) -> None:
    registry.create("configmaps", "ns", configmap())
    with pytest.raises(StatusError, match="patch: Invalid value") as caught:
        registry.patch("configmaps", "ns", "a", {"data": {"k": 5}})
    assert caught.value.code == 422


def test_a_patch_cannot_rename(registry: Registry) -> None:
    registry.create("configmaps", "ns", configmap())
    with pytest.raises(StatusError, match="does not match the name on the URL"):
        registry.patch("configmaps", "ns", "a", {"metadata": {"name": "b"}})


def test_the_same_event_again_is_counted(registry: Registry, clock: Clock) -> None:
    subject = registry.create("configmaps", "ns", configmap())
    first = registry.record_event(subject, "R", "m")
    clock.now += timedelta(seconds=5)
    again = registry.record_event(subject, "R", "m")
    other = registry.record_event(subject, "R", "another")
    assert again["metadata"]["name"] == first["metadata"]["name"] != other["metadata"]["name"]
    assert (again["count"], again["firstTimestamp"], again["lastTimestamp"]) == (
        2,
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:05Z",
    )


def test_an_event_can_be_about_a_part(registry: Registry) -> None:
    subject = registry.create("pods", "ns", pod())
    told = registry.record_event({**subject, "fieldPath": "spec.containers{c}"}, "R", "m")
    assert told["involvedObject"]["fieldPath"] == "spec.containers{c}"
    found = registry.list("events", "ns", fields="involvedObject.fieldPath=spec.containers{c}")
    assert found == [told]


def test_events_expire_an_hour_after_they_last_happened(registry: Registry, clock: Clock) -> None:
    subject = registry.create("configmaps", "ns", configmap())
    told = registry.record_event(subject, "R", "m")
    assert not events.expired(told, clock.now + timedelta(minutes=59))
    assert events.expired(told, clock.now + timedelta(minutes=61))


def test_no_event_can_be_in_a_namespace_that_goes(registry: Registry) -> None:
    subject = registry.create("configmaps", "ns", configmap())
    registry.delete("namespaces", "", "ns")
    with pytest.raises(StatusError, match="because it is being terminated"):
        registry.record_event(subject, "R", "m")

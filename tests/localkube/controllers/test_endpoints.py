"""Endpoints and EndpointSlices: as a plan, and kept while pods and services come, change and go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.controllers import endpointsplan
from localkube.controllers.backends import backends
from localkube.controllers.endpointsplan import MANAGED_LABEL, SERVICE_LABEL, SLICE_MOST

Object = dict[str, Any]

SLICES = "endpointslices.discovery.k8s.io"


def service(name: str = "s", **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"},
        "spec": {"type": "ClusterIP", "selector": {"app": "a"}, "ports": ports, **spec},
    }


def pod(name: str, *, ready: bool = True, port: int = 8080, **more: Any) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "labels": {"app": "a"},
            **more.pop("metadata", {}),
        },
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}],
            **more.pop("spec", {}),
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{sum(name.encode()) % 250}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            **more,
        },
    }


def planned(of: Object, pods: list[Object], existing: list[Object] | None = None) -> endpointsplan.Slices:
    return endpointsplan.slices(of, backends(of, pods), existing or [])


def test_a_service_without_pods_has_an_empty_slice() -> None:
    [made] = planned(service(), []).create
    assert (made["addressType"], made["endpoints"], made["ports"]) == ("IPv4", None, None)
    assert made["metadata"]["generateName"] == "s-"
    assert made["metadata"]["labels"] == {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "s",
    }
    [owner] = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Service", "s", True)


def test_pods_are_told_with_their_conditions() -> None:
    gone = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    pods = [
        pod("a"),
        pod("b", ready=False),
        pod("c", **gone),
        pod("d", phase="Succeeded"),
        pod("e", podIP=""),
        pod("f", metadata={"labels": {"app": "other"}}),
    ]
    [made] = planned(service(), pods).create
    shown = [(e["targetRef"]["name"], *e["conditions"].values()) for e in made["endpoints"]]
    assert shown == [("a", True, True, False), ("b", False, False, False), ("c", False, True, True)]
    assert made["endpoints"][0]["nodeName"] == "n"
    assert made["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    told = endpointsplan.endpoints(service(), backends(service(), pods))
    [subset] = told["subsets"]
    assert [a["targetRef"]["name"] for a in subset["addresses"]] == ["a"]
    assert [a["targetRef"]["name"] for a in subset["notReadyAddresses"]] == ["b"]
    assert told["metadata"]["labels"] == {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def test_pods_that_are_not_ready_can_be_published() -> None:
    [made] = planned(service(publishNotReadyAddresses=True), [pod("a", ready=False)]).create
    assert made["endpoints"][0]["conditions"] == {"ready": True, "serving": False, "terminating": False}


def test_named_ports_are_those_of_each_pod() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])
    plan = planned(named, [pod("a"), pod("b", port=9090), pod("c", spec={"containers": [{"name": "c"}]})])
    found = {
        tuple(p["port"] for p in s["ports"] or ()): [e["targetRef"]["name"] for e in s["endpoints"]]
        for s in plan.create
    }
    assert found == {(8080,): ["a"], (9090,): ["b"], (): ["c"]}
    subsets = endpointsplan.endpoints(named, backends(named, [pod("a"), pod("b", port=9090)]))["subsets"]
    assert [s["ports"] for s in subsets] == [
        [{"name": "http", "port": 8080, "protocol": "TCP"}],
        [{"name": "http", "port": 9090, "protocol": "TCP"}],
    ]


def test_a_pod_of_a_headless_service_has_a_name() -> None:
    headless = service(clusterIP="None")
    [made] = planned(headless, [pod("a", spec={"hostname": "h", "subdomain": "s"})]).create
    assert made["endpoints"][0]["hostname"] == "h"
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def stored(plan: endpointsplan.Slices, existing: list[Object], names: Any) -> list[Object]:
    """What exists once a plan is carried out."""
    changed = {obj["metadata"]["name"]: obj for obj in plan.update}
    gone = {obj["metadata"]["name"] for obj in plan.delete}
    kept = [changed.get(obj["metadata"]["name"], obj) for obj in existing]
    kept = [obj for obj in kept if obj["metadata"]["name"] not in gone]
    made = [{**obj, "metadata": {**obj["metadata"], "name": f"s-{next(names)}"}} for obj in plan.create]
    return kept + made


@given(st.lists(st.sets(st.integers(0, 260), max_size=250), min_size=1, max_size=4))
def test_slices_hold_every_pod_once_and_settle(steps: list[set[int]]) -> None:
    names = iter(range(10_000))
    existing: list[Object] = []
    for step in steps:
        pods = [pod(f"p{i}") for i in sorted(step)]
        existing = stored(planned(service(), pods, existing), existing, names)
        told = [e["targetRef"]["name"] for s in existing for e in s["endpoints"] or ()]
        assert sorted(told) == sorted(p["metadata"]["name"] for p in pods)
        assert all(len(s["endpoints"] or ()) <= SLICE_MOST for s in existing)
        assert len(existing) == 1 or all(s["endpoints"] for s in existing)
        assert planned(service(), pods, existing) == ([], [], [])


def test_one_pod_changes_one_slice() -> None:
    names = iter(range(10_000))
    pods = [pod(f"p{i}") for i in range(250)]
    existing = stored(planned(service(), pods), [], names)
    pods[3] = pod("p3", ready=False)
    plan = planned(service(), pods, existing)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


# with all controllers


def add_service(world, name: str = "s", **spec: Any) -> Object:
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
    return world.registry.create("services", "ns", {"metadata": {"name": name}, "spec": spec})


def add_pod(world, name: str, ip: str) -> None:
    spec = {"containers": [{"name": "c", "image": "busybox"}]}
    world.registry.create("pods", "ns", {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": spec})
    status = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    world.registry.patch("pods", "ns", name, {"status": status}, subresource="status")


def addresses(world) -> list[str]:
    slices = world.registry.list(SLICES, "ns", labels=f"{SERVICE_LABEL}=s")
    return sorted(a for s in slices for e in s["endpoints"] or () for a in e["addresses"])


@pytest.mark.usefixtures("controllers")
async def test_endpoints_follow_pods_and_services(world, eventually) -> None:
    add_service(world)
    await eventually(lambda: world.get("endpoints", "s") is not None)
    assert "subsets" not in world.get("endpoints", "s")
    add_pod(world, "a", "10.0.0.1")
    add_pod(world, "b", "10.0.0.2")
    await eventually(lambda: addresses(world) == ["10.0.0.1", "10.0.0.2"])
    world.registry.delete("pods", "ns", "a")
    await eventually(lambda: addresses(world) == ["10.0.0.2"])
    [subset] = world.get("endpoints", "s")["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.0.0.2"]
    world.registry.patch("pods", "ns", "b", {"metadata": {"labels": {"app": "other"}}})
    await eventually(lambda: addresses(world) == [])
    world.registry.patch("services", "ns", "s", {"spec": {"selector": {"app": "other"}}})
    await eventually(lambda: addresses(world) == ["10.0.0.2"])
    world.registry.delete("services", "ns", "s")
    await eventually(lambda: not world.registry.list(SLICES, "ns") and world.get("endpoints", "s") is None)


@pytest.mark.usefixtures("controllers")
async def test_what_someone_deletes_or_edits_comes_back(world, eventually) -> None:
    add_service(world)
    add_pod(world, "a", "10.0.0.1")
    await eventually(lambda: addresses(world) == ["10.0.0.1"])
    [slice_] = world.registry.list(SLICES, "ns")
    world.registry.delete(SLICES, "ns", slice_["metadata"]["name"])
    world.registry.delete("endpoints", "ns", "s")
    await eventually(lambda: addresses(world) == ["10.0.0.1"] and world.get("endpoints", "s") is not None)
    world.registry.patch("endpoints", "ns", "s", {"subsets": None})
    await eventually(lambda: "subsets" in world.get("endpoints", "s"))


@pytest.mark.usefixtures("controllers")
async def test_what_others_write_is_left_alone(world, eventually) -> None:
    """A service without a selector, and a slice that somebody else manages."""
    add_service(world, "free", selector=None)
    add_service(world)
    foreign = {
        "metadata": {"name": "mine", "labels": {SERVICE_LABEL: "s", MANAGED_LABEL: "me"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.9.9"]}],
    }
    world.registry.create(SLICES, "ns", foreign)
    await eventually(lambda: len(world.registry.list(SLICES, "ns", labels=f"{SERVICE_LABEL}=s")) == 2)
    assert world.get(SLICES, "mine")["endpoints"][0]["addresses"] == ["10.9.9.9"]
    assert world.get("endpoints", "free") is None

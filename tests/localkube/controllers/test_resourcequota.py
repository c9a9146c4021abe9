"""Quotas while all controllers run: what ends makes room, and Jobs wait for it."""

from typing import Any

import pytest

from localkube.apiserver.status import StatusError
from localkube.controllers.feed import Feed
from localkube.controllers.resourcequota import RESYNC, ResourceQuotaController

Object = dict[str, Any]


def quota(world, **hard: str) -> None:
    world.registry.create("resourcequotas", "ns", {"metadata": {"name": "q"}, "spec": {"hard": hard}})


def used(world) -> Object | None:
    return world.get("resourcequotas", "q")["status"].get("used")


def end(world, name: str, phase: str = "Succeeded") -> None:
    pod = world.get("pods", name)
    status = {**pod["status"], "phase": phase}
    world.registry.update("pods", "ns", {**pod, "status": status}, subresource="status")


def names(world) -> list[str]:
    return [pod["metadata"]["name"] for pod in world.registry.list("pods", "ns")]


@pytest.mark.usefixtures("controllers")
async def test_a_quota_is_counted_when_it_is_made_and_when_it_changes(world, eventually) -> None:
    world.pod("a")
    quota(world, pods="5")
    await eventually(lambda: used(world) == {"pods": "1"})
    world.registry.patch("resourcequotas", "ns", "q", {"spec": {"hard": {"count/pods": "9"}}})
    await eventually(lambda: used(world) == {"pods": "1", "count/pods": "1"})


@pytest.mark.usefixtures("controllers")
async def test_what_ends_and_what_goes_is_subtracted(world, eventually) -> None:
    quota(world, **{"pods": "2", "count/pods": "9", "secrets": "1"})
    world.pod("a")
    world.pod("b")
    world.registry.create("secrets", "ns", {"metadata": {"name": "s"}})
    assert used(world) == {"pods": "2", "count/pods": "2", "secrets": "1"}
    end(world, "a", "Failed")
    await eventually(lambda: used(world) == {"pods": "1", "count/pods": "2", "secrets": "1"})
    world.registry.delete("pods", "ns", "a")
    world.registry.delete("secrets", "ns", "s")
    await eventually(lambda: used(world) == {"pods": "1", "count/pods": "1", "secrets": "0"})


def test_a_pod_that_is_overdue_to_be_gone_makes_room(world) -> None:
    world.pod("a", nodeName="lost")
    quota(world, pods="1")
    controller = ResourceQuotaController(world.registry, Feed(world.registry))
    world.registry.delete("pods", "ns", "a", grace=30)
    assert controller.sync(("ns", "q")) == RESYNC
    assert used(world) == {"pods": "1"}
    world.sleep(RESYNC)
    controller.sync(("ns", "q"))
    assert used(world) == {"pods": "0"}


@pytest.mark.usefixtures("controllers")
async def test_nobody_is_refused_for_what_has_ended_already(world, eventually) -> None:
    quota(world, pods="1")
    await eventually(lambda: used(world) == {"pods": "0"})
    for name in ("a", "b", "c"):
        world.pod(name)
        with pytest.raises(StatusError, match="exceeded quota"):
            world.pod("x")
        # in the same breath: the controller has not looked yet
        end(world, name)
    await eventually(lambda: used(world) == {"pods": "0"})


@pytest.mark.usefixtures("controllers")
async def test_other_namespaces_are_not_counted(world, eventually) -> None:
    world.add_namespace("other")
    quota(world, pods="1")
    spec = {"containers": [{"name": "c", "image": "busybox"}]}
    world.registry.create("pods", "other", {"metadata": {"name": "a"}, "spec": spec})
    world.registry.create("pods", "other", {"metadata": {"name": "b"}, "spec": spec})
    await eventually(lambda: used(world) == {"pods": "0"})


@pytest.mark.usefixtures("controllers")
async def test_a_job_waits_for_room(world, eventually) -> None:
    quota(world, pods="1")
    world.job(parallelism=2, completions=3)
    refused = (await eventually(lambda: world.events("FailedCreate")))[0]
    assert refused.startswith('Error creating: pods "j-')
    assert refused.endswith("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1")
    assert world.get("jobs.batch", "j")["status"]["active"] == 1
    for _ in range(3):
        running = [p for p in world.registry.list("pods", "ns") if p["status"]["phase"] == "Pending"]
        assert len(running) == 1
        end(world, running[0]["metadata"]["name"])
        gone = running[0]["metadata"]["uid"]
        await eventually(
            lambda gone=gone: (
                any(
                    p["metadata"]["uid"] != gone and p["status"]["phase"] == "Pending"
                    for p in world.registry.list("pods", "ns")
                )
                or (world.get("jobs.batch", "j")["status"].get("succeeded") == 3)
            )
        )
    conditions = world.get("jobs.batch", "j")["status"]["conditions"]
    assert "Complete" in [c["type"] for c in conditions]


@pytest.mark.usefixtures("controllers")
async def test_a_job_finds_the_room_that_another_leaves(world, eventually) -> None:
    quota(world, pods="1")
    world.pod("first")
    world.job()
    await eventually(lambda: world.events("FailedCreate"))
    world.registry.delete("pods", "ns", "first")
    await eventually(lambda: len(names(world)) == 1)


@pytest.mark.usefixtures("controllers")
async def test_a_job_whose_pods_are_insecure_says_so_and_goes_on_trying(world, eventually) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    world.registry.patch("namespaces", "", "ns", {"metadata": {"labels": labels}})
    world.job(pod={"hostNetwork": True})
    said = (await eventually(lambda: world.events("FailedCreate")))[0]
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in said
    world.registry.patch(
        "namespaces", "", "ns", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}}
    )
    await eventually(lambda: names(world))

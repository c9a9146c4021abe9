"""Jobs with all controllers running; the pods' ends are reported as a kubelet would."""

from typing import Any

import pytest

from localkube.apiserver.status import StatusError
from localkube.controllers import jobstatus
from localkube.controllers.feed import Feed
from localkube.controllers.job import JobController

Object = dict[str, Any]


def pods(world) -> list[Object]:
    return world.registry.list("pods", "ns")


def end(world, pod: Object, phase: str) -> None:
    pod = world.get("pods", pod["metadata"]["name"])
    status = {**(pod.get("status") or {}), "phase": phase}
    world.registry.update("pods", "ns", {**pod, "status": status}, subresource="status")


def unfinished(world) -> list[Object]:
    return [p for p in pods(world) if p.get("status", {}).get("phase") not in ("Succeeded", "Failed")]


def status(world) -> Object:
    return world.get("jobs.batch", "j").get("status") or {}


@pytest.mark.usefixtures("controllers")
async def test_a_job_runs_to_its_end(world, eventually) -> None:
    world.job(parallelism=2, completions=3)
    for _ in range(3):
        end(world, (await eventually(lambda: unfinished(world)))[0], "Succeeded")
    await eventually(lambda: jobstatus.finished(world.get("jobs.batch", "j")) == "Complete")
    assert status(world)["succeeded"] == 3
    assert len(pods(world)) == 3
    assert all("finalizers" not in pod["metadata"] for pod in pods(world))
    assert len(world.events("SuccessfulCreate")) == 3
    assert world.events("Completed") == ["Job completed"]


@pytest.mark.usefixtures("controllers")
async def test_a_job_fails_after_its_retries(world, eventually) -> None:
    world.job(backoffLimit=1)
    for _ in range(2):
        end(world, (await eventually(lambda: unfinished(world)))[0], "Failed")
    await eventually(lambda: jobstatus.finished(world.get("jobs.batch", "j")) == "Failed")
    assert status(world)["failed"] == 2
    assert [c["type"] for c in status(world)["conditions"]] == ["FailureTarget", "Failed"]
    assert world.events("BackoffLimitExceeded") == ["Job has reached the specified backoff limit"]


@pytest.mark.usefixtures("controllers")
async def test_suspend_and_resume(world, eventually) -> None:
    world.job()
    (pod,) = await eventually(lambda: pods(world))
    world.registry.patch("jobs.batch", "ns", "j", {"spec": {"suspend": True}})
    await eventually(lambda: not pods(world))
    await eventually(lambda: "active" not in status(world))
    assert world.events("SuccessfulDelete") == [f"Deleted pod: {pod['metadata']['name']}"]
    world.registry.patch("jobs.batch", "ns", "j", {"spec": {"suspend": False}})
    await eventually(lambda: status(world).get("active") == 1)
    assert "failed" not in status(world)


@pytest.mark.usefixtures("controllers")
async def test_a_job_managed_by_someone_else_is_left_alone(world, eventually) -> None:
    world.job("mine", managedBy="example.com/queue")
    world.job("j")
    await eventually(lambda: status(world))
    assert len(pods(world)) == 1
    assert "startTime" not in (world.get("jobs.batch", "mine").get("status") or {})


def test_refused_pods_are_told_and_not_counted(world, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(world.registry)
    controller = JobController(world.registry, feed)
    feed.start()
    world.job(parallelism=3, completions=3)
    create = world.registry.create

    def refuse_after_one(key: str, *args: Any, **kwargs: Any) -> Object:
        if key == "pods" and pods(world):
            raise StatusError({"code": 403, "reason": "Forbidden", "message": "exceeded quota"})
        return create(key, *args, **kwargs)

    monkeypatch.setattr(world.registry, "create", refuse_after_one)
    with pytest.raises(StatusError, match="exceeded quota"):
        controller.sync(("ns", "j"))
    assert status(world)["active"] == 1
    assert world.events("FailedCreate") == ["Error creating: exceeded quota"]
    monkeypatch.setattr(world.registry, "create", create)
    controller.sync(("ns", "j"))
    assert status(world)["active"] == 3

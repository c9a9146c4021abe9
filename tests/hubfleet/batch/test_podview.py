"""What is done to read a pod's log, decided from its status."""

from typing import Any

import msgspec
import pytest

from hubfleet.batch import podview
from hubfleet.batch.podview import Follow, InitFailed, Over, Pod, Terminated, Wait, next_step


def pod(
    phase: str = "Pending", *, state: Any = None, last: Any = None, restarts: int = 0, **status: Any
) -> Pod:
    if state is not None:
        one = {"name": "job", "state": state, "lastState": last or {}, "restartCount": restarts}
        status["containerStatuses"] = [one]
    whole = {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": "job"}, {"name": "sidecar"}]},
        "status": {"phase": phase, **status},
    }
    return podview.pod(msgspec.json.encode(whole))


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
DONE = {"terminated": {"exitCode": 0}}
CREATING = {"waiting": {"reason": "ContainerCreating"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}
NO_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
BROKEN = {"terminated": {"exitCode": 3, "reason": "Error"}}
UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}]


@pytest.mark.parametrize(
    ("given", "followed", "step"),
    [
        (None, -1, Over()),
        (None, 0, Over()),
        (pod(), -1, Wait("Pending")),
        (pod(conditions=UNSCHEDULABLE), -1, Wait("not on a node yet: no node")),
        (pod(state=CREATING), -1, Wait("ContainerCreating (its image is pulled, its volumes are mounted)")),
        (pod(state=NO_IMAGE), -1, Wait("its image cannot be pulled: ErrImagePull: not found")),
        (
            pod(state=INITIALIZING, initContainerStatuses=[{"name": "unpack-code", "state": RUNNING}]),
            -1,
            Wait("init container unpack-code is running"),
        ),
        (pod("Running", state=RUNNING), -1, Follow(0, "job")),
        (pod("Running", state=RUNNING), 0, Wait("Running")),
        (pod("Succeeded", state=DONE), -1, Follow(0, "job")),
        (pod("Succeeded", state=DONE), 0, Over()),
        (pod("Running", state=BACK_OFF, last=BROKEN, restarts=1), 0, Wait("CrashLoopBackOff: back-off 10s")),
        (pod("Running", state=RUNNING, last=BROKEN, restarts=2), 0, Follow(2, "job")),
        (
            pod("Failed", reason="Evicted", message="low on memory"),
            -1,
            Over("kbatch: pod p ended: low on memory"),
        ),
        (
            pod("Failed", initContainerStatuses=[{"name": "unpack-code", "state": BROKEN}]),
            -1,
            InitFailed("unpack-code", Terminated(3, "Error")),
        ),
        (
            pod("Pending", initContainerStatuses=[{"name": "unpack-code", "state": BROKEN}]),
            -1,
            Wait("Pending"),
        ),
    ],
)
def test_next_step(given: Pod | None, followed: int, step: Any) -> None:
    assert next_step(given, followed) == step


def test_the_log_of_a_pod_is_that_of_the_container_that_it_names() -> None:
    assert pod().container == "job"
    named = msgspec.to_builtins(pod())
    for annotation, expected in (("sidecar", "sidecar"), ("nosuch", "job")):
        named["metadata"]["annotations"] = {podview.DEFAULT_CONTAINER: annotation}
        assert msgspec.convert(named, Pod).container == expected


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({}, None),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, None),
        ({"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}, "Complete"),
        ({"conditions": [{"type": "Failed", "status": "True"}]}, "Failed"),
        ({"conditions": [{"type": "Failed", "status": "False"}], "failed": 1}, None),
    ],
)
def test_a_job_has_an_end(status: Any, ended: str | None) -> None:
    found = podview.job(msgspec.json.encode({"metadata": {"name": "j"}, "status": status}))
    assert (found.end.type if found.end else None) == ended

"""The status of a pod: phases, conditions and container states as a kubelet reports them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from localkube.kubelet import podstatus, restore, state
from localkube.kubelet.podstatus import View
from localkube.kubelet.state import Container, Run

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
T, N = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def make(inits: int = 0, **spec: Any) -> tuple[dict[str, Any], list[Container]]:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {
            "initContainers": [{"name": f"i{n}", "image": "x"} for n in range(inits)],
            "containers": [{"name": "c", "image": "x"}],
            "restartPolicy": "Never",
            **spec,
        },
    }
    return pod, state.of_pod(pod, 10, 300)


def ended(code: int, run_id: str = "id") -> Run:
    return Run(run_id, THEN, NOW, code, "Error" if code else "Completed")


def conditions(status: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(c["type"], c["status"], c.get("reason", ""), c.get("message", "")) for c in status["conditions"]]


def test_waiting_for_its_first_container() -> None:
    pod, containers = make()
    status = podstatus.build(pod, View(containers, started=THEN), NOW)
    assert (status["phase"], status["startTime"], "podIP" in status) == ("Pending", T, False)
    (container,) = status["containerStatuses"]
    assert container["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (container["ready"], container["started"], container["imageID"]) == (False, False, "")
    unready = "containers with unready status: [c]"
    assert conditions(status) == [
        ("PodReadyToStartContainers", "False", "", ""),
        ("Initialized", "True", "", ""),
        ("Ready", "False", "ContainersNotReady", unready),
        ("ContainersReady", "False", "ContainersNotReady", unready),
    ]


def test_running_and_ready() -> None:
    pod, containers = make()
    containers[0].run = Run("id", THEN)
    containers[0].started = containers[0].ready = True
    status = podstatus.build(pod, View(containers, "10.0.0.2", "10.0.0.1", THEN), NOW)
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.0.0.2", "10.0.0.1")
    assert [c[1] for c in conditions(status)] == ["True"] * 4
    assert status["containerStatuses"][0]["state"] == {"running": {"startedAt": T}}


def test_succeeded() -> None:
    pod, containers = make(inits=1)
    containers[0].run = containers[1].run = ended(0)
    status = podstatus.build(pod, View(containers, "10.0.0.2"), NOW)
    assert status["phase"] == "Succeeded"
    assert conditions(status) == [
        ("PodReadyToStartContainers", "False", "", ""),
        ("Initialized", "True", "PodCompleted", ""),
        ("Ready", "False", "PodCompleted", ""),
        ("ContainersReady", "False", "PodCompleted", ""),
    ]
    assert status["initContainerStatuses"][0]["ready"] is True
    assert status["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": T,
        "finishedAt": N,
        "containerID": "id",
    }


def test_failed_init_container() -> None:
    pod, containers = make(inits=2)
    containers[0].run = ended(7)
    status = podstatus.build(pod, View(containers), NOW)
    assert status["phase"] == "Failed"
    assert conditions(status)[1] == (
        "Initialized",
        "False",
        "ContainersNotInitialized",
        "containers with incomplete status: [i0 i1]",
    )
    assert conditions(status)[2][2] == "PodFailed"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_waiting_between_restarts_shows_the_run_before() -> None:
    pod, containers = make(restartPolicy="Always")
    containers[0].run, containers[0].restarts = ended(1), 3
    containers[0].waiting = ("CrashLoopBackOff", "back-off 40s")
    status = podstatus.build(pod, View(containers, "10.0.0.2"), NOW)
    (container,) = status["containerStatuses"]
    assert status["phase"] == "Running"
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    assert container["lastState"]["terminated"]["exitCode"] == 1
    assert (container["restartCount"], container["containerID"]) == (3, "id")


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", [0, 0], "Succeeded"),
        ("Never", [0, 1], "Failed"),
        ("Never", [0, None], "Running"),
        ("OnFailure", [0, 1], "Running"),
        ("OnFailure", [0, 0], "Succeeded"),
        ("Always", [0, 0], "Running"),
    ],
)
def test_phase_of_two_containers(policy: str, codes: list[int | None], phase: str) -> None:
    pod, containers = make(containers=[{"name": "a"}, {"name": "b"}], restartPolicy=policy)
    for container, code in zip(containers, codes, strict=True):
        container.run = Run("id", THEN) if code is None else ended(code)
    assert podstatus.build(pod, View(containers), NOW)["phase"] == phase


def test_a_sidecar_that_runs_keeps_the_pod_running() -> None:
    pod, containers = make(initContainers=[{"name": "side", "restartPolicy": "Always"}])
    containers[0].run, containers[1].run = Run("side", THEN), ended(0)
    assert podstatus.build(pod, View(containers), NOW)["phase"] == "Running"
    containers[0].run = ended(137)
    assert podstatus.build(pod, View(containers, final=True), NOW)["phase"] == "Succeeded"


def test_a_pod_that_was_stopped_has_ended() -> None:
    pod, containers = make(restartPolicy="Always")
    containers[0].run = ended(143)
    assert podstatus.build(pod, View(containers, final=True), NOW)["phase"] == "Failed"
    containers[0].run = ended(0)
    assert podstatus.build(pod, View(containers, final=True), NOW)["phase"] == "Succeeded"
    status = podstatus.build(pod, View(containers, verdict=("DeadlineExceeded", "late"), final=True), NOW)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "late")


def test_transition_times_change_with_the_status_only_and_foreign_conditions_stay() -> None:
    pod, containers = make(readinessGates=[{"conditionType": "example.com/lb"}])
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": T}
    pod["status"] = {"conditions": [scheduled], "qosClass": "Burstable"}
    containers[0].run = Run("id", THEN)
    containers[0].ready = True
    pod["status"] = podstatus.build(pod, View(containers, "10.0.0.2"), THEN)
    assert pod["status"]["conditions"][2]["reason"] == "ReadinessGatesNotReady"
    containers[0].ready = False
    status = podstatus.build(pod, View(containers, "10.0.0.2"), NOW)
    times = {c["type"]: c["lastTransitionTime"] for c in status["conditions"]}
    assert times == {
        "PodReadyToStartContainers": T,
        "Initialized": T,
        "Ready": T,
        "ContainersReady": N,
        "PodScheduled": T,
    }
    assert status["qosClass"] == "Burstable"
    assert status["conditions"][-1] == scheduled


def test_what_was_running_before_a_restart_is_lost_and_the_rest_is_remembered() -> None:
    pod, containers = make(inits=1, containers=[{"name": "a"}, {"name": "b"}, {"name": "w"}])
    for number, container in enumerate(containers[:3]):
        container.run, container.restarts = Run(f"run{number}", THEN), number
    containers[0].run = ended(0, "init")
    containers[2].run, containers[2].last = ended(3, "b2"), ended(4, "b1")
    pod["status"] = podstatus.build(pod, View(containers, "10.0.0.2"), THEN)
    fresh = state.of_pod(pod, 10, 300)
    restore.restore(pod, fresh, NOW, 5.0)
    lost, kept = fresh[1].run, fresh[2]
    assert fresh[0].succeeded
    assert lost is not None
    assert (lost.exit_code, lost.reason, lost.started, lost.finished) == (255, "Unknown", THEN, NOW)
    assert (kept.restarts, kept.run and kept.run.exit_code, kept.last and kept.last.exit_code) == (2, 3, 4)
    assert fresh[3].run is None

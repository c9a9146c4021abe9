"""What a kubelet that starts again knows of a pod it ran before: read back from the pod's status. Pure.

Containers do not outlive localkube, so what is written down as running is lost. It is reported as a node's
reboot is: exit code 255, reason Unknown; the restart policy decides about the rest.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from localkube.kubelet.state import Container, Run

LOST = 255


def restore(pod: dict[str, Any], containers: Sequence[Container], now: datetime, clock: float) -> None:
    """Fill in the containers of a pod from its status; `clock` is now on the monotonic clock."""
    observed = pod.get("status") or {}
    found = {
        entry["name"]: entry
        for field in ("initContainerStatuses", "containerStatuses")
        for entry in observed.get(field) or ()
    }
    for container in containers:
        entry = found.get(container.name)
        if entry is None:
            continue
        container.restarts = int(entry.get("restartCount") or 0)
        state = entry.get("state") or {}
        last = _run((entry.get("lastState") or {}).get("terminated"), clock)
        if "running" in state:
            container.run = Run(
                str(entry.get("containerID") or ""),
                datetime.fromisoformat(state["running"]["startedAt"]),
                now,
                LOST,
                "Unknown",
                finished_clock=clock,
            )
            container.last = last
        elif "terminated" in state:
            container.run = _run(state["terminated"], clock)
            container.last = last
        else:
            container.run = last
        if container.kind == "sidecar":
            container.started = False


def _run(terminated: dict[str, Any] | None, clock: float) -> Run | None:
    if not terminated:
        return None
    return Run(
        str(terminated.get("containerID") or ""),
        datetime.fromisoformat(terminated["startedAt"]),
        datetime.fromisoformat(terminated["finishedAt"]),
        int(terminated.get("exitCode") or 0),
        str(terminated.get("reason") or ""),
        str(terminated.get("message") or ""),
        clock,
    )

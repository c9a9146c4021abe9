"""The `status` of a pod from what is known of its containers, worded and ordered as the kubelet's. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from localkube.apiserver.deletion import timestamp
from localkube.kubelet import lifecycle
from localkube.kubelet.securitycontext import ConfigFailed, identity
from localkube.kubelet.state import Container, Run

_EPOCH = datetime.fromtimestamp(0, UTC)
_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


class View(NamedTuple):
    """What the status is made of, besides the pod and its containers."""

    containers: Sequence[Container]
    ip: str = ""
    """Address of the pod, empty as long as it has none."""
    host_ip: str = ""
    started: datetime | None = None
    """When the kubelet first saw the pod."""
    verdict: tuple[str, str] | None = None
    """Reason and message of a failure that is the pod's own, such as DeadlineExceeded."""
    final: bool = False
    """Whether nothing of the pod runs or will ever run again: it was stopped or has finished."""


def build(pod: dict[str, Any], view: View, now: datetime) -> dict[str, Any]:
    """The whole status; what others wrote (qosClass, their conditions) is kept from `pod`."""
    old = pod.get("status") or {}
    policy = pod["spec"].get("restartPolicy") or "Always"
    phase = compute_phase(view, policy, old.get("phase", ""))
    status: dict[str, Any] = {
        k: v for k, v in old.items() if k not in ("reason", "message", "conditions", "containerStatuses")
    }
    status["phase"] = phase
    if view.verdict and phase == "Failed":
        status["reason"], status["message"] = view.verdict
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    status["conditions"] = conditions(pod, view, phase, now)
    if view.host_ip:
        status["hostIP"] = view.host_ip
        status["hostIPs"] = [{"ip": view.host_ip}]
    if view.ip:
        status["podIP"] = view.ip
        status["podIPs"] = [{"ip": view.ip}]
    if view.started is not None:
        status.setdefault("startTime", timestamp(view.started))
    inits = [c for c in view.containers if c.kind != "main"]
    mains = [c for c in view.containers if c.kind == "main"]
    creating = "PodInitializing" if inits else "ContainerCreating"
    over = phase in ("Succeeded", "Failed")
    if inits:
        status["initContainerStatuses"] = [_container(pod, c, creating, policy, over) for c in inits]
    status["containerStatuses"] = [_container(pod, c, creating, policy, over) for c in mains]
    return status


def compute_phase(view: View, policy: str, old: str) -> str:
    """The kubelet's getPhase; a pod that has ended stays ended, and one that was stopped has ended."""
    if old in ("Succeeded", "Failed"):
        return old
    containers = view.containers
    mains = [c for c in containers if c.kind == "main"]
    if view.final:
        return "Succeeded" if not view.verdict and all(c.succeeded for c in mains) else "Failed"
    begun = any(c.run is not None for c in mains)
    for container in containers:
        if container.kind == "init" and not begun and not container.succeeded:
            return "Failed" if container.ended and policy == "Never" else "Pending"
        if container.kind == "sidecar" and not begun and not container.started:
            return "Pending"
    if any(c.run is None for c in mains):
        return "Pending"
    # a sidecar that is still being stopped keeps the pod from having ended
    if any(c.running for c in containers) or any(lifecycle.restarts(c, policy) for c in mains):
        return "Running"
    return "Succeeded" if all(c.succeeded for c in mains) else "Failed"


def conditions(pod: dict[str, Any], view: View, phase: str, now: datetime) -> list[dict[str, Any]]:
    """The kubelet's conditions in its order; then what others set, in theirs."""
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    generation = pod["metadata"].get("generation")
    over = phase in ("Succeeded", "Failed")
    sandbox = bool(view.ip) and not over
    ready = _ready(pod, view, phase)
    found = {
        "PodReadyToStartContainers": (sandbox, "", ""),
        "Initialized": _initialized(view, phase),
        "Ready": _gates(pod, ready, before),
        "ContainersReady": ready,
    }
    result = []
    for name in _OWN:
        value, reason, message = found[name]
        condition: dict[str, Any] = {"type": name}
        if generation is not None:
            condition["observedGeneration"] = generation
        condition["status"] = "True" if value else "False"
        condition["lastProbeTime"] = None
        same = name in before and before[name]["status"] == condition["status"]
        condition["lastTransitionTime"] = before[name]["lastTransitionTime"] if same else timestamp(now)
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        result.append(condition)
    return result + [c for name, c in before.items() if name not in _OWN]


Finding = tuple[bool, str, str]


def _initialized(view: View, phase: str) -> Finding:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    if any(c.run is not None for c in view.containers if c.kind == "main"):
        return True, "", ""
    names = [
        c.name
        for c in view.containers
        if (c.kind == "init" and not c.succeeded) or (c.kind == "sidecar" and not c.started)
    ]
    if names:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]"
    return True, "", ""


def _ready(pod: dict[str, Any], view: View, phase: str) -> Finding:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    names = [c.name for c in view.containers if c.kind != "init" and not (c.running and c.ready)]
    if names:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(names)}]"
    return True, "", ""


def _gates(pod: dict[str, Any], ready: Finding, before: dict[str, dict[str, Any]]) -> Finding:
    """Readiness gates: conditions that others set and that have to be true too."""
    if not ready[0]:
        return ready
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    missing = [gate for gate in gates if gate not in before]
    false = [gate for gate in gates if gate in before and before[gate]["status"] != "True"]
    parts = [f'corresponding condition of pod readiness gate "{gate}" does not exist.' for gate in missing]
    parts += [
        f'the status of pod readiness gate "{gate}" is not "True", but {before[gate]["status"]}'
        for gate in false
    ]
    return (False, "ReadinessGatesNotReady", ", ".join(parts)) if parts else ready


def _container(
    pod: dict[str, Any], container: Container, creating: str, policy: str, over: bool
) -> dict[str, Any]:
    run = container.run
    status: dict[str, Any] = {"name": container.name}
    last = container.last
    if run is None:
        reason, message = container.waiting or (creating, "")
        status["state"] = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    elif run.running:
        assert run.started is not None
        status["state"] = {"running": {"startedAt": timestamp(run.started)}}
    elif container.waiting is not None and not over and lifecycle.restarts(container, policy):
        reason, message = container.waiting
        status["state"] = {"waiting": {"reason": reason, "message": message}}
        last = run
    else:
        status["state"] = {"terminated": _terminated(run)}
    status["lastState"] = {"terminated": _terminated(last)} if last is not None else {}
    status["ready"] = (
        container.succeeded if container.kind == "init" else container.running and container.ready
    )
    status["restartCount"] = container.restarts
    status["image"] = container.spec.get("image", "")
    status["imageID"] = "" if run is None else image_id(container.spec.get("image", ""))
    if run is not None:
        status["containerID"] = run.container_id
    status["started"] = container.running and container.started
    if resources := container.spec.get("resources"):
        if requests := resources.get("requests"):
            status["allocatedResources"] = requests
        status["resources"] = resources
    mounts = container.spec.get("volumeMounts")
    if mounts:
        status["volumeMounts"] = [_mount(mount) for mount in mounts]
    if run is not None:
        try:
            who = identity(pod, container.spec)
        except ConfigFailed:
            return status
        groups = [who.gid, *who.groups]
        status["user"] = {"linux": {"uid": who.uid, "gid": who.gid, "supplementalGroups": groups}}
    return status


def image_id(image: str) -> str:
    """What stands for the image: there are none, every container sees the host's root file system."""
    return f"localkube://host/{image}"


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    shown = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown |= {"readOnly": True, "recursiveReadOnly": mount.get("recursiveReadOnly") or "Disabled"}
    return shown


def _terminated(run: Run) -> dict[str, Any]:
    assert run.finished is not None
    shown: dict[str, Any] = {"exitCode": run.exit_code, "reason": run.reason}
    if run.message:
        shown["message"] = run.message
    shown["startedAt"] = timestamp(run.started or _EPOCH)
    shown["finishedAt"] = timestamp(run.finished)
    shown["containerID"] = run.container_id
    return shown

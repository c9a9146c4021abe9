"""What stands behind a service: which pods, at which ports, and whether they are ready (pure)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

Object = dict[str, Any]


class Port(NamedTuple):
    """A port of a service as a pod offers it: `number` is None where the pod has no port of that name."""

    name: str
    number: int
    protocol: str
    app_protocol: str | None


class Backend(NamedTuple):
    """A pod behind a service. `serving` is whether it is ready, also while it ends."""

    pod: Object
    ip: str
    ports: tuple[Port, ...]
    ready: bool
    serving: bool
    terminating: bool


def selects(service: Object, labels: dict[str, str] | None) -> bool:
    """Whether a service with a selector is about what has these labels."""
    selector = service["spec"].get("selector")
    if not selector or service["spec"].get("type") == "ExternalName":
        return False
    return bool(selector.items() <= (labels or {}).items())


def backends(service: Object, pods: Iterable[Object]) -> list[Backend]:
    """The pods behind a service that have an address and have not ended, by their names."""
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        ip = status.get("podIP")
        if not ip or status.get("phase") in ("Failed", "Succeeded"):
            continue
        if not selects(service, pod["metadata"].get("labels")):
            continue
        serving = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        terminating = "deletionTimestamp" in pod["metadata"]
        published = bool(service["spec"].get("publishNotReadyAddresses"))
        ready = published or (serving and not terminating)
        found.append(Backend(pod, ip, _ports(service, pod), ready, serving, terminating))
    return sorted(found, key=lambda backend: str(backend.pod["metadata"]["name"]))


def _ports(service: Object, pod: Object) -> tuple[Port, ...]:
    found = []
    for port in service["spec"].get("ports") or ():
        number = _number(port, pod)
        if number is not None:
            found.append(Port(port.get("name", ""), number, port["protocol"], port.get("appProtocol")))
    return tuple(found)


def _number(port: Object, pod: Object) -> int | None:
    """The number behind a target port, which may be the name that a container gives to one of its ports."""
    target = port["targetPort"]
    if isinstance(target, int):
        return target
    containers = [*(pod["spec"].get("containers") or ()), *_sidecars(pod)]
    for container in containers:
        for declared in container.get("ports") or ():
            if declared.get("name") == target and declared.get("protocol", "TCP") == port["protocol"]:
                return int(declared["containerPort"])
    return None


def _sidecars(pod: Object) -> list[Object]:
    return [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]


def hostname(service: Object, pod: Object) -> str | None:
    """The name that a pod has in the domain of its headless service."""
    spec = pod["spec"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        return str(spec["hostname"])
    return None


def reference(pod: Object) -> Object:
    """The pod as endpoints refer to it."""
    metadata = pod["metadata"]
    return {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }

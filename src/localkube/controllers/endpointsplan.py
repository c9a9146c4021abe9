"""What the Endpoints and EndpointSlices of a service have to say (pure)."""

from typing import Any, NamedTuple

from localkube.apiserver.services import is_headless
from localkube.controllers.backends import Backend, Port, hostname, reference
from localkube.controllers.owners import controller_reference

Object = dict[str, Any]

SLICE_MOST = 100
"""Endpoints in one slice (max-endpoints-per-slice)."""
ENDPOINTS_MOST = 1000
"""Addresses in an Endpoints object; what is more is left out, and said so."""
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
_ENDPOINTS_LABEL = "endpoints.kubernetes.io/managed-by"
_ENDPOINTS_MANAGER = "endpoint-controller"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


class Slices(NamedTuple):
    """What is to be done with the slices of a service."""

    create: list[Object]
    update: list[Object]
    delete: list[Object]


def endpoints(service: Object, found: list[Backend]) -> Object:
    """The Endpoints of a service: its pods grouped by the ports that they offer."""
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), _ENDPOINTS_LABEL: _ENDPOINTS_MANAGER}
    if is_headless(service["spec"]):
        labels[HEADLESS_LABEL] = ""
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    there = [b for b in found if (published or not b.terminating) and (b.ports or not _has_ports(service))]
    meta: Object = {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels}
    if len(there) > ENDPOINTS_MOST:
        there = sorted(there, key=lambda b: not b.ready)[:ENDPOINTS_MOST]
        meta["annotations"] = {_OVER_CAPACITY: "truncated"}
    result: Object = {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta}
    subsets = []
    for ports, group in sorted(_by_ports(there).items()):
        subset: Object = {}
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            addresses = [_address(service, b) for b in group if b.ready is ready]
            if addresses:
                subset[name] = sorted(addresses, key=lambda a: str(a["ip"]))
        if ports:
            subset["ports"] = [_endpoints_port(port) for port in ports]
        subsets.append(subset)
    if subsets:
        result["subsets"] = subsets
    return result


def slices(service: Object, found: list[Backend], existing: list[Object]) -> Slices:
    """What makes the slices that exist those of the service: one group of ports each, filled up in order."""
    groups: dict[tuple[Port, ...], list[Object]] = {
        ports: [_endpoint(service, b) for b in group] for ports, group in _by_ports(found).items()
    }
    if not groups:
        groups = {(): []}
    plan = Slices([], [], [])
    left = list(existing)
    for ports, wanted in sorted(groups.items()):
        shown = [_slice_port(port) for port in ports]
        mine = [s for s in left if (s.get("ports") or []) == shown and s["addressType"] == "IPv4"]
        left = [s for s in left if not any(s is m for m in mine)]
        chunks = _chunks(wanted, mine)
        for old, endpoints in chunks:
            if old is None:
                plan.create.append(_new(service, endpoints, shown))
            elif not endpoints and (wanted or old is not mine[0]):
                plan.delete.append(old)
            else:
                new = _changed(service, old, endpoints)
                if new != old:
                    plan.update.append(new)
    plan.delete.extend(left)
    return plan


def _chunks(wanted: list[Object], mine: list[Object]) -> list[tuple[Object | None, list[Object]]]:
    """(slice or None for a new one, its endpoints): who has a place keeps it, so that few slices change."""
    rest = {endpoint["targetRef"]["uid"]: endpoint for endpoint in wanted}
    chunks: list[tuple[Object | None, list[Object]]] = []
    for old in mine:
        uids = [(e.get("targetRef") or {}).get("uid") for e in old.get("endpoints") or ()]
        chunks.append((old, [rest.pop(uid) for uid in uids if uid in rest]))
    new = list(rest.values())
    for _, endpoints in chunks:
        room = SLICE_MOST - len(endpoints)
        endpoints += new[:room]
        new = new[room:]
    while new or not chunks:
        chunks.append((None, new[:SLICE_MOST]))
        new = new[SLICE_MOST:]
    return chunks


def _has_ports(service: Object) -> bool:
    return bool(service["spec"].get("ports"))


def _by_ports(found: list[Backend]) -> dict[tuple[Port, ...], list[Backend]]:
    groups: dict[tuple[Port, ...], list[Backend]] = {}
    for backend in found:
        groups.setdefault(backend.ports, []).append(backend)
    return groups


def _address(service: Object, backend: Backend) -> Object:
    address: Object = {"ip": backend.ip}
    if name := hostname(service, backend.pod):
        address["hostname"] = name
    if node := backend.pod["spec"].get("nodeName"):
        address["nodeName"] = node
    address["targetRef"] = reference(backend.pod)
    return address


def _endpoint(service: Object, backend: Backend) -> Object:
    endpoint: Object = {
        "addresses": [backend.ip],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
    }
    if name := hostname(service, backend.pod):
        endpoint["hostname"] = name
    endpoint["targetRef"] = reference(backend.pod)
    if node := backend.pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node
    return endpoint


def _endpoints_port(port: Port) -> Object:
    shown: Object = {"name": port.name} if port.name else {}
    shown |= {"port": port.number, "protocol": port.protocol}
    return shown | ({"appProtocol": port.app_protocol} if port.app_protocol else {})


def _slice_port(port: Port) -> Object:
    shown: Object = {"name": port.name, "protocol": port.protocol, "port": port.number}
    return shown | ({"appProtocol": port.app_protocol} if port.app_protocol else {})


def _labels(service: Object) -> dict[str, str]:
    """The labels of the service, and those by which its slices are found."""
    labels = dict(service["metadata"].get("labels") or {})
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service["spec"]):
        labels[HEADLESS_LABEL] = ""
    return {**labels, MANAGED_LABEL: MANAGED_BY, SERVICE_LABEL: service["metadata"]["name"]}


def _new(service: Object, endpoints: list[Object], ports: list[Object]) -> Object:
    metadata = service["metadata"]
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": _labels(service),
            "ownerReferences": [controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints or None,
        "ports": ports or None,
    }


def _changed(service: Object, old: Object, endpoints: list[Object]) -> Object:
    metadata = {**old["metadata"], "labels": _labels(service)}
    return {**old, "metadata": metadata, "endpoints": endpoints or None}

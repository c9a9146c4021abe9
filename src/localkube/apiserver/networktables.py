"""Tables of services, endpoints and ingresses."""

from datetime import datetime
from typing import Any

from localkube.apiserver.columns import AGE, NAME, Column, Obj, read, text

_SHOWN = 3
"""Endpoints that are shown before the rest is counted."""


def _selector(service: Obj, now: datetime) -> str:
    labels = read(service, "spec", "selector") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>"


def _external(service: Obj, now: datetime) -> str:
    spec = service.get("spec") or {}
    external = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or "")
        case "LoadBalancer":
            granted = _ingress_addresses(service)
            shown = [*granted, *external]
            return ",".join(shown) if shown else "<pending>"
    return ",".join(external) or "<none>"


def _ingress_addresses(obj: Obj) -> list[str]:
    ingress = read(obj, "status", "loadBalancer", "ingress") or ()
    return [i.get("ip") or i.get("hostname") or "" for i in ingress]


def _service_ports(service: Obj, now: datetime) -> str:
    shown = []
    for port in read(service, "spec", "ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port['protocol']}")
    return ",".join(shown) or "<none>"


def _listed(found: list[str], total: int) -> str:
    if not found:
        return "<none>"
    return ",".join(found) + (f" + {total - len(found)} more..." if total > len(found) else "")


def _endpoints(endpoints: Obj, now: datetime) -> str:
    found: list[str] = []
    total = 0
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or [None]:
            for address in subset.get("addresses") or ():
                total += 1
                if len(found) < _SHOWN:
                    ip = f"[{address['ip']}]" if ":" in address["ip"] and port else address["ip"]
                    found.append(f"{ip}:{port['port']}" if port else ip)
    return _listed(found, total)


def _slice_ports(endpoint_slice: Obj, now: datetime) -> str:
    ports = [str(port.get("port", "*")) for port in endpoint_slice.get("ports") or ()]
    return _listed(ports[:_SHOWN], len(ports)) if ports else "<unset>"


def _slice_endpoints(endpoint_slice: Obj, now: datetime) -> str:
    addresses = [a for e in endpoint_slice.get("endpoints") or () for a in e.get("addresses") or ()]
    return _listed(addresses[:_SHOWN], len(addresses)) if addresses else "<unset>"


def _hosts(ingress: Obj, now: datetime) -> str:
    hosts = list(dict.fromkeys(r["host"] for r in read(ingress, "spec", "rules") or () if r.get("host")))
    if not hosts:
        return "*"
    shown = ",".join(hosts[:_SHOWN])
    return shown + (f" + {len(hosts) - _SHOWN} more..." if len(hosts) > _SHOWN else "")


def _address(ingress: Obj, now: datetime) -> str:
    return ",".join(_ingress_addresses(ingress))


def _ingress_ports(ingress: Obj, now: datetime) -> str:
    return "80, 443" if read(ingress, "spec", "tls") else "80"


def _parameters(ingress_class: Obj, now: datetime) -> Any:
    parameters = read(ingress_class, "spec", "parameters")
    if not parameters:
        return "<none>"
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
    return f"{parameters.get('kind')}{group}/{parameters.get('name')}"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "services": (
        NAME,
        Column("Type", text("spec", "type")),
        Column("Cluster-IP", text("spec", "clusterIP", otherwise="<none>")),
        Column("External-IP", _external),
        Column("Port(s)", _service_ports),
        AGE,
        Column("Selector", _selector, priority=1),
    ),
    "endpoints": (NAME, Column("Endpoints", _endpoints), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        Column("AddressType", text("addressType")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_endpoints),
        AGE,
    ),
    "ingresses.networking.k8s.io": (
        NAME,
        Column("Class", text("spec", "ingressClassName", otherwise="<none>")),
        Column("Hosts", _hosts),
        Column("Address", _address),
        Column("Ports", _ingress_ports),
        AGE,
    ),
    "ingressclasses.networking.k8s.io": (
        NAME,
        Column("Controller", text("spec", "controller")),
        Column("Parameters", _parameters),
        AGE,
    ),
}

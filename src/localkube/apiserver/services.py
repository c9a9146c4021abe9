"""Services: the fields that follow from others, before anything is checked or given away (pure)."""

from typing import Any

Object = dict[str, Any]

KEY = "services"
_NONE = "None"
_FAMILIES = ("IPv4", "IPv6")


def is_headless(spec: Object) -> bool:
    return bool(spec.get("clusterIP") == _NONE)


def needs_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName" and not is_headless(spec)


def needs_node_ports(spec: Object) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def prepare(new: Object, old: Object | None) -> None:
    """Make clusterIP and clusterIPs agree, and let go of what the type has no use for.

    In place, before validation. What `old` was given stays.
    """
    spec = new["spec"]
    before = old["spec"] if old is not None else {}
    if spec.get("type") == "ExternalName":
        if before and before.get("type") != "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(name, None)
        return
    if before:
        _drop_node_ports(spec, before)
        if not spec.get("clusterIP") and not spec.get("clusterIPs") and before.get("clusterIP"):
            spec["clusterIP"], spec["clusterIPs"] = before["clusterIP"], before["clusterIPs"]
        _carry_node_ports(spec, before)
    ip, ips = spec.get("clusterIP"), spec.get("clusterIPs")
    if ip and (not ips or (before.get("clusterIPs") == ips and before.get("clusterIP") != ip)):
        spec["clusterIPs"] = [ip]
    _families(spec)


def _families(spec: Object) -> None:
    if is_headless(spec) and not spec.get("selector"):
        # whoever writes the endpoints of such a service may use what they like
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
        spec.setdefault("ipFamilies", list(_FAMILIES))
        return
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    spec.setdefault("ipFamilies", ["IPv4"])


def _drop_node_ports(spec: Object, before: Object) -> None:
    """A service that no longer has node ports loses those that a client sends back as it read them."""
    if needs_node_ports(before) and spec.get("type") == "ClusterIP":
        held = {port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in held:
                port.pop("nodePort", None)
        if spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
            spec.pop("externalTrafficPolicy", None)


def _carry_node_ports(spec: Object, before: Object) -> None:
    if not (needs_node_ports(spec) and needs_node_ports(before)):
        return
    held = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        node_port = held.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and node_port:
            port["nodePort"] = node_port

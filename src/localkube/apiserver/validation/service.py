"""Services: ports, addresses, and what goes with which type."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from localkube.apiserver.services import is_headless
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names
from localkube.apiserver.validation.causes import (
    duplicate,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
)

Object = dict[str, Any]

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES = ("Cluster", "Local")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_AFFINITY_LIMIT = 86400
_LINK_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))
_KUBELET_PORT = 10250
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def service_name(value: str, prefix: bool) -> list[str]:
    unfinished = value[:-2] + "a" if prefix and len(value) > 1 and value.endswith("-") else value
    return names.dns_label_1035(unfinished)


def service(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True, service_name) + _spec(obj["spec"])


def service_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    before, after = old["spec"], new["spec"]
    if before.get("type") != "ExternalName" and after.get("type") != "ExternalName":
        held, ips = before.get("clusterIPs") or [], after.get("clusterIPs") or []
        if held and ips and held[0] != ips[0]:
            errors.append(invalid("spec.clusterIPs[0]", ips, "may not change once set"))
        elif held and not ips:
            errors.append(invalid("spec.clusterIPs[0]", ips, "primary clusterIP can not be unset"))
    if before.get("type") == after.get("type") == "LoadBalancer":
        name = "loadBalancerClass"
        if before.get(name) != after.get(name):
            errors.append(invalid(f"spec.{name}", after.get(name), "may not change once set"))
    return errors + _spec(after)


def service_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    ingress = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if ingress and new["spec"].get("type") != "LoadBalancer":
        detail = "may only be used when `spec.type` is 'LoadBalancer'"
        errors.append(forbidden("status.loadBalancer.ingress", detail))
    for i, item in enumerate(ingress):
        path = index("status.loadBalancer.ingress", i)
        if item.get("ip"):
            errors += [invalid(f"{path}.ip", item["ip"], m) for m in names.ip_address(item["ip"])]
        if item.get("hostname"):
            errors += [
                invalid(f"{path}.hostname", item["hostname"], m)
                for m in names.dns_subdomain(item["hostname"])
            ]
    return errors


def _spec(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, ports = spec.get("type") or "", spec.get("ports") or []
    headless = is_headless(spec)
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    match kind:
        case "LoadBalancer":
            for i, port in enumerate(ports):
                if port.get("port") == _KUBELET_PORT:
                    detail = "may not expose port 10250 externally since it is used by kubelet"
                    errors.append(invalid(f"{index('spec.ports', i)}.port", _KUBELET_PORT, detail))
            if headless:
                detail = "may not be set to 'None' for LoadBalancer services"
                errors.append(invalid("spec.clusterIPs[0]", "None", detail))
        case "NodePort":
            if headless:
                detail = "may not be set to 'None' for NodePort services"
                errors.append(invalid("spec.clusterIPs[0]", "None", detail))
        case "ExternalName":
            errors += _external_name(spec)
    errors += _ports(ports, named=len(ports) > 1)
    errors += metadata.validate_labels(spec.get("selector"), "spec.selector")
    errors += _affinity(spec)
    if kind != "ExternalName":
        errors += _addresses(spec)
    for i, text in enumerate(spec.get("externalIPs") or ()):
        errors += _external_ip(text, index("spec.externalIPs", i))
    if not kind:
        errors.append(required("spec.type"))
    elif kind not in _TYPES:
        errors.append(not_supported("spec.type", kind, _TYPES))
    if kind == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                detail = "may not be used when `type` is 'ClusterIP'"
                errors.append(forbidden(f"{index('spec.ports', i)}.nodePort", detail))
    return errors + _node_ports(ports) + _repeated(ports) + _of_load_balancers(spec) + _policies(spec)


def _external_name(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(name):
            errors.append(forbidden(f"spec.{name}", "may not be set for ExternalName services"))
    if not spec.get("externalName"):
        return [*errors, required("spec.externalName")]
    host = spec["externalName"].removesuffix(".")
    return errors + [invalid("spec.externalName", spec["externalName"], m) for m in names.dns_subdomain(host)]


def _ports(ports: list[Object], *, named: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = index("spec.ports", i), port.get("name") or ""
        if named and not name:
            errors.append(required(f"{path}.name"))
        elif name:
            errors += [invalid(f"{path}.name", name, m) for m in names.dns_label(name)]
            if name in seen:
                errors.append(duplicate(f"{path}.name", name))
            seen.add(name)
        number = port.get("port", 0)
        errors += [invalid(f"{path}.port", number, m) for m in names.port_number(number)]
        protocol = port.get("protocol") or ""
        if not protocol:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
        target = port.get("targetPort")
        if target is not None:
            check: Iterable[str]
            check = names.port_name(target) if isinstance(target, str) else names.port_number(target)
            errors += [invalid(f"{path}.targetPort", target, m) for m in check]
        if port.get("appProtocol"):
            value = port["appProtocol"]
            errors += [invalid(f"{path}.appProtocol", value, m) for m in names.label_key(value)]
    return errors


def _affinity(spec: Object) -> list[FieldError]:
    affinity = spec.get("sessionAffinity") or ""
    if not affinity:
        return [required("spec.sessionAffinity")]
    if affinity not in ("ClientIP", "None"):
        return [not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    config = spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if affinity == "None":
        if config:
            detail = "must not be set when session affinity is None"
            return [forbidden(path, detail)]
        return []
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= _AFFINITY_LIMIT:
        detail = f"must be greater than 0 and less than {_AFFINITY_LIMIT}"
        return [invalid(f"{path}.clientIP.timeoutSeconds", seconds, detail)]
    return []


def _addresses(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    ip, ips = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if ips and not ip:
        errors.append(required("spec.clusterIP", "must be set when `clusterIPs` is specified"))
    if ips and ip and ips[0] != ip:
        errors.append(invalid("spec.clusterIPs", ips, "first value must match `clusterIP`"))
    for i, text in enumerate(ips):
        path = index("spec.clusterIPs", i)
        if text == "None":
            if len(ips) > 1:
                detail = "'None' must be the first and only value" if i else "'None' must be the only value"
                errors.append(invalid(path, text, detail))
            continue
        errors += [invalid(path, text, m) for m in names.ip_address(text)]
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    foreign = is_headless(spec) and not spec.get("selector")
    for i, family in enumerate(families):
        path = index("spec.ipFamilies", i)
        if family not in _FAMILIES:
            errors.append(not_supported(path, family, _FAMILIES))
        elif family != "IPv4" and not foreign:
            errors.append(invalid(path, family, "not configured on this cluster"))
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    elif policy == "RequireDualStack" and not foreign:
        detail = "this cluster is not configured for dual-stack services"
        errors.append(invalid("spec.ipFamilyPolicy", policy, detail))
    return errors


def _external_ip(text: str, path: str) -> list[FieldError]:
    errors = [invalid(path, text, m) for m in names.ip_address(text)]
    return errors or non_special_ip(text, path)


def non_special_ip(text: str, path: str) -> list[FieldError]:
    """An address that may lead somewhere else: not this machine's own, not one of its link."""
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        return [invalid(path, text, f"may not be unspecified ({text})")]
    if address.is_loopback:
        return [invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if address.is_link_local:
        return [invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    if any(address in block for block in _LINK_MULTICAST):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        return [invalid(path, text, detail)]
    return []


def _node_ports(ports: list[Object]) -> list[FieldError]:
    seen: set[tuple[Any, int]] = set()
    errors = []
    for i, port in enumerate(ports):
        number = port.get("nodePort")
        if not number:
            continue
        if (port.get("protocol"), number) in seen:
            errors.append(duplicate(f"{index('spec.ports', i)}.nodePort", number))
        seen.add((port.get("protocol"), number))
    return errors


def _repeated(ports: list[Object]) -> list[FieldError]:
    seen: set[tuple[Any, Any]] = set()
    errors = []
    for i, port in enumerate(ports):
        pair = (port.get("protocol"), port.get("port"))
        if pair in seen:
            shown = {
                "Name": "",
                "Protocol": pair[0],
                "AppProtocol": None,
                "Port": pair[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            errors.append(duplicate(index("spec.ports", i), shown))
        seen.add(pair)
    return errors


def _of_load_balancers(spec: Object) -> list[FieldError]:
    if spec.get("type") == "LoadBalancer":
        return []
    errors = []
    for name in ("loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(name) not in (None, []):
            errors.append(forbidden(f"spec.{name}", "may only be used when `type` is 'LoadBalancer'"))
    return errors


def _policies(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    kind = spec.get("type")
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    reachable = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external and not reachable:
        detail = "may only be set for externally-accessible services"
        errors.append(invalid("spec.externalTrafficPolicy", external, detail))
    elif external and external not in _POLICIES:
        errors.append(not_supported("spec.externalTrafficPolicy", external, _POLICIES))
    if spec.get("healthCheckNodePort") and not (kind == "LoadBalancer" and external == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], detail))
    if internal and internal not in _POLICIES:
        errors.append(not_supported("spec.internalTrafficPolicy", internal, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution and distribution not in _DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return errors

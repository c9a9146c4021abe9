"""EndpointSlices: some of the addresses behind a service, all of one family."""

import ipaddress
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names
from localkube.apiserver.validation.causes import (
    duplicate,
    immutable,
    index,
    invalid,
    not_supported,
    required,
    too_many,
)
from localkube.apiserver.validation.service import PROTOCOLS, non_special_ip

Object = dict[str, Any]

_TYPES = ("FQDN", "IPv4", "IPv6")
_ADDRESSES, _PORTS, _ENDPOINTS = 100, 20000, 1000


def endpoint_slice(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    kind = obj.get("addressType") or ""
    if not kind:
        errors.append(required("addressType"))
    elif kind not in _TYPES:
        errors.append(not_supported("addressType", kind, _TYPES))
    return errors + _endpoints(obj.get("endpoints") or [], kind) + _ports(obj.get("ports") or [])


def endpoint_slice_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    errors += _endpoints(new.get("endpoints") or [], new.get("addressType") or "")
    errors += _ports(new.get("ports") or [])
    return errors + immutable("addressType", new.get("addressType"), old.get("addressType"))


def _endpoints(endpoints: list[Object], kind: str) -> list[FieldError]:
    if len(endpoints) > _ENDPOINTS:
        return [too_many("endpoints", len(endpoints), _ENDPOINTS)]
    errors: list[FieldError] = []
    for i, endpoint in enumerate(endpoints):
        path = index("endpoints", i)
        addresses = endpoint.get("addresses") or []
        if not addresses:
            errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
        elif len(addresses) > _ADDRESSES:
            errors.append(too_many(f"{path}.addresses", len(addresses), _ADDRESSES))
        for j, address in enumerate(addresses):
            errors += _address(address, kind, index(f"{path}.addresses", j))
        if endpoint.get("nodeName") is not None:
            name = endpoint["nodeName"]
            errors += [invalid(f"{path}.nodeName", name, m) for m in names.dns_subdomain(name)]
        if endpoint.get("hostname") is not None:
            name = endpoint["hostname"]
            errors += [invalid(f"{path}.hostname", name, m) for m in names.dns_label(name)]
    return errors


def _address(text: str, kind: str, path: str) -> list[FieldError]:
    if kind == "FQDN":
        return [invalid(path, text, m) for m in names.dns_subdomain(text)]
    if kind not in _TYPES:
        return []
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [invalid(path, text, m) for m in names.ip_address(text)]
    if f"IPv{address.version}" != kind:
        return [invalid(path, text, f"must be an {kind} address")]
    return non_special_ip(text, path)


def _ports(ports: list[Object]) -> list[FieldError]:
    if len(ports) > _PORTS:
        return [too_many("ports", len(ports), _PORTS)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = index("ports", i), port.get("name") or ""
        if name:
            errors += [invalid(f"{path}.name", name, m) for m in names.dns_label(name)]
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        protocol = port.get("protocol") or ""
        if not protocol:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
        if port.get("port") is not None:
            errors += [invalid(f"{path}.port", port["port"], m) for m in names.port_number(port["port"])]
        if port.get("appProtocol"):
            value = port["appProtocol"]
            errors += [invalid(f"{path}.appProtocol", value, m) for m in names.label_key(value)]
    return errors

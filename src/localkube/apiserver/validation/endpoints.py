"""Endpoints: the addresses behind a service, as clients write them by hand."""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names
from localkube.apiserver.validation.causes import index, invalid, not_supported, required
from localkube.apiserver.validation.service import PROTOCOLS, non_special_ip

Object = dict[str, Any]


def endpoints(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True) + _subsets(obj)


def endpoints_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    # what is there already is not looked at again, as in the real server
    return errors + (_subsets(new) if new.get("subsets") != old.get("subsets") else [])


def _subsets(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = index("subsets", i)
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for side in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(side) or ()):
                errors += _endpoint_address(address, index(f"{path}.{side}", j))
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            errors += _endpoint_port(port, index(f"{path}.ports", j), named=len(ports) > 1)
    return errors


def _endpoint_address(address: Object, path: str) -> list[FieldError]:
    text = address.get("ip") or ""
    errors = [invalid(f"{path}.ip", text, m) for m in names.ip_address(text)]
    if address.get("hostname"):
        value = address["hostname"]
        errors += [invalid(f"{path}.hostname", value, m) for m in names.dns_label(value)]
    if address.get("nodeName") is not None:
        value = address["nodeName"]
        errors += [invalid(f"{path}.nodeName", value, m) for m in names.dns_subdomain(value)]
    return errors or non_special_ip(text, f"{path}.ip")


def _endpoint_port(port: Object, path: str, *, named: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if named and not name:
        errors.append(required(f"{path}.name"))
    elif name:
        errors += [invalid(f"{path}.name", name, m) for m in names.dns_label(name)]
    errors += [invalid(f"{path}.port", port["port"], m) for m in names.port_number(port["port"])]
    protocol = port.get("protocol") or ""
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if port.get("appProtocol"):
        value = port["appProtocol"]
        errors += [invalid(f"{path}.appProtocol", value, m) for m in names.label_key(value)]
    return errors

"""NetworkPolicy: rules of peers and ports, and the address blocks in them."""

import ipaddress
import re
from collections.abc import Collection
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names, selector
from localkube.apiserver.validation.causes import forbidden, index, invalid, not_supported, required

Object = dict[str, Any]
_Block = ipaddress.IPv4Network | ipaddress.IPv6Network

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def network_policy(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True) + _spec(obj.get("spec") or {}, ())


def network_policy_update(new: Object, old: Object) -> list[FieldError]:
    """A block that the old policy has may stay, whatever is wrong with it."""
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    before: set[str] = set()
    for _, peers, _ in _rules(old.get("spec") or {}):
        for _, peer in peers:
            block = peer.get("ipBlock") or {}
            before |= {block.get("cidr", ""), *(block.get("except") or ())}
    return errors + _spec(new.get("spec") or {}, before)


_Items = list[tuple[str, Object]]


def _rules(spec: Object) -> list[tuple[str, _Items, _Items]]:
    """(path, peers, ports) of every rule; peers and ports come with their paths."""
    found = []
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for position, rule in enumerate(spec.get(direction) or ()):
            path = index(f"spec.{direction}", position)
            peers = [(index(f"{path}.{side}", i), peer) for i, peer in enumerate(rule.get(side) or ())]
            ports = [(index(f"{path}.ports", i), port) for i, port in enumerate(rule.get("ports") or ())]
            found.append((path, peers, ports))
    return found


def _spec(spec: Object, before: Collection[str]) -> list[FieldError]:
    errors = selector.validate(spec.get("podSelector") or {}, "spec.podSelector")
    for _, peers, ports in _rules(spec):
        for path, port in ports:
            errors += _port(port, path)
        for path, peer in peers:
            errors += _peer(peer, path, before)
    types = spec.get("policyTypes") or []
    if len(types) > len(_TYPES):
        detail = "may not specify more than two policyTypes"
        return [*errors, invalid("spec.policyTypes", types, detail)]
    for position, name in enumerate(types):
        if name not in _TYPES:
            errors.append(not_supported(index("spec.policyTypes", position), name, _TYPES))
    return errors


def _port(port: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    if number is None:
        if end is not None:
            errors.append(
                invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")
            )
    elif isinstance(number, str):
        if end is not None:
            errors.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        errors += [invalid(f"{path}.port", number, m) for m in names.port_name(number)]
    else:
        errors += [invalid(f"{path}.port", number, m) for m in names.port_number(number)]
        if end is not None:
            if end < number:
                errors.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
            errors += [invalid(f"{path}.endPort", end, m) for m in names.port_number(end)]
    return errors


def _peer(peer: Object, path: str, before: Collection[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    given = [name for name in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(name) is not None]
    for name in given:
        if name == "ipBlock":
            errors += _block(peer[name], f"{path}.{name}", before)
        else:
            errors += selector.validate(peer[name], f"{path}.{name}")
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _block(block: Object, path: str, before: Collection[str]) -> list[FieldError]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{path}.cidr")]
    errors = _cidr(cidr, f"{path}.cidr", before)
    outer = parse_cidr(cidr)
    if outer is None:
        return errors
    for position, text in enumerate(block.get("except") or ()):
        place = index(f"{path}.except", position)
        errors += _cidr(text, place, before)
        inner = parse_cidr(text)
        if inner is not None and not _strictly_within(inner, outer):
            errors.append(invalid(place, text, "must be a strict subset of `cidr`"))
    return errors


def _strictly_within(inner: _Block, outer: _Block) -> bool:
    contained = inner.version == outer.version and inner.network_address in outer
    return contained and inner.prefixlen > outer.prefixlen


def _cidr(text: str, path: str, before: Collection[str]) -> list[FieldError]:
    """As apimachinery's IsValidCIDRForLegacyField with StrictIPCIDRValidation (on since 1.36)."""
    if text in before:
        return []
    block = parse_cidr(text)
    if block is None:
        return [invalid(path, text, _NO_CIDR)]
    if text != _without_leading_zeros(text):
        return [invalid(path, text, "must not have leading 0s in IP or prefix length")]
    address = ipaddress.ip_address(text.partition("/")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return [invalid(path, text, "must not have an IPv4-mapped IPv6 address")]
    if address != block.network_address:
        return [invalid(path, text, "must not have bits set beyond the prefix length")]
    return []


def parse_cidr(text: str) -> _Block | None:
    """The block that a CIDR names, or None. As lenient as the API was: leading zeros count for nothing."""
    address, slash, length = text.partition("/")
    # Python would also take a netmask for the length, and an IPv6 address with a zone
    if not slash or not re.fullmatch("[0-9]+", length) or "%" in address:
        return None
    try:
        return ipaddress.ip_network(_without_leading_zeros(text), strict=False)
    except ValueError:
        return None


def _without_leading_zeros(text: str) -> str:
    address, _, length = text.partition("/")
    if ":" not in address:
        address = ".".join(part.lstrip("0") or part[-1:] for part in address.split("."))
    return f"{address}/{length.lstrip('0') or length[-1:]}"

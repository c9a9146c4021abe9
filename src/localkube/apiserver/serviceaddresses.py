"""What services are given: an address of the cluster, and ports of its node.

One address family, IPv4. The first address of the range is left for the API's own service.
"""

import ipaddress
import random
from collections.abc import Iterable
from typing import Any

from localkube.apiserver.services import KEY, needs_address, needs_node_ports
from localkube.apiserver.status import FieldError
from localkube.apiserver.store import Change, Store
from localkube.apiserver.validation.causes import index, invalid

Object = dict[str, Any]

CIDR = "10.96.0.0/16"
"""kubeadm's range begins here, too; the pods' addresses (10.88.0.0/13) end right before it."""
NODE_PORTS = range(30000, 32768)
_NONE = "None"
_TRIES = 64


class Allocator:
    """What services of a store have been given, and who gets what is free. It follows the store."""

    def __init__(self, store: Store, cidr: str = CIDR) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._store = store
        self._addresses: dict[str, str] | None = None
        self._ports: dict[tuple[str, int], str] = {}

    def assign(self, new: Object) -> list[FieldError]:
        """Give a service, in place, what it needs and has not got; what it asks for may be taken already.

        Nothing is taken until the service is stored.
        """
        self._follow()
        spec, uid = new["spec"], new["metadata"]["uid"]
        if spec.get("type") == "ExternalName":
            return []
        found: list[FieldError] = []
        if needs_address(spec):
            found += self._assign_address(spec, uid)
        if needs_node_ports(spec):
            found += self._assign_ports(spec, uid)
        return found

    def _assign_address(self, spec: Object, uid: str) -> list[FieldError]:
        asked = spec.get("clusterIP") or ""
        if not asked:
            spec["clusterIP"] = self._free_address()
            spec["clusterIPs"] = [spec["clusterIP"]]
            return []
        problem = self._address_problem(asked, uid)
        if problem:
            return [invalid("spec.clusterIPs", [asked], f"failed to allocate IP {asked}: {problem}")]
        return []

    def _address_problem(self, text: str, uid: str) -> str:
        address = ipaddress.ip_address(text)
        if address not in self.network or address in (self.network[0], self.network[-1]):
            valid = f"The range of valid IPs is {self.network}"
            return f"the provided IP ({text}) is not in the valid range. {valid}"
        assert self._addresses is not None
        return "provided IP is already allocated" if self._addresses.get(text, uid) != uid else ""

    def _free_address(self) -> str:
        assert self._addresses is not None
        size = self.network.num_addresses
        first = random.randrange(2, size - 1)  # noqa: S311 (spreads, as the real allocator does)
        for offset in range(size - 3):
            text = str(self.network[2 + (first - 2 + offset) % (size - 3)])
            if text not in self._addresses:
                return text
        raise OverflowError("no address of the services' range is free")

    def _assign_ports(self, spec: Object, uid: str) -> list[FieldError]:
        found: list[FieldError] = []
        mine: set[tuple[str, int]] = set()
        ports = spec.get("ports") or []
        for position, port in enumerate(ports):
            number = port.get("nodePort")
            if not number:
                continue
            key = (port["protocol"], number)
            path = f"{index('spec.ports', position)}.nodePort"
            if number not in NODE_PORTS:
                detail = (
                    "provided port is not in the valid range. The range of valid ports is "
                    f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
                )
                found.append(invalid(path, number, detail))
            elif self._ports.get(key, uid) != uid:
                found.append(invalid(path, number, "provided port is already allocated"))
            mine.add(key)
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = self._free_port(port["protocol"], mine)
                mine.add((port["protocol"], port["nodePort"]))
        return found

    def _free_port(self, protocol: str, mine: set[tuple[str, int]]) -> int:
        for _ in range(_TRIES):
            number = random.choice(NODE_PORTS)  # noqa: S311
            if (protocol, number) not in self._ports and (protocol, number) not in mine:
                return number
        return next(n for n in NODE_PORTS if (protocol, n) not in self._ports and (protocol, n) not in mine)

    def _follow(self) -> None:
        """Know what is given away, from now on by the store's own word."""
        if self._addresses is not None:
            return
        self._addresses = {}
        for version in self._store.list(KEY):
            self._take(version.object)
        self._store.subscribe(KEY, None, self._observe)

    def _observe(self, change: Change) -> None:
        if change.previous is not None:
            uid = change.previous.object["metadata"]["uid"]
            for table, keys in self._tables(change.previous.object):
                for key in keys:
                    if table.get(key) == uid:
                        del table[key]
        if change.type != "DELETED":
            self._take(change.version.object)

    def _take(self, service: Object) -> None:
        for table, keys in self._tables(service):
            table.update(dict.fromkeys(keys, service["metadata"]["uid"]))

    def _tables(self, service: Object) -> Iterable[tuple[dict[Any, str], list[Any]]]:
        spec = service["spec"]
        assert self._addresses is not None
        addresses = [ip for ip in spec.get("clusterIPs") or () if ip != _NONE]
        ports = [(p["protocol"], p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")]
        return ((self._addresses, addresses), (self._ports, ports))

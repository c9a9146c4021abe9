"""What NetworkPolicies say, as a table of nftables. Pure.

A packet meets two base chains: in the first the policies of the pod that sent it have their say (`egress`),
in the second those of the pod that it goes to (`ingress`). Both know a pod by its cable, which no pod can
forge. A pod that no policy selects is in no map, and its packets pass. One that is selected gets to a chain
of its namespace, which asks the policies that select it one by one and drops what none accepts.

All that the policies of one namespace need is one `Part`, with names that no other has: where some of them
change, the parts of other namespaces stay as they are, in values as in the kernel.
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from localkube.apiserver.validation import selector as selectors
from localkube.apiserver.validation.networkpolicy import parse_cidr
from localkube.kubelet.nftables import Chain, Contents, Match, Rule, Table

Object = dict[str, Any]

_REPLIES = Rule((Match("ct state", ("established", "related")),), "accept")
_DIRECTIONS = ("egress", "ingress")
_COMMENT_LIMIT = 120


class Endpoint(msgspec.Struct, frozen=True):
    """A pod that is in the network. `ports` are (name, protocol in small letters, number)."""

    namespace: str
    labels: Mapping[str, str]
    ip: str
    cable: str
    ports: tuple[tuple[str, str, int], ...] = ()


class Selected(NamedTuple):
    """The cables of pods that a policy's podSelector selects."""

    namespace: str
    pods: Object


class Peers(NamedTuple):
    """The addresses of pods: in one namespace, or in those that a selector selects."""

    namespace: str
    namespaces: Object | None
    pods: Object


class NamedPort(NamedTuple):
    """(address, port number) of every pod that has a port of this name."""

    name: str
    protocol: str


class Isolated(NamedTuple):
    """The pods that any policy selects for a direction, each with the chain of its namespace."""

    chains: Mapping[str, tuple[str, tuple[Object, ...]]]
    """By namespace: its chain, and the podSelectors of its policies."""


Meaning = Selected | Peers | NamedPort | Isolated


class Part(NamedTuple):
    """The chains and sets of a namespace's policies."""

    chains: tuple[Chain, ...]
    sets: Mapping[str, str]
    meanings: Mapping[str, Meaning]
    isolated: Mapping[str, tuple[str, tuple[Object, ...]]]
    """By direction: the chain where that begins, and the podSelectors of the policies."""


class Plan(NamedTuple):
    """A table, and what each of its sets contains."""

    table: Table
    meanings: Mapping[str, Meaning]


def endpoint(pod: Object, ip: str, cable: str) -> Endpoint:
    """A pod as rules see it; a sidecar's ports count, an init container's do not."""
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ports = tuple(
        (port["name"], str(port.get("protocol") or "TCP").lower(), int(port["containerPort"]))
        for container in (*(pod["spec"].get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("name")
    )
    metadata = pod["metadata"]
    return Endpoint(metadata["namespace"], metadata.get("labels") or {}, ip, cable, ports)


def part(name: str, policies: Iterable[Object]) -> Part:
    """What the policies of one namespace need; `name` is in the names of all of it."""
    return _Builder(name).build(sorted(policies, key=lambda policy: str(policy["metadata"]["name"])))


def plan(parts: Mapping[str, Part], uplink: str, node: str) -> Plan:
    """The rules of all parts, by namespace. `node` is the node's address, behind the device `uplink`."""
    types: dict[str, str] = {}
    meanings: dict[str, Meaning] = {}
    chains: list[Chain] = []
    for each in parts.values():
        chains += each.chains
        types |= each.sets
        meanings |= each.meanings
    for direction in _DIRECTIONS:
        isolated = {n: p.isolated[direction] for n, p in parts.items() if direction in p.isolated}
        types[f"{direction}-pods"] = "ifname : verdict"
        meanings[f"{direction}-pods"] = Isolated(isolated)
    # a node reaches its pods whatever policies say, as a real kubelet has to for its probes
    from_node = Rule((Match("iifname", (f'"{uplink}"',)), Match("ip saddr", (node,))), "accept")
    sent = Rule((Match("iifname", ()),), "vmap @egress-pods")
    received = Rule((Match("oifname", ()),), "vmap @ingress-pods")
    chains.append(Chain("egress", (_REPLIES, sent), "forward priority -10"))
    chains.append(Chain("ingress", (_REPLIES, from_node, received), "forward priority 0"))
    return Plan(Table(types, tuple(chains)), meanings)


class _Builder:
    def __init__(self, name: str):
        self._name = name
        self._meanings: dict[str, Meaning] = {}
        self._types: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._chains: list[Chain] = []

    def build(self, policies: Sequence[Object]) -> Part:
        isolated = {}
        for direction in _DIRECTIONS:
            wanted = direction.capitalize()
            mine = [p for p in policies if wanted in (p["spec"].get("policyTypes") or ())]
            if not mine:
                continue
            name = f"{direction}.{self._name}"
            rules = [
                rule
                for position, policy in enumerate(mine)
                for rule in self._policy(f"{name}.{position}", policy, direction)
            ]
            self._chains.append(Chain(name, (*rules, Rule((), "drop"))))
            isolated[direction] = name, tuple(policy["spec"].get("podSelector") or {} for policy in mine)
        return Part(tuple(self._chains), self._types, self._meanings, isolated)

    def _policy(self, chain: str, policy: Object, direction: str) -> list[Rule]:
        """Makes the chain of a policy; the rules that lead there."""
        metadata, spec = policy["metadata"], policy["spec"]
        rules: list[Rule] = []
        for number, rule in enumerate(spec.get(direction) or ()):
            peers = self._peers(rule, metadata["namespace"], direction)
            ports = self._ports(rule.get("ports") or ())
            if len(peers) > 1 and len(ports) > 1:
                # as many rules as there are peers and ports, not as there are pairs of them
                name = f"{chain}.{number}"
                self._chains.append(Chain(name, tuple(Rule(port, "accept") for port in ports)))
                rules += [Rule(peer, f"jump {name}") for peer in peers]
            else:
                rules += [Rule((*peer, *port), "accept") for peer in peers for port in ports]
        if not rules:
            return []
        comment = f"{metadata['namespace']}/{metadata['name']}"[:_COMMENT_LIMIT]
        self._chains.append(Chain(chain, tuple(rules), comment=comment))
        matches: tuple[Match, ...] = ()
        if chosen := spec.get("podSelector"):
            meaning = Selected(metadata["namespace"], chosen)
            cable = "iifname" if direction == "egress" else "oifname"
            matches = (Match(cable, (self._set("pods", "ifname", meaning),)),)
        return [Rule(matches, f"jump {chain}")]

    def _peers(self, rule: Object, namespace: str, direction: str) -> list[tuple[Match, ...]]:
        """Alternatives; the one without a match is everybody."""
        peers = rule.get("from" if direction == "ingress" else "to")
        if not peers:
            return [()]
        field = "ip saddr" if direction == "ingress" else "ip daddr"
        found: list[tuple[Match, ...]] = []
        for peer in peers:
            block = peer.get("ipBlock")
            if block is not None:
                found += _block(block, field)
                continue
            namespaces = peer.get("namespaceSelector")
            own = namespace if namespaces is None else ""
            meaning = Peers(own, namespaces, peer.get("podSelector") or {})
            found.append((Match(field, (self._set("peers", "ipv4_addr", meaning),)),))
        return found

    def _ports(self, ports: Sequence[Object]) -> list[tuple[Match, ...]]:
        """Alternatives, as for peers."""
        if not ports:
            return [()]
        found: list[tuple[Match, ...]] = []
        ranges: dict[str, list[tuple[int, int]]] = {}
        for port in ports:
            protocol, number = str(port.get("protocol") or "TCP").lower(), port.get("port")
            if number is None:
                found.append((Match("meta l4proto", (protocol,)),))
            elif isinstance(number, str):
                name = self._set("ports", "ipv4_addr . inet_service", NamedPort(number, protocol))
                found.append((Match(f"ip daddr . {protocol} dport", (name,)),))
            else:
                ranges.setdefault(protocol, []).append((number, port.get("endPort") or number))
        for protocol, wanted in ranges.items():
            values = tuple(f"{a}-{b}" if a != b else str(a) for a, b in _merged(wanted))
            found.append((Match(f"{protocol} dport", values),))
        return found

    def _set(self, kind: str, type_: str, meaning: Meaning) -> str:
        """The name of the set with this meaning, which it gets the first time that it is asked for."""
        same = json.dumps([type(meaning).__name__, *meaning], sort_keys=True)
        name = self._names.get(same)
        if name is None:
            name = self._names[same] = f"{kind}.{self._name}.{len(self._names)}"
            self._meanings[name], self._types[name] = meaning, type_
        return f"@{name}"


def _block(block: Object, field: str) -> list[tuple[Match, ...]]:
    """No alternative at all for IPv6, which pods have no addresses of."""
    outer = parse_cidr(block["cidr"])
    if not isinstance(outer, ipaddress.IPv4Network):
        return []
    inner = [parse_cidr(text) for text in block.get("except") or ()]
    left_out = ipaddress.collapse_addresses(b for b in inner if isinstance(b, ipaddress.IPv4Network))
    matches = [Match(field, (str(outer),))] if outer.prefixlen else []
    if values := tuple(map(str, left_out)):
        matches.append(Match(field, values, equal=False))
    return [tuple(matches)]


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without overlaps, which nft refuses."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def contents(
    meanings: Mapping[str, Meaning], pods: Sequence[Endpoint], namespaces: Mapping[str, Mapping[str, str]]
) -> Contents:
    """What the sets of a plan contain, with these pods; `namespaces` are the labels of each by name."""
    by_namespace: dict[str, list[Endpoint]] = {}
    for pod in pods:
        by_namespace.setdefault(pod.namespace, []).append(pod)
    found: dict[str, dict[str, str]] = {}
    chosen_before: dict[str, list[str]] = {}
    for name, meaning in meanings.items():
        match meaning:
            case Selected(namespace, chosen):
                found[name] = {_cable(p): "" for p in by_namespace.get(namespace, ()) if _is(p, chosen)}
            case Peers(namespace, chosen_namespaces, chosen):
                where = [namespace]
                if chosen_namespaces is not None:
                    # the same few selectors are in the policies of every namespace
                    same = json.dumps(chosen_namespaces)
                    if same not in chosen_before:
                        chosen_before[same] = _chosen(chosen_namespaces, namespaces)
                    where = chosen_before[same]
                found[name] = {
                    pod.ip: "" for each in where for pod in by_namespace.get(each, ()) if _is(pod, chosen)
                }
            case NamedPort(port, protocol):
                found[name] = {
                    f"{pod.ip} . {number}": ""
                    for pod in pods
                    for label, spoken, number in pod.ports
                    if (label, spoken) == (port, protocol)
                }
            case Isolated(chains):
                found[name] = {
                    _cable(pod): f"jump {chain}"
                    for namespace, (chain, any_of) in chains.items()
                    for pod in by_namespace.get(namespace, ())
                    if any(_is(pod, chosen) for chosen in any_of)
                }
    return found


def _cable(pod: Endpoint) -> str:
    return f'"{pod.cable}"'


def _is(pod: Endpoint, selector: Object) -> bool:
    return not selector or selectors.matches(selector, pod.labels)


def _chosen(selector: Object, namespaces: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [name for name, labels in namespaces.items() if selectors.matches(selector, labels)]

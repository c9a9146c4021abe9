"""The rules made of NetworkPolicies, read by a small nft of our own, against what the policies mean."""

import copy
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localkube.apiserver import defaults
from localkube.apiserver.resources import Resources
from localkube.apiserver.validation import objects as validation
from localkube.kubelet import networkpolicy, nftables
from localkube.kubelet.networkpolicy import Endpoint, Plan
from localkube.kubelet.nftables import Chain, Contents, Match, Table

Obj = dict[str, Any]
NODE, UPLINK = "10.88.0.1", "uplink"
OUTSIDE = ("8.8.8.8", "10.1.2.3", "10.1.9.9", "192.168.7.7")
RESOURCE = Resources()["networkpolicies.networking.k8s.io"]


class Packet(NamedTuple):
    source: str
    target: str
    protocol: str
    port: int
    state: str = "new"


class World(NamedTuple):
    namespaces: dict[str, dict[str, str]]
    pods: tuple[Endpoint, ...]
    policies: tuple[Obj, ...]

    def pod(self, ip: str) -> Endpoint | None:
        return next((pod for pod in self.pods if pod.ip == ip), None)


# what policies mean, as their documentation says it


def selects(selector: Obj, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for term in selector.get("matchExpressions", []):
        value = labels.get(term["key"])
        operator = term["operator"]
        if operator == "In" and value not in term["values"]:
            return False
        if operator == "NotIn" and value in term["values"]:
            return False
        if operator == "Exists" and value is None:
            return False
        if operator == "DoesNotExist" and value is not None:
            return False
    return True


def peer_matches(world: World, peer: Obj, namespace: str, ip: str) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(ip)
        inside = address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        left_out = peer["ipBlock"].get("except", [])
        return inside and not any(address in ipaddress.ip_network(block) for block in left_out)
    pod = world.pod(ip)
    if pod is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], world.namespaces[pod.namespace]):
            return False
    elif pod.namespace != namespace:
        return False
    return selects(peer.get("podSelector", {}), pod.labels)


def port_matches(world: World, port: Obj, packet: Packet) -> bool:
    if port["protocol"].lower() != packet.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        pod = world.pod(packet.target)
        return pod is not None and (wanted, packet.protocol, packet.port) in pod.ports
    return bool(wanted <= packet.port <= port.get("endPort", wanted))


def permits(world: World, packet: Packet, direction: str) -> bool:
    subject, other = packet.target, packet.source
    side = "from"
    if direction == "Egress":
        subject, other, side = other, subject, "to"
    pod = world.pod(subject)
    if pod is None:
        return True
    selecting = [
        policy
        for policy in world.policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"].get("podSelector", {}), pod.labels)
    ]
    if not selecting:
        return True
    for policy in selecting:
        for rule in policy["spec"].get(direction.lower()) or []:
            peers, ports = rule.get(side), rule.get("ports")
            if peers and not any(peer_matches(world, peer, pod.namespace, other) for peer in peers):
                continue
            if ports and not any(port_matches(world, port, packet) for port in ports):
                continue
            return True
    return False


def meant(world: World, packet: Packet) -> bool:
    if packet.state != "new":
        return True
    if packet.source == NODE:
        return True
    return permits(world, packet, "Egress") and permits(world, packet, "Ingress")


# a small nft


def planned(policies: Iterable[Obj], number: int = 0, kept: Iterable[Obj] = ()) -> Plan:
    """The plan of these policies; a namespace with the same ones in `kept` has the same part as there."""
    parts = {}
    for namespace in dict.fromkeys(policy["metadata"]["namespace"] for policy in policies):
        mine, before = ([p for p in ps if p["metadata"]["namespace"] == namespace] for ps in (policies, kept))
        parts[namespace] = networkpolicy.part(f"{namespace}.{0 if mine == before else number}", mine)
    return networkpolicy.plan(parts, UPLINK, NODE)


class Nft:
    def __init__(self, table: Table, contents: Contents, world: World):
        self.table, self.contents, self.world = table, contents, world
        self.chains = {chain.name: chain for chain in table.chains}

    def passes(self, packet: Packet) -> bool:
        base = [chain for chain in self.table.chains if chain.hook]
        base.sort(key=lambda chain: int(chain.hook.rpartition(" ")[2]))
        return all(self._run(chain, packet) != "drop" for chain in base)

    def _run(self, chain: Chain, packet: Packet) -> str:
        for rule in chain.rules:
            verdict = rule.verdict
            matches = rule.matches
            if verdict.startswith("vmap @"):
                found = self.contents[verdict[6:]]
                verdict = found.get(self._field(matches[-1].field, packet), "")
                matches = matches[:-1]
            if not verdict or not all(self._match(match, packet) for match in matches):
                continue
            if verdict.startswith("jump "):
                verdict = self._run(self.chains[verdict[5:]], packet)
                if not verdict:
                    continue
            return verdict
        return ""

    def _cable(self, ip: str) -> str:
        pod = self.world.pod(ip)
        return f'"{pod.cable if pod is not None else UPLINK}"'

    def _field(self, field: str, packet: Packet) -> str:
        values = {
            "iifname": self._cable(packet.source),
            "oifname": self._cable(packet.target),
            "ip saddr": packet.source,
            "ip daddr": packet.target,
            "meta l4proto": packet.protocol,
            "ct state": packet.state,
        }
        for protocol in ("tcp", "udp", "sctp"):
            here = packet.protocol == protocol
            values[f"{protocol} dport"] = str(packet.port) if here else ""
            values[f"ip daddr . {protocol} dport"] = f"{packet.target} . {packet.port}" if here else ""
        return values[field]

    def _match(self, match: Match, packet: Packet) -> bool:
        value = self._field(match.field, packet)
        if not value:
            return False
        return any(self._equals(value, wanted) for wanted in match.values) is match.equal

    def _equals(self, value: str, wanted: str) -> bool:
        if wanted.startswith("@"):
            return value in self.contents[wanted[1:]]
        if "/" in wanted:
            return ipaddress.ip_address(value) in ipaddress.ip_network(wanted)
        if "-" in wanted and value.isdigit():
            first, last = wanted.split("-")
            return int(first) <= int(value) <= int(last)
        return value == wanted


# small worlds

labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
expression = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from("ab"),
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from("xy"), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"key": st.sampled_from("ab"), "operator": st.sampled_from(["Exists", "DoesNotExist"])}
    ),
)
selector = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"matchLabels": labels}),
    st.fixed_dictionaries({"matchExpressions": st.lists(expression, min_size=1, max_size=2)}),
)
block = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16"]},
        {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24", "10.1.9.9/32"]},
        {"cidr": "10.88.0.0/22"},
        {"cidr": f"{NODE}/32"},
        {"cidr": "::/0"},
        {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]},
    ]
)
peer = st.one_of(
    st.fixed_dictionaries({"podSelector": selector}),
    st.fixed_dictionaries({"namespaceSelector": selector}),
    st.fixed_dictionaries({"namespaceSelector": selector, "podSelector": selector}),
    st.fixed_dictionaries({"ipBlock": block}),
)
protocol = st.sampled_from(["TCP", "UDP", "SCTP"])
NUMBERS = (1, 80, 81, 90, 65535)
port = st.one_of(
    st.fixed_dictionaries({}, optional={"protocol": protocol}),
    st.fixed_dictionaries(
        {"port": st.sampled_from([*NUMBERS, "web", "dns"])}, optional={"protocol": protocol}
    ),
    st.fixed_dictionaries({"port": st.just(80), "endPort": st.sampled_from([80, 81, 85, 90])}),
)


def rules(side: str) -> st.SearchStrategy[list[Obj]]:
    rule = st.fixed_dictionaries(
        {}, optional={side: st.lists(peer, max_size=2), "ports": st.lists(port, max_size=3)}
    )
    return st.lists(rule, max_size=2)


spec = st.fixed_dictionaries(
    {},
    optional={
        "podSelector": selector,
        "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
        "ingress": rules("from"),
        "egress": rules("to"),
    },
)
NAMESPACES = ("n1", "n2", "n3")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    namespaces = {name: draw(labels) for name in NAMESPACES}
    pods = tuple(
        Endpoint(
            draw(st.sampled_from(NAMESPACES)),
            draw(labels),
            f"10.88.0.{number}",
            f"lk0v{number}",
            draw(st.sampled_from([(), (("web", "tcp", 80),), (("web", "tcp", 90), ("dns", "udp", 81))])),
        )
        for number in range(3, 3 + draw(st.integers(1, 4)))
    )
    policies = []
    for number in range(draw(st.integers(1, 4))):
        metadata = {"name": f"p{number}", "namespace": draw(st.sampled_from(NAMESPACES))}
        policy = {"metadata": metadata, "spec": copy.deepcopy(draw(spec))}
        defaults.apply(RESOURCE, policy)
        assert validation.validate(RESOURCE, policy) == []
        policies.append(policy)
    return World(namespaces, pods, tuple(policies))


def packets(world: World) -> list[Packet]:
    pods = [pod.ip for pod in world.pods]
    places = [*pods, NODE, *OUTSIDE]
    pairs = [(a, b) for a in places for b in places if a != b and (a in pods or b in pods)]
    kinds = [(name, number) for name in ("tcp", "udp", "sctp") for number in NUMBERS]
    return [Packet(*pair, *kind) for pair in pairs for kind in [*kinds, ("icmp", 0)]]


@given(worlds())
@settings(max_examples=100, deadline=None)
def test_the_rules_let_through_what_the_policies_permit(world: World) -> None:
    plan = planned(world.policies)
    contents = networkpolicy.contents(plan.meanings, world.pods, world.namespaces)
    assert set(contents) == set(plan.table.sets)
    nft = Nft(plan.table, contents, world)
    for packet in packets(world):
        assert nft.passes(packet) is meant(world, packet), packet
        for state in ("established", "related"):
            assert nft.passes(packet._replace(state=state))


@given(st.lists(spec, min_size=2, max_size=4))
@settings(max_examples=50, deadline=None)
def test_the_order_of_policies_makes_no_difference(specs: list[Obj]) -> None:
    policies = [{"metadata": {"name": f"p{i}", "namespace": "n"}, "spec": s} for i, s in enumerate(specs)]
    for policy in policies:
        defaults.apply(RESOURCE, policy)
    assert networkpolicy.part("n", reversed(policies)) == networkpolicy.part("n", policies)


needs_nft = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nftables"
)
State = dict[str, dict[str, list[Any]]]


def in_nft(*texts: str) -> State:
    """The elements of sets and the rules of chains when a real nft has read these texts one by one."""
    script = "\n".join(f"nft -f - <<'END' || exit 1\n{text}\nEND" for text in texts)
    command = ["unshare", "--net", "sh", "-c", f"{script}\nnft -j list ruleset"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stderr, texts)
    found: State = {"sets": {}, "chains": {}}
    for entry in json.loads(done.stdout)["nftables"]:
        ((kind, value),) = entry.items()
        if kind in ("set", "map"):
            found["sets"][value["name"]] = sorted(map(json.dumps, value.get("elem", [])))
        elif kind == "chain":
            found["chains"][value["name"]] = [value.get("hook"), value.get("prio")]
        elif kind == "rule":
            found["chains"][value["chain"]].append(value["expr"])
    return found


def as_json(element: str, verdict: str) -> str:
    parts: list[Any] = [part.strip('"') for part in element.split(" . ")]
    value = {"concat": [parts[0], int(parts[1])]} if len(parts) > 1 else parts[0]
    return json.dumps([value, {"jump": {"target": verdict.removeprefix("jump ")}}] if verdict else value)


@pytest.mark.kubelet
@needs_nft
@given(worlds(), worlds(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_nft_makes_one_table_of_another(world: World, other: World, only_pods: bool) -> None:
    if only_pods:
        other = other._replace(policies=world.policies)
    old, new = planned(world.policies), planned(other.policies, 1, world.policies)
    before = networkpolicy.contents(old.meanings, world.pods, world.namespaces)
    after = networkpolicy.contents(new.meanings, other.pods, other.namespaces)
    text = nftables.render(old.table, before)
    change = nftables.change((old.table, before), (new.table, after))
    found = in_nft(text, text, change)
    assert found == in_nft(nftables.render(new.table, after))
    assert found["sets"] == {
        name: sorted(as_json(*element) for element in elements.items()) for name, elements in after.items()
    }
    if only_pods:
        assert {line.split()[1] for line in change.splitlines()} <= {"element"}
    assert nftables.change((new.table, after), (new.table, after)) == ""
    assert in_nft(text, nftables.GONE, nftables.GONE) == {"sets": {}, "chains": {}}


POLICY = {
    "metadata": {"name": "w", "namespace": "s"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.9.9.9/32"]}},
                ],
                "ports": [
                    {"port": 80, "endPort": 90, "protocol": "TCP"},
                    {"port": 85, "endPort": 99, "protocol": "TCP"},
                    {"port": 443, "protocol": "TCP"},
                    {"port": "dns", "protocol": "UDP"},
                ],
            }
        ],
    },
}

TEXT = """\
table ip networkpolicy
delete table ip networkpolicy
table ip networkpolicy {
	set peers.s.0.0 { type ipv4_addr; elements = { 10.88.0.3, 10.88.0.4 } }
	set ports.s.0.1 { type ipv4_addr . inet_service; elements = { 10.88.0.3 . 53 } }
	set pods.s.0.2 { type ifname; elements = { "lk0v3" } }
	map egress-pods { type ifname : verdict; elements = { "lk0v3" : jump egress.s.0 } }
	map ingress-pods { type ifname : verdict; elements = { "lk0v3" : jump ingress.s.0 } }
	chain egress.s.0 {
		drop
	}
	chain ingress.s.0.0.0 {
		ip daddr . udp dport @ports.s.0.1 accept
		tcp dport { 80-99, 443 } accept
	}
	chain ingress.s.0.0 {
		comment "s/w"
		ip saddr @peers.s.0.0 jump ingress.s.0.0.0
		ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16, 10.9.9.9/32 } jump ingress.s.0.0.0
	}
	chain ingress.s.0 {
		oifname @pods.s.0.2 jump ingress.s.0.0
		drop
	}
	chain egress {
		type filter hook forward priority -10; policy accept;
		ct state { established, related } accept
		iifname vmap @egress-pods
	}
	chain ingress {
		type filter hook forward priority 0; policy accept;
		ct state { established, related } accept
		iifname "uplink" ip saddr 10.88.0.1 accept
		oifname vmap @ingress-pods
	}
}
"""

CHANGE = """\
delete element ip networkpolicy egress-pods { "lk0v3" : jump egress.s.0 }
delete element ip networkpolicy ingress-pods { "lk0v3" : jump ingress.s.0 }
table ip networkpolicy {
	chain ingress.s.1 {
		drop
	}
}
add element ip networkpolicy ingress-pods { "lk0v3" : jump ingress.s.1, "lk0v4" : jump ingress.s.1 }
flush chain ip networkpolicy egress.s.0
flush chain ip networkpolicy ingress.s.0.0.0
flush chain ip networkpolicy ingress.s.0.0
flush chain ip networkpolicy ingress.s.0
delete chain ip networkpolicy egress.s.0
delete chain ip networkpolicy ingress.s.0.0.0
delete chain ip networkpolicy ingress.s.0.0
delete chain ip networkpolicy ingress.s.0
delete set ip networkpolicy peers.s.0.0
delete set ip networkpolicy ports.s.0.1
delete set ip networkpolicy pods.s.0.2
"""


def test_text() -> None:
    containers = [{"name": "c", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]
    metadata = {"namespace": "s", "labels": {"app": "web"}}
    web = networkpolicy.endpoint(
        {"metadata": metadata, "spec": {"containers": containers}}, "10.88.0.3", "lk0v3"
    )
    pods = [web, Endpoint("s", {}, "10.88.0.4", "lk0v4"), Endpoint("other", {}, "10.88.0.5", "lk0v5")]
    plan = planned([POLICY])
    contents = networkpolicy.contents(plan.meanings, pods, {})
    assert nftables.render(plan.table, contents) == TEXT
    less = networkpolicy.contents(plan.meanings, pods[1:], {})
    assert nftables.change((plan.table, contents), (plan.table, less)) == (
        "delete element ip networkpolicy peers.s.0.0 { 10.88.0.3 }\n"
        "delete element ip networkpolicy ports.s.0.1 { 10.88.0.3 . 53 }\n"
        'delete element ip networkpolicy pods.s.0.2 { "lk0v3" }\n'
        'delete element ip networkpolicy egress-pods { "lk0v3" : jump egress.s.0 }\n'
        'delete element ip networkpolicy ingress-pods { "lk0v3" : jump ingress.s.0 }\n'
    )
    deny = {"metadata": POLICY["metadata"], "spec": {"policyTypes": ["Ingress"]}}
    other = planned([deny], 1)
    denied = networkpolicy.contents(other.meanings, pods, {})
    assert nftables.change((plan.table, contents), (other.table, denied)) == CHANGE


def test_ports_of_sidecars_count_and_those_of_init_containers_do_not() -> None:
    inits = [
        {"name": "a", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 1}]},
        {"name": "b", "ports": [{"name": "early", "containerPort": 2}]},
    ]
    main = [{"name": "c", "ports": [{"containerPort": 3}, {"name": "main", "containerPort": 4}]}]
    pod = {"metadata": {"namespace": "n"}, "spec": {"initContainers": inits, "containers": main}}
    assert networkpolicy.endpoint(pod, "10.88.0.3", "lk0v3").ports == (
        ("main", "tcp", 4),
        ("side", "tcp", 1),
    )

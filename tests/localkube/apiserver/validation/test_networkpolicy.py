# ruff: noqa: E501 (the messages are the API's: whole, so that they can be searched for)
"""NetworkPolicies: what is filled in, what is refused and in which words, what is printed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localkube.apiserver import discovery, selectors
from localkube.apiserver.registry import Registry
from localkube.apiserver.resources import Resources
from localkube.apiserver.status import StatusError
from localkube.apiserver.tables import table

KEY = "networkpolicies.networking.k8s.io"
RECORDED = Path(__file__).parents[5] / "shared/transcripts/discovery/apis_networking.k8s.io_v1.json"


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.create("namespaces", "", {"metadata": {"name": "ns"}})
    return made


def create(registry: Registry, spec: dict[str, Any], name: str = "a") -> dict[str, Any]:
    return registry.create(KEY, "ns", {"metadata": {"name": name}, "spec": spec})


def refused(registry: Registry, spec: dict[str, Any]) -> list[str]:
    with pytest.raises(StatusError) as caught:
        create(registry, spec)
    assert caught.value.code == 422
    return [f"{cause['field']}: {cause['message']}" for cause in caught.value.status["details"]["causes"]]


def test_types_are_what_the_rules_say_unless_they_are_given(registry: Registry) -> None:
    rule = {"to": [{"podSelector": {}}], "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}
    assert create(registry, {}, "a")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    both = create(registry, {"egress": [rule]}, "b")["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]
    assert both["egress"][0]["ports"] == [
        {"port": 80, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"},
    ]
    assert create(registry, {"egress": []}, "c")["spec"]["policyTypes"] == ["Ingress"]
    given = create(registry, {"policyTypes": ["Egress"]}, "d")["spec"]
    assert given == {"podSelector": {}, "policyTypes": ["Egress"]}


def test_generation_counts_changes_of_the_spec(registry: Registry) -> None:
    assert create(registry, {})["metadata"]["generation"] == 1
    same = registry.patch(KEY, "ns", "a", {"metadata": {"labels": {"a": "b"}}})
    assert same["metadata"]["generation"] == 1
    changed = registry.patch(KEY, "ns", "a", {"spec": {"policyTypes": ["Egress"]}})
    assert changed["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ({"port": 0}, ["port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        ({"port": 70000}, ["port: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
        ({"port": "a--b"}, ['port: Invalid value: "a--b": must not contain consecutive hyphens']),
        ({"port": "80"}, ['port: Invalid value: "80": must contain at least one letter (a-z)']),
        ({"port": 80, "endPort": 79}, ["endPort: Invalid value: 79: must be greater than or equal to `port`"]),
        ({"port": 80, "endPort": 65536}, ["endPort: Invalid value: 65536: must be between 1 and 65535, inclusive"]),
        ({"port": "web", "endPort": 79}, ["endPort: Invalid value: 79: may not be specified when `port` is non-numeric"]),
        ({"endPort": 79}, ["endPort: Invalid value: 79: may not be specified when `port` is not specified"]),
        ({"protocol": "ICMP"}, ['protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"']),
    ],
)  # fmt: skip
def test_bad_ports(registry: Registry, port: dict[str, Any], said: list[str]) -> None:
    expected = [f"spec.ingress[0].ports[0].{text}" for text in said]
    assert refused(registry, {"ingress": [{"ports": [port]}]}) == expected


SUBSET = "must be a strict subset of `cidr`"
ANYTHING = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({}, ["cidr: Required value"]),
        ({"cidr": "10.0.0.0"}, [f'cidr: Invalid value: "10.0.0.0": {ANYTHING}']),
        ({"cidr": "10.0.0.0/33"}, [f'cidr: Invalid value: "10.0.0.0/33": {ANYTHING}']),
        ({"cidr": "10.0.0.0/255.0.0.0"}, [f'cidr: Invalid value: "10.0.0.0/255.0.0.0": {ANYTHING}']),
        ({"cidr": "10.0.0.1/8"}, ['cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length']),
        ({"cidr": "010.0.0.0/8"}, ['cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length']),
        ({"cidr": "10.0.0.0/08"}, ['cidr: Invalid value: "10.0.0.0/08": must not have leading 0s in IP or prefix length']),
        ({"cidr": "::ffff:10.0.0.0/104"}, ['cidr: Invalid value: "::ffff:10.0.0.0/104": must not have an IPv4-mapped IPv6 address']),
        ({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}, [f'except[0]: Invalid value: "10.0.0.0/8": {SUBSET}']),
        ({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}, [f'except[1]: Invalid value: "11.0.0.0/16": {SUBSET}']),
        ({"cidr": "10.0.0.0/8", "except": ["2001:db8::/64"]}, [f'except[0]: Invalid value: "2001:db8::/64": {SUBSET}']),
        ({"cidr": "10.0.0.0/8", "except": ["x"]}, [f'except[0]: Invalid value: "x": {ANYTHING}']),
    ],
)  # fmt: skip
def test_bad_blocks(registry: Registry, block: dict[str, Any], said: list[str]) -> None:
    expected = [f"spec.egress[0].to[0].ipBlock.{text}" for text in said]
    assert refused(registry, {"egress": [{"to": [{"ipBlock": block}]}]}) == expected


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ingress": [{"from": [{}]}]}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            ["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (
            {"policyTypes": ["Ingress", "Sideways"]},
            ['spec.policyTypes[1]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'],
        ),
        (
            {"policyTypes": ["Ingress", "Egress", "Ingress"]},
            ['spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes'],
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            ["spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            {"egress": [{"to": [{"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]}]},
            ['spec.egress[0].to[0].namespaceSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator'],
        ),
    ],
)  # fmt: skip
def test_bad_policies(registry: Registry, spec: dict[str, Any], said: list[str]) -> None:
    assert refused(registry, spec) == said


def test_an_update_is_checked_too(registry: Registry) -> None:
    create(registry, {})
    with pytest.raises(StatusError, match="must specify a peer"):
        registry.patch(KEY, "ns", "a", {"spec": {"egress": [{"to": [{}]}]}})


def test_table(registry: Registry) -> None:
    terms = [
        {"key": "b", "operator": "NotIn", "values": ["y", "x"]},
        {"key": "a", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    create(registry, {"podSelector": {"matchLabels": {"c": "1"}, "matchExpressions": terms}}, "some")
    create(registry, {}, "every")
    resource = registry.resources[KEY]
    made = table(resource, registry.list(KEY), {}, now=datetime.now(UTC))
    assert [c["name"] for c in made["columnDefinitions"]] == ["Name", "Pod-Selector", "Age"]
    assert [row["cells"][:2] for row in made["rows"]] == [
        ["every", "<none>"],
        ["some", "a,b notin (x,y),c=1,!d"],
    ]
    # what is printed means what the policy means
    assert selectors.parse_labels("a,b notin (x,y),c=1,!d")


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded discovery documents are not here")
def test_discovery_is_as_recorded() -> None:
    ours = discovery.resource_list(Resources(), "networking.k8s.io", "v1")
    recorded = json.loads(RECORDED.read_text())
    assert ours is not None
    served = {r["name"] for r in ours["resources"]}
    assert ours["resources"] == [r for r in recorded["resources"] if r["name"] in served]
    assert served == {"ingressclasses", "ingresses", "ingresses/status", "networkpolicies"}

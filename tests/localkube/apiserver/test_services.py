"""Services and ingresses in process: what is filled in, what is given, what is refused."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import tables
from localkube.apiserver.registry import Registry
from localkube.apiserver.serviceaddresses import NODE_PORTS
from localkube.apiserver.status import StatusError

Object = dict[str, Any]


def new_registry(**options: Any) -> Registry:
    registry = Registry(**options)
    registry.create("namespaces", "", {"metadata": {"name": "ns"}})
    return registry


@pytest.fixture
def registry() -> Registry:
    return new_registry()


def service(name: str = "s", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}


def create(registry: Registry, name: str = "s", **spec: Any) -> Object:
    return registry.create("services", "ns", service(name, **spec))


def refused(registry: Registry, name: str = "s", **spec: Any) -> str:
    with pytest.raises(StatusError) as caught:
        create(registry, name, **spec)
    assert caught.value.code == 422
    return caught.value.message.partition(" is invalid: ")[2]


def test_a_service_gets_an_address_and_its_defaults(registry: Registry) -> None:
    spec = create(registry)["spec"]
    address = ipaddress.ip_address(spec["clusterIP"])
    assert address in ipaddress.ip_network("10.96.0.0/16")
    assert spec == {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
        "selector": {"a": "b"},
        "clusterIP": str(address),
        "clusterIPs": [str(address)],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }


def test_an_address_is_given_once_and_again_when_it_is_free(registry: Registry) -> None:
    create(registry, "a", clusterIP="10.96.3.4")
    said = refused(registry, "b", clusterIP="10.96.3.4")
    assert said == (
        'spec.clusterIPs: Invalid value: ["10.96.3.4"]: failed to allocate IP 10.96.3.4: '
        "provided IP is already allocated"
    )
    registry.delete("services", "ns", "a")
    assert create(registry, "b", clusterIP="10.96.3.4")["spec"]["clusterIP"] == "10.96.3.4"


def test_an_address_of_another_range_is_refused(registry: Registry) -> None:
    assert refused(registry, clusterIP="1.2.3.4") == (
        'spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided '
        "IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
    )


def test_a_dry_run_takes_nothing(registry: Registry) -> None:
    registry.create("services", "ns", service(clusterIP="10.96.3.4"), dry_run=True)
    create(registry, clusterIP="10.96.3.4")


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_no_two_services_share_an_address(steps: list[bool]) -> None:
    """In a range of 13 addresses that are given out, in whatever order services come and go."""
    registry = new_registry(service_cidr="10.99.0.0/28")
    names: list[str] = []
    for i, add in enumerate(steps):
        if add and len(names) < 13:
            names.append(f"s{i}")
            create(registry, names[-1])
        elif names:
            registry.delete("services", "ns", names.pop(0))
        used = [s["spec"]["clusterIP"] for s in registry.list("services", "ns")]
        assert len(set(used)) == len(used) == len(names)
        assert "10.99.0.1" not in used


def test_what_was_given_is_known_after_a_restart(registry: Registry) -> None:
    create(registry, "a", clusterIP="10.96.3.4")
    again = Registry(registry.store)
    assert "already allocated" in refused(again, "b", clusterIP="10.96.3.4")


def test_headless_services_have_no_address(registry: Registry) -> None:
    spec = create(registry, clusterIP="None", ports=[])["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])
    free = create(registry, "free", clusterIP="None", selector=None)["spec"]
    assert (free["ipFamilyPolicy"], free["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])


def test_external_names_have_neither_address_nor_ports(registry: Registry) -> None:
    spec = create(registry, type="ExternalName", externalName="a.example.com", ports=None, selector=None)[
        "spec"
    ]
    assert spec == {"type": "ExternalName", "externalName": "a.example.com", "sessionAffinity": "None"}


def test_node_ports_are_given_kept_and_let_go(registry: Registry) -> None:
    made = create(registry, type="NodePort")
    [port] = made["spec"]["ports"]
    assert port["nodePort"] in NODE_PORTS
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"
    taken = [{"port": 1, "nodePort": port["nodePort"]}]
    assert refused(registry, "b", type="NodePort", ports=taken) == (
        f"spec.ports[0].nodePort: Invalid value: {port['nodePort']}: provided port is already allocated"
    )
    without = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    assert registry.update("services", "ns", without)["spec"]["ports"][0]["nodePort"] == port["nodePort"]
    inside = registry.patch("services", "ns", "s", {"spec": {"type": "ClusterIP"}})["spec"]
    assert "nodePort" not in inside["ports"][0]
    assert "externalTrafficPolicy" not in inside
    create(registry, "b", type="NodePort", ports=taken)


def test_an_address_stays_with_its_service(registry: Registry) -> None:
    ip = create(registry)["spec"]["clusterIP"]
    put = registry.update("services", "ns", service(ports=[{"port": 81}]))
    assert put["spec"]["clusterIP"] == ip
    with pytest.raises(StatusError, match=r"spec.clusterIPs\[0\]: Invalid value: .* may not change once set"):
        registry.patch("services", "ns", "s", {"spec": {"clusterIP": "10.96.9.9"}})
    named = {"spec": {"type": "ExternalName", "externalName": "x.y", "clusterIP": None, "clusterIPs": None}}
    assert "clusterIP" not in registry.patch("services", "ns", "s", named)["spec"]
    create(registry, "b", clusterIP=ip)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        (
            {"ports": [{"port": 0}]},
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"port": 1, "protocol": "ICMP"}]},
            'spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"port": 1, "targetPort": "a_b"}]},
            'spec.ports[0].targetPort: Invalid value: "a_b": must contain only alpha-numeric characters',
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30001}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]},
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range "
            "of valid ports is 30000-32767",
        ),
        (
            {"type": "Magic"},
            'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", '
            '"LoadBalancer", "NodePort"',
        ),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        (
            {"clusterIP": "nonsense"},
            'spec.clusterIPs[0]: Invalid value: "nonsense": must be a valid IP address, (e.g. 10.9.8.7 or '
            "2001:db8::ffff)",
        ),
        (
            {"sessionAffinity": "Cookie"},
            'spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"',
        ),
        (
            {"externalTrafficPolicy": "Local"},
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible',
        ),
        (
            {"loadBalancerClass": "x.io/y"},
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            {"ipFamilies": ["IPv6"]},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
        (
            {"selector": {"a": "b c"}},
            'spec.selector: Invalid value: "b c": a valid label must be an empty string',
        ),
    ],
)
def test_the_real_words(registry: Registry, spec: Object, said: str) -> None:
    assert said in refused(registry, **spec)


def test_names_of_services_begin_with_a_letter(registry: Registry) -> None:
    assert refused(registry, "1a").startswith('metadata.name: Invalid value: "1a": a DNS-1035 label must')


def cells(registry: Registry, key: str, obj: Object) -> list[Any]:
    table = tables.table(registry.resources[key], [obj], {}, now=registry.clock())
    return [c for c in table["rows"][0]["cells"] if c != "0s"]


def test_tables(registry: Registry) -> None:
    made = create(
        registry,
        clusterIP="10.96.0.9",
        ports=[{"port": 80}, {"port": 53, "protocol": "UDP", "name": "d"}][:1],
    )
    assert cells(registry, "services", made) == ["s", "ClusterIP", "10.96.0.9", "<none>", "80/TCP", "a=b"]
    balancer = create(
        registry, "l", type="LoadBalancer", ports=[{"port": 80, "nodePort": 30080}], clusterIP="10.96.0.8"
    )
    assert cells(registry, "services", balancer)[3:5] == ["<pending>", "80:30080/TCP"]


# ingresses


def ingress(**spec: Any) -> Object:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    paths = [{"path": "/x", "pathType": "Prefix", "backend": backend}]
    return {"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b", "http": {"paths": paths}}], **spec}}


def bad_ingress(registry: Registry, obj: Object) -> str:
    with pytest.raises(StatusError) as caught:
        registry.create("ingresses.networking.k8s.io", "ns", obj)
    assert caught.value.code == 422
    return caught.value.message.partition(" is invalid: ")[2]


def path_of(path: str, kind: str | None = "Prefix", **backend: Any) -> Object:
    obj = ingress()
    item = obj["spec"]["rules"][0]["http"]["paths"][0]
    item["path"] = path
    item["pathType"] = kind
    if backend:
        item["backend"] = backend
    return obj


AT = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (
            ingress(rules=[]),
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
        ),
        (path_of("x"), f'{AT}.path: Invalid value: "x": must be an absolute path'),
        (path_of("/a//b"), f"{AT}.path: Invalid value: \"/a//b\": must not contain '//'"),
        (path_of("/a/.."), f"{AT}.path: Invalid value: \"/a/..\": cannot end with '/..'"),
        (path_of("/%2fa"), f"{AT}.path: Invalid value: \"/%2fa\": must not contain '%2f'"),
        (path_of("/", None), f"{AT}.pathType: Required value: pathType must be specified"),
        (
            path_of("/", "Regex"),
            f'{AT}.pathType: Unsupported value: "Regex": supported values: "Exact", ',
        ),
        (
            path_of("/", service={"name": "s"}),
            f"{AT}.backend.service: Required value: port name or number is required",
        ),
        (
            path_of("/", service={"name": "s", "port": {"name": "a", "number": 1}}),
            f'{AT}.backend.service: Invalid value: "": cannot set both port name & port number',
        ),
        (
            ingress(rules=[{"host": "1.2.3.4"}]),
            'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
        ),
        (
            ingress(rules=[{"host": "a.*.b"}]),
            'spec.rules[0].host: Invalid value: "a.*.b": a wildcard DNS-1123 subdomain must start',
        ),
    ],
)
def test_what_an_ingress_may_not_say(registry: Registry, obj: Object, said: str) -> None:
    assert bad_ingress(registry, obj).startswith(said)


def test_a_default_class_is_filled_in(registry: Registry) -> None:
    key, annotation = "ingressclasses.networking.k8s.io", "ingressclass.kubernetes.io/is-default-class"
    for name, marked in (("plain", {}), ("marked", {annotation: "true"})):
        meta = {"name": name, "annotations": marked}
        registry.create(key, "", {"metadata": meta, "spec": {"controller": "x.io/c"}})
    made = registry.create("ingresses.networking.k8s.io", "ns", ingress())
    assert (made["spec"]["ingressClassName"], made["metadata"]["generation"]) == ("marked", 1)
    shown = cells(registry, "ingresses.networking.k8s.io", made)
    assert shown == ["i", "marked", "a.b", "", "80"]
    with pytest.raises(StatusError, match=r'spec\.controller: Invalid value: "x.io/d": field is immutable'):
        registry.patch(key, "", "marked", {"spec": {"controller": "x.io/d"}})


def test_the_status_of_an_ingress_is_for_its_controller(registry: Registry) -> None:
    key = "ingresses.networking.k8s.io"
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}
    made = registry.create(key, "ns", {**ingress(), "status": status})
    assert made["status"] == {"loadBalancer": {}}
    now = registry.patch(key, "ns", "i", {"status": status}, subresource="status")
    assert (now["status"], now["metadata"]["generation"]) == (status, 1)
    bad = {"status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}}
    with pytest.raises(StatusError, match="must be a valid IP address"):
        registry.patch(key, "ns", "i", bad, subresource="status")


# endpoints written by hand


def test_endpoints_of_ones_own(registry: Registry) -> None:
    subset = {"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}
    made = registry.create("endpoints", "ns", {"metadata": {"name": "e"}, "subsets": [subset]})
    assert made["subsets"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert cells(registry, "endpoints", made) == ["e", "10.1.1.1:80"]
    bad = {"metadata": {"name": "f"}, "subsets": [{"addresses": [{"ip": "127.0.0.1"}]}, {}]}
    with pytest.raises(StatusError) as caught:
        registry.create("endpoints", "ns", bad)
    assert (
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback'
        in caught.value.message
    )
    assert (
        "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`" in caught.value.message
    )


def test_slices_of_ones_own(registry: Registry) -> None:
    key = "endpointslices.discovery.k8s.io"
    obj = {
        "metadata": {"name": "e", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.1.1"]}],
        "ports": [{"port": 80}],
    }
    made = registry.create(key, "ns", obj)
    assert made["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]
    assert cells(registry, key, made) == ["e", "IPv4", "80", "10.1.1.1"]
    patch = {"endpoints": [{"addresses": ["10.1.1.2"]}]}
    assert registry.patch(key, "ns", "e", patch)["metadata"]["generation"] == 2
    for change, said in (
        ({"addressType": "FQDN"}, 'addressType: Invalid value: "FQDN": field is immutable'),
        ({"endpoints": [{"addresses": ["::1"]}]}, "must be an IPv4 address"),
        (
            {"endpoints": [{"addresses": []}]},
            "endpoints[0].addresses: Required value: must contain at least 1",
        ),
    ):
        with pytest.raises(StatusError) as caught:
            registry.patch(key, "ns", "e", change)
        assert said in caught.value.message

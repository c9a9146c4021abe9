"""The objects of every backend, against golden files (UPDATE_GOLDEN=1 writes them anew: read the diff)."""

import base64
import json
import os
from pathlib import Path

import pytest
import yaml
from tests.hubfleet.routing.backends import NAMING, objects_for, route

from hubfleet.routing.backend import Backend, SniRoute
from hubfleet.routing.gatewayapi import GatewayApi, GatewayRef
from hubfleet.routing.ingress import Ingress
from hubfleet.routing.istio import Istio, inherited
from hubfleet.routing.route import Object, covers
from hubfleet.routing.traefik import Traefik

GOLDEN = Path(__file__).parent / "golden"

BACKENDS: dict[str, Backend] = {
    "gatewayapi": GatewayApi(
        NAMING,
        GatewayRef.parse("infra/edge:https"),
        hostnames=["hub.example.org"],
        retry_field=True,
        tls_ca="authority",
    ),
    "istio": Istio(NAMING, "infra/edge", hostnames=["hub.example.org"]),
    "ingress": Ingress(NAMING, "nginx", hostnames=["hub.example.org"], tls_secret="certificate"),
    "traefik": Traefik(NAMING, ["websecure"], hostnames=["hub.example.org"], tls=True),
}

ROUTES = [
    route("/", "http://hub:8081", hub=True, jupyterhub=True),
    route("/user/a@b.org", "http://10.0.0.1:8888", user="a@b.org", server_name="", jupyterhub=True),
    route("/user/josé/s 1", "http://[fd00::1]:8888", user="josé", server_name="s 1", jupyterhub=True),
    route("/services/outside", "https://west.example.org", service="outside", jupyterhub=True),
]
ELSEWHERE = route("/services/there", "http://there.other.svc.cluster.local:8000", service="there")
HOSTED = route("/s", "http://10.0.0.2:8888", "alice.example.org", user="alice")


@pytest.mark.parametrize("name", BACKENDS)
def test_objects_are_as_recorded(name: str) -> None:
    backend = BACKENDS[name]
    elsewhere = [] if name == "ingress" else [ELSEWHERE]
    objects = objects_for(backend, [*ROUTES, *elsewhere, HOSTED])
    if name != "ingress":
        objects += backend.sni(SniRoute("dask-1", "dask-1.example.org", "dask-1", "hubfleet-a", 8786))
    objects.sort(key=lambda o: (o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]))
    compare(GOLDEN / f"{name}.yaml", objects)


def compare(path: Path, objects: list[Object]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=110))
    assert objects == list(yaml.safe_load_all(path.read_text()))


def test_an_ingress_does_not_lead_to_other_namespaces() -> None:
    with pytest.raises(ValueError, match="its own namespace"):
        objects_for(BACKENDS["ingress"], [ELSEWHERE])


def test_an_https_address_needs_a_name() -> None:
    with pytest.raises(ValueError, match="tls_hostname"):
        BACKENDS["gatewayapi"].parts(route("/a", "https://10.0.0.1:8443"))
    named = GatewayApi(NAMING, GatewayRef("edge"), tls_hostname="server.internal")
    (policy,) = [p for p in named.parts(route("/a", "https://10.0.0.1")) if p["kind"] == "BackendTLSPolicy"]
    assert policy["spec"]["validation"]["hostname"] == "server.internal"


def test_tls_connections_cannot_go_through_an_ingress() -> None:
    with pytest.raises(ValueError, match="without opening"):
        BACKENDS["ingress"].sni(SniRoute("a", "a.example.org", "a", "b", 1))


def proxy_data(**route: object) -> str:
    return base64.b64encode(json.dumps(route).encode()).decode()


def test_routes_of_jupyterhub_istio_proxy_are_read() -> None:
    data = proxy_data(
        route_spec="/user/josé/", target="http://10.0.0.1:8888", jupyterhub=True, data={"user": "josé"}
    )
    assert inherited({"jupyter.splunk.io/proxy-data": data}, "jupyter") == (
        "/user/josé",
        "http://10.0.0.1:8888",
        {"user": "josé", "jupyterhub": True},
    )
    assert inherited({"other.splunk.io/proxy-data": data}, "jupyter") is None
    bare = proxy_data(route_spec="/", target="http://hub:8081")
    assert inherited({"jupyter.splunk.io/proxy-data": bare}, "jupyter") == ("/", "http://hub:8081", {})


@pytest.mark.parametrize("text", ["", "?", "e30=", base64.b64encode(b"\xff").decode(), proxy_data(target=1)])
def test_what_is_no_route_of_jupyterhub_istio_proxy_is_left_alone(text: str) -> None:
    assert inherited({"jupyter.splunk.io/proxy-data": text}, "jupyter") is None


def test_what_others_add_does_not_count_and_what_they_change_does() -> None:
    ours = {"rules": [{"matches": [1, 2]}], "hosts": ["a"]}
    assert covers({"rules": [{"matches": [1, 2], "weight": 1}], "hosts": ["a"], "more": 1}, ours)
    assert not covers({"rules": [{"matches": [1, 2]}, {}], "hosts": ["a"]}, ours)
    assert not covers({"rules": [{"matches": [1, 3]}], "hosts": ["a"]}, ours)
    assert not covers({"hosts": ["a"]}, ours)

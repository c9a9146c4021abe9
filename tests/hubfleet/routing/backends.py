"""The backends under test, each with the model of its gateway."""

from collections.abc import Iterable

import msgspec
from tests.hubfleet.routing import gateways

from hubfleet.routing import target
from hubfleet.routing.backend import Backend
from hubfleet.routing.gatewayapi import GatewayApi, GatewayRef
from hubfleet.routing.ingress import Ingress
from hubfleet.routing.istio import Istio
from hubfleet.routing.route import Naming, Object, Route
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.traefik import Traefik

NAMING = Naming("hub", "jhub")


class Case(msgspec.Struct, frozen=True):
    name: str
    backend: Backend
    serve: gateways.Serve


CASES = (
    Case("gatewayapi", GatewayApi(NAMING, GatewayRef("edge", "infra")), gateways.gateway_api),
    Case("istio", Istio(NAMING, "infra/edge"), gateways.istio),
    Case("istio-successors", Istio(NAMING, "infra/edge", successors=True), gateways.istio),
    Case("ingress", Ingress(NAMING, "nginx"), gateways.ingress),
    Case("traefik", Traefik(NAMING), gateways.traefik),
)


def route(path: str, url: str, host: str = "", **data: object) -> Route:
    return Route(Routespec(path, host), target.parse(url, namespace=NAMING.namespace), url, dict(data))


def objects_for(backend: Backend, routes: Iterable[Route]) -> list[Object]:
    """All objects of some routes, as they are once every write is done."""
    known = {r.spec: r for r in routes}
    buckets: dict[str, list[Route]] = {}
    for each in known.values():
        buckets.setdefault(backend.bucket(each.spec).name, []).append(each)
    carriers = [backend.carrier(name, members) for name, members in buckets.items()]
    parts = [part for each in known.values() for part in backend.parts(each)]
    heads = []
    for host in {spec.host for spec in known}:
        if backend.has_heads(host):
            names = sorted({backend.bucket(spec) for spec in known if spec.host == host})
            heads += backend.heads(host, names, known.get(Routespec("/")))
    return [*parts, *carriers, *heads]

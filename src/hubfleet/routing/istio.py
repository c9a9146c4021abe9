"""Istio: carriers are delegate VirtualServices, and one VirtualService for each host orders them.

Istio's path prefixes are prefixes of strings, so each route matches its path exactly, and what begins with it
and a slash. The first rule that matches wins: in one object in its own order; between objects of one host and
gateway the order is undefined by the documentation, and by age in practice, where routes come and go in any
order. And one object cannot hold them all: annotations end at 256 KiB, objects at 1.5 MiB, and each change
would write all of it.

So the routes are spread over carriers by the number of segments of their path, and within that by a hash.
Only the head is bound to the gateway; it delegates to the carriers, those of longer paths first. Delegation
keeps the head's order, two routes of which one is below the other have different numbers of segments, and two
of the same number never match the same request: the order is total and rests on nothing but what Istio
documents.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hubfleet.kube.resources import Resource
from hubfleet.routing.backend import (
    Bucket,
    SniRoute,
    longest_first,
    metadata,
    part,
    part_name,
    port_name,
)
from hubfleet.routing.route import IDENTITY_HEADER, WORKLOAD, Naming, Object, Route, carried, sealed
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.target import Target

GROUP = "networking.istio.io"
VIRTUALSERVICES = Resource(GROUP, "v1", "virtualservices", "VirtualService")
SERVICEENTRIES = Resource(GROUP, "v1", "serviceentries", "ServiceEntry")
DESTINATIONRULES = Resource(GROUP, "v1", "destinationrules", "DestinationRule")

SHARDS = 256
"""Carriers for the routes of one host and number of segments: 5,000 users make 20 routes, 10 KiB, in each."""

ANNOTATIONS = 240 * 1024
"""Bytes of routes in one carrier's annotation at most; the API server takes 256 KiB of all annotations."""

MATCHES = 64
"""Spellings in one rule, as for the Gateway API."""

SUFFIX = "-b"
"""Of the name of a carrier's successor, where we may not update: see hubproxy.writing."""


class Istio:
    """`gateway` is the name of an Istio Gateway, with its namespace before a slash if it is in another one.

    `hostnames` are those of routes that name no host. `successors` says that carriers may be called by their
    second name at any moment, so that heads have to name both.
    """

    kind = VIRTUALSERVICES
    part_kinds: tuple[Resource, ...] = (SERVICEENTRIES, DESTINATIONRULES)
    identifies = True
    shared = True
    has_conditions = False

    def __init__(
        self,
        naming: Naming,
        gateway: str,
        *,
        hostnames: Sequence[str] = ("*",),
        domain: str = "cluster.local",
        tls_hostname: str = "",
        successors: bool = False,
    ):
        self.naming = naming
        self._gateway = gateway
        self._hostnames = list(hostnames) or ["*"]
        self._domain = domain
        self._tls_hostname = tls_hostname
        self.successors = successors

    def bucket(self, spec: Routespec) -> Bucket:
        shard = int(hashlib.sha256(spec.path.encode()).hexdigest()[:8], 16) % SHARDS
        text = f"{spec.host} {spec.depth} {shard}"
        return Bucket(spec.depth, self.naming.join(text, f"carrier {text}"))

    def carrier(self, bucket: str, routes: Sequence[Route]) -> Object:
        ordered = longest_first(routes)
        if len(carried(ordered)) > ANNOTATIONS:
            raise ValueError(
                f"there is no room for this route: {len(ordered) - 1} others share an object with it"
            )
        # Neither hosts nor gateways: that makes it a delegate, which is served through the head alone.
        return sealed(self._virtual_service(bucket, {"http": [self._rule(r) for r in ordered]}), ordered)

    def has_heads(self, host: str) -> bool:
        return True

    def head_names(self, host: str) -> list[str]:
        return [self.naming.join(f"{host} head", f"head {host}")]

    def heads(self, host: str, buckets: Sequence[Bucket], default: Route | None) -> list[Object]:
        ordered = [b.name for b in sorted(buckets, key=lambda bucket: (-bucket.depth, bucket.name))]
        if not ordered:
            return []
        if host and default is not None:
            # A host that somebody names is not looked for among the routes of every host.
            ordered.append(self.bucket(default.spec).name)
        if self.successors:
            ordered = [name for first in ordered for name in (first, first + SUFFIX)]
        head = self._virtual_service(
            self.head_names(host)[0],
            {
                "hosts": [host] if host else self._hostnames,
                "gateways": [self._gateway],
                "http": [
                    {
                        "match": [{"uri": {"prefix": "/"}}],
                        "delegate": {"name": name, "namespace": self.naming.namespace},
                    }
                    for name in ordered
                ],
            },
        )
        head["metadata"]["labels"][WORKLOAD] = "route-head"
        return [sealed(head)]

    def _rule(self, route: Route) -> Object:
        return {
            "name": route.identity,
            "match": [match for path in route.spec.spellings()[:MATCHES] for match in _matches(path)],
            "route": [{"destination": {"host": self._host(route), "port": {"number": route.target.port}}}],
            "headers": {"response": {"set": {IDENTITY_HEADER: route.identity}}},
            "timeout": "0s",
            # Istio's own default is two: also of requests that are not idempotent.
            "retries": {"attempts": 0},
        }

    def _host(self, route: Route) -> str:
        if route.target.kind == "service":
            return route.target.in_cluster(self._domain)
        return f"{part_name(self.naming, route)}.{self.naming.namespace}.hubfleet.internal"

    def parts(self, route: Route) -> list[Object]:
        target, host = route.target, self._host(route)
        name, bucket = part_name(self.naming, route), self.bucket(route.spec).name
        parts = []
        if target.kind != "service":
            parts.append(part(self.naming, SERVICEENTRIES, name, bucket, spec=_entry(host, target)))
        if target.https:
            policy = {"portLevelSettings": [{"port": {"number": target.port}, "tls": self._tls(target)}]}
            spec = {"host": host, "trafficPolicy": policy}
            parts.append(part(self.naming, DESTINATIONRULES, name, bucket, spec=spec))
        return parts

    def _tls(self, target: Target) -> Object:
        name = self._tls_hostname or (target.host if target.kind == "name" else "")
        return {"mode": "SIMPLE", "sni": name, "subjectAltNames": [name]} if name else {"mode": "SIMPLE"}

    def sni(self, route: SniRoute) -> list[Object]:
        target = Target("https", route.service, route.port, "service", route.namespace)
        rule = {
            "match": [{"sniHosts": [route.hostname]}],
            "route": [
                {"destination": {"host": target.in_cluster(self._domain), "port": {"number": route.port}}}
            ],
        }
        spec = {"hosts": [route.hostname], "gateways": [self._gateway], "tls": [rule]}
        obj = self._virtual_service(route.name, spec)
        obj["metadata"]["labels"] = self.naming.labels("sni-route")
        return [obj]

    def _virtual_service(self, name: str, spec: Object) -> Object:
        return {
            "apiVersion": VIRTUALSERVICES.api_version,
            "kind": VIRTUALSERVICES.kind,
            "metadata": metadata(self.naming, name),
            "spec": spec,
        }


def _matches(path: str) -> list[Object]:
    if path == "/":
        return [{"uri": {"prefix": "/"}}]
    return [{"uri": {"exact": path}}, {"uri": {"prefix": f"{path}/"}}]


def _entry(host: str, target: Target) -> Object:
    """A ServiceEntry: without one, Istio drops what it has not in its registry.

    The host is a name of ours alone, or two routes to one server would have to share an object.
    """
    protocol = "HTTPS" if target.https else "HTTP"
    return {
        "hosts": [host],
        "location": "MESH_EXTERNAL",
        "ports": [{"number": target.port, "name": port_name(target), "protocol": protocol}],
        "resolution": "STATIC" if target.kind == "address" else "DNS",
        "endpoints": [{"address": target.host}],
    }


class Inherited(msgspec.Struct, frozen=True):
    """A route as jupyterhub-istio-proxy wrote it down."""

    route_spec: str
    target: str
    jupyterhub: Any = msgspec.UNSET
    data: Any = msgspec.UNSET


def inherited_annotation(prefix: str) -> str:
    """Where jupyterhub-istio-proxy keeps a route; `prefix` is its VIRTUAL_SERVICE_PREFIX."""
    return f"{prefix}.splunk.io/proxy-data"


def inherited(annotations: Mapping[str, str], prefix: str) -> tuple[str, str, dict[str, Any]] | None:
    """Decoded path, target and data of a VirtualService of jupyterhub-istio-proxy; None where it is none."""
    text = annotations.get(inherited_annotation(prefix))
    if text is None:
        return None
    try:
        route = msgspec.json.decode(base64.b64decode(text, validate=True), type=Inherited)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    data: dict[str, Any] = {}
    if isinstance(route.data, dict):
        data |= route.data
    if route.jupyterhub is not msgspec.UNSET:
        data["jupyterhub"] = route.jupyterhub
    path = route.route_spec if route.route_spec == "/" else route.route_spec.rstrip("/")
    return path or "/", route.target, data

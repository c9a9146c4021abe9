"""The Gateway API: one HTTPRoute for each route.

Its path prefixes are compared by segments, and of all that match the longest wins, whatever the age or order
of the objects: JupyterHub's own semantics. So routes need not know of each other.

Hosts do: a request for a host that some route names is no longer for the routes of every host. CHP goes on
looking there; here each such host gets a route of its own to where the default one leads.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from hubfleet.kube.resources import ENDPOINTSLICES, SERVICES, Resource
from hubfleet.routing.backend import Bucket, SniRoute, metadata, part, part_name
from hubfleet.routing.route import IDENTITY_HEADER, WORKLOAD, Naming, Object, Route, sealed
from hubfleet.routing.routespec import LONGEST, Routespec
from hubfleet.routing.upstream import service_name, services

GROUP = "gateway.networking.k8s.io"
HTTPROUTES = Resource(GROUP, "v1", "httproutes", "HTTPRoute")
TLSROUTES = Resource(GROUP, "v1", "tlsroutes", "TLSRoute")
REFERENCEGRANTS = Resource(GROUP, "v1beta1", "referencegrants", "ReferenceGrant")
BACKENDTLSPOLICIES = Resource(GROUP, "v1", "backendtlspolicies", "BackendTLSPolicy")

MATCHES = 64
"""Of one rule: the HTTPRoute's own limit."""

_ALLOWED = frozenset("-._~!$&'()*+,;=:@/%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
"""Characters of a path's value."""


class GatewayRef(msgspec.Struct, frozen=True):
    """The Gateway that routes attach to; of one listener where `section` names it."""

    name: str
    namespace: str = ""
    section: str = ""

    @classmethod
    def parse(cls, text: str) -> "GatewayRef":
        """Of `[namespace/]name[:section]`."""
        full, _, section = text.partition(":")
        namespace, _, name = full.rpartition("/")
        if not name:
            raise ValueError(f"gateway {text!r}: expected [namespace/]name[:section]")
        return cls(name, namespace, section)

    def parent(self) -> Object:
        parent: Object = {"group": GROUP, "kind": "Gateway", "name": self.name}
        if self.namespace:
            parent["namespace"] = self.namespace
        if self.section:
            parent["sectionName"] = self.section
        return parent


class GatewayApi:
    """`hostnames` are those of routes that name no host; () is every one that the listener has.

    `retry_field` writes `retry: {attempts: 0}`, which only the experimental channel of the CRDs knows: an API
    server without it refuses the whole object. `tls_ca` is the name of a ConfigMap with the authority of
    https targets ("" takes the gateway's own list), `tls_hostname` the name in their certificates where it
    is not the target's.
    """

    kind = HTTPROUTES
    part_kinds: tuple[Resource, ...] = (SERVICES, ENDPOINTSLICES, REFERENCEGRANTS, BACKENDTLSPOLICIES)
    identifies = True
    shared = False
    has_conditions = True

    def __init__(
        self,
        naming: Naming,
        gateway: GatewayRef,
        *,
        hostnames: Sequence[str] = (),
        retry_field: bool = False,
        tls_ca: str = "",
        tls_hostname: str = "",
    ):
        self.naming = naming
        self._gateway = gateway
        self._hostnames = list(hostnames)
        self._retry_field = retry_field
        self._tls_ca = tls_ca
        self._tls_hostname = tls_hostname

    def bucket(self, spec: Routespec) -> Bucket:
        return Bucket(spec.depth, self.naming.name(spec))

    def carrier(self, bucket: str, routes: Sequence[Route]) -> Object:
        (route,) = routes
        return sealed(self._http_route(bucket, route, route.spec.spellings(), route.spec.host), routes)

    def has_heads(self, host: str) -> bool:
        return bool(host)

    def head_names(self, host: str) -> list[str]:
        return [self.naming.join(f"{host} default", f"default {host}")] if host else []

    def heads(self, host: str, buckets: Sequence[Bucket], default: Route | None) -> list[Object]:
        if not host or default is None or not buckets or any(bucket.depth == 0 for bucket in buckets):
            return []
        (name,) = self.head_names(host)
        fallback = self._http_route(name, default, ("/",), host)
        fallback["metadata"]["labels"][WORKLOAD] = "route-head"
        return [sealed(fallback)]

    def _http_route(self, name: str, route: Route, paths: Sequence[str], host: str) -> Object:
        rule: Object = {
            "matches": [{"path": {"type": "PathPrefix", "value": path}} for path in _values(paths)],
            "filters": [
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {
                        "set": [{"name": IDENTITY_HEADER, "value": route.identity}],
                    },
                }
            ],
            "backendRefs": [self._backend(route)],
            # A websocket lives as long as its notebook; without these a gateway's own default may end it.
            "timeouts": {"request": "0s", "backendRequest": "0s"},
        }
        if self._retry_field:
            rule["retry"] = {"attempts": 0}
        spec: Object = {"parentRefs": [self._gateway.parent()], "rules": [rule]}
        if hostnames := [host] if host else self._hostnames:
            spec["hostnames"] = hostnames
        return {
            "apiVersion": HTTPROUTES.api_version,
            "kind": HTTPROUTES.kind,
            "metadata": metadata(self.naming, name),
            "spec": spec,
        }

    def _backend(self, route: Route) -> Object:
        namespace, name = service_name(self.naming, route)
        backend = _service(name, route.target.port)
        if namespace != self.naming.namespace:
            backend["namespace"] = namespace
        return backend

    def parts(self, route: Route) -> list[Object]:
        bucket = self.naming.name(route.spec)
        namespace, service = service_name(self.naming, route)
        parts = services(self.naming, route, bucket)
        if namespace != self.naming.namespace:
            parts.append(self._grant(route, bucket, namespace, service))
        if route.target.https:
            parts.append(self._tls_policy(route, bucket, namespace, service))
        return parts

    def _grant(self, route: Route, bucket: str, namespace: str, service: str) -> Object:
        spec = {
            "from": [{"group": GROUP, "kind": HTTPROUTES.kind, "namespace": self.naming.namespace}],
            "to": [{"group": "", "kind": "Service", "name": service}],
        }
        name = part_name(self.naming, route)
        return _in(namespace, part(self.naming, REFERENCEGRANTS, name, bucket, spec=spec))

    def _tls_policy(self, route: Route, bucket: str, namespace: str, service: str) -> Object:
        target = route.target
        hostname = self._tls_hostname
        if not hostname:
            if target.kind == "address":
                raise ValueError(
                    f"{route.url} is an https address without a name: hubproxy.tls_hostname has to say "
                    "which name its certificate is for"
                )
            hostname = target.host if target.kind == "name" else f"{service}.{namespace}.svc"
        validation: Object = {"hostname": hostname}
        if self._tls_ca:
            authority = {"group": "", "kind": "ConfigMap", "name": self._tls_ca}
            validation["caCertificateRefs"] = [authority]
        else:
            validation["wellKnownCACertificates"] = "System"
        spec = {"targetRefs": [{"group": "", "kind": "Service", "name": service}], "validation": validation}
        name = part_name(self.naming, route)
        return _in(namespace, part(self.naming, BACKENDTLSPOLICIES, name, bucket, spec=spec))

    def sni(self, route: SniRoute) -> list[Object]:
        backend = _service(route.service, route.port)
        objects = []
        if route.namespace != self.naming.namespace:
            backend["namespace"] = route.namespace
            spec = {
                "from": [{"group": GROUP, "kind": TLSROUTES.kind, "namespace": self.naming.namespace}],
                "to": [{"group": "", "kind": "Service", "name": route.service}],
            }
            grant = part(self.naming, REFERENCEGRANTS, route.name, route.name, spec=spec)
            objects.append(_in(route.namespace, grant))
        objects.append(
            {
                "apiVersion": TLSROUTES.api_version,
                "kind": TLSROUTES.kind,
                "metadata": metadata(self.naming, route.name, "sni-route"),
                "spec": {
                    "parentRefs": [self._gateway.parent()],
                    "hostnames": [route.hostname],
                    "rules": [{"backendRefs": [backend]}],
                },
            }
        )
        return objects


def _values(paths: Sequence[str]) -> list[str]:
    """The spellings that a path match may have; the Hub's own is one of them, by how it quotes."""
    return [path for path in paths if len(path) <= LONGEST and _ALLOWED.issuperset(path)][:MATCHES]


def _service(name: str, port: int) -> Object:
    return {"group": "", "kind": "Service", "name": name, "port": port, "weight": 1}


def _in(namespace: str, obj: Object) -> Object:
    metadata: dict[str, Any] = obj["metadata"]
    return {**obj, "metadata": {**metadata, "namespace": namespace}}

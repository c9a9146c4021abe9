"""Traefik: one IngressRoute for each route, with a priority of its own.

Left alone Traefik takes the rule that has most characters. Ours says the number of segments of the path, and
a host before that: so the longest prefix wins, and what no route of a host takes goes to the routes of every
host, as in CHP. Its prefixes are of strings, so a rule has the path itself, and what begins with it and a
slash.
"""

from collections.abc import Sequence

from hubfleet.kube.resources import ENDPOINTSLICES, SERVICES, Resource
from hubfleet.routing.backend import Bucket, SniRoute, metadata, part, part_name
from hubfleet.routing.route import IDENTITY_HEADER, Naming, Object, Route, sealed
from hubfleet.routing.routespec import LONGEST, Routespec
from hubfleet.routing.upstream import service_name, services

GROUP = "traefik.io"
INGRESSROUTES = Resource(GROUP, "v1alpha1", "ingressroutes", "IngressRoute")
INGRESSROUTETCPS = Resource(GROUP, "v1alpha1", "ingressroutetcps", "IngressRouteTCP")
MIDDLEWARES = Resource(GROUP, "v1alpha1", "middlewares", "Middleware")

HOST_PRIORITY = LONGEST
"""More than any path's segments."""


class Traefik:
    """`entry_points` are the names of Traefik's own; () is all of them.

    `tls` lets Traefik end TLS on them. `servers_transport` names the ServersTransport for https targets.
    """

    kind = INGRESSROUTES
    part_kinds: tuple[Resource, ...] = (SERVICES, ENDPOINTSLICES, MIDDLEWARES)
    identifies = True
    shared = False
    has_conditions = False

    def __init__(
        self,
        naming: Naming,
        entry_points: Sequence[str] = (),
        *,
        hostnames: Sequence[str] = (),
        tls: bool = False,
        servers_transport: str = "",
    ):
        self.naming = naming
        self._entry_points = list(entry_points)
        self._hostnames = [name for name in hostnames if name != "*"]
        self._tls = tls
        self._servers_transport = servers_transport

    def bucket(self, spec: Routespec) -> Bucket:
        return Bucket(spec.depth, self.naming.name(spec))

    def carrier(self, bucket: str, routes: Sequence[Route]) -> Object:
        (route,) = routes
        namespace, service = service_name(self.naming, route)
        server: Object = {"kind": "Service", "name": service, "port": route.target.port}
        if namespace != self.naming.namespace:
            server["namespace"] = namespace
        if route.target.https:
            server["scheme"] = "https"
            if self._servers_transport:
                server["serversTransport"] = self._servers_transport
        spec: Object = {
            "routes": [
                {
                    "kind": "Rule",
                    "match": self._rule(route.spec),
                    "priority": 1 + route.spec.depth + (HOST_PRIORITY if route.spec.host else 0),
                    "middlewares": [{"name": part_name(self.naming, route)}],
                    "services": [server],
                }
            ]
        }
        if self._entry_points:
            spec["entryPoints"] = self._entry_points
        if self._tls:
            spec["tls"] = {}
        obj = {
            "apiVersion": INGRESSROUTES.api_version,
            "kind": INGRESSROUTES.kind,
            "metadata": metadata(self.naming, bucket),
            "spec": spec,
        }
        return sealed(obj, routes)

    def has_heads(self, host: str) -> bool:
        return False

    def head_names(self, host: str) -> list[str]:
        return []

    def heads(self, host: str, buckets: Sequence[Bucket], default: Route | None) -> list[Object]:
        return []

    def _rule(self, spec: Routespec) -> str:
        paths = _any_of(
            [rule for path in dict.fromkeys((*spec.spellings(), spec.path)) for rule in _rules(path)]
        )
        hosts = [spec.host] if spec.host else self._hostnames
        if not hosts:
            return paths
        return f"{_any_of([f'Host({_quoted(host)})' for host in hosts])} && ({paths})"

    def parts(self, route: Route) -> list[Object]:
        bucket = self.naming.name(route.spec)
        headers = {"headers": {"customResponseHeaders": {IDENTITY_HEADER: route.identity}}}
        middleware = part(self.naming, MIDDLEWARES, part_name(self.naming, route), bucket, spec=headers)
        return [*services(self.naming, route, bucket), middleware]

    def sni(self, route: SniRoute) -> list[Object]:
        server: Object = {"name": route.service, "port": route.port}
        if route.namespace != self.naming.namespace:
            server["namespace"] = route.namespace
        rule = {"match": f"HostSNI({_quoted(route.hostname)})", "services": [server]}
        spec: Object = {"routes": [rule], "tls": {"passthrough": True}}
        if self._entry_points:
            spec["entryPoints"] = self._entry_points
        return [
            {
                "apiVersion": INGRESSROUTETCPS.api_version,
                "kind": INGRESSROUTETCPS.kind,
                "metadata": metadata(self.naming, route.name, "sni-route"),
                "spec": spec,
            }
        ]


def _rules(path: str) -> list[str]:
    if path == "/":
        return ["PathPrefix(`/`)"]
    return [f"Path({_quoted(path)})", f"PathPrefix({_quoted(f'{path}/')})"]


def _quoted(text: str) -> str:
    """A string of Traefik's rules, which are Go expressions."""
    if "`" not in text:
        return f"`{text}`"
    return '"' + text.replace('"', '\\"') + '"'  # a path has no backslash and no control character


def _any_of(rules: Sequence[str]) -> str:
    return rules[0] if len(rules) == 1 else f"({' || '.join(rules)})"

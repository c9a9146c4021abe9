"""Ingress: one object for each route, with path type Prefix.

That is compared by segments, and the longest path wins across objects of one host, by the API's definition.
Hosts are kept apart as in the Gateway API, so a host that some route names gets a route of its own to where
the default one leads. What Ingress does not define (timeouts, https targets) is said in annotations of the
controller; those of ingress-nginx are ours unless the settings name others.
"""

from collections.abc import Mapping, Sequence

from hubfleet.kube.resources import ENDPOINTSLICES, INGRESSES, SERVICES, Resource
from hubfleet.routing.backend import Bucket, SniRoute, metadata
from hubfleet.routing.route import WORKLOAD, Naming, Object, Route, sealed
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.upstream import service_name, services

ANNOTATIONS = {
    "nginx.ingress.kubernetes.io/proxy-body-size": "0",
    "nginx.ingress.kubernetes.io/proxy-next-upstream": "off",
    "nginx.ingress.kubernetes.io/proxy-read-timeout": "86400",
    "nginx.ingress.kubernetes.io/proxy-send-timeout": "86400",
}
"""No limit for uploads, no second attempt, and a websocket may be quiet for a day; nginx has no "never"."""

HTTPS = {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}


class Ingress:
    """`class_name` is the IngressClass's, `tls_secret` the name of a Secret with the hosts' certificate."""

    kind = INGRESSES
    part_kinds: tuple[Resource, ...] = (SERVICES, ENDPOINTSLICES)
    identifies = False
    shared = False
    has_conditions = False

    def __init__(
        self,
        naming: Naming,
        class_name: str,
        *,
        hostnames: Sequence[str] = (),
        tls_secret: str = "",
        annotations: Mapping[str, str] = ANNOTATIONS,
    ):
        self.naming = naming
        self._class_name = class_name
        self._hostnames = list(hostnames)
        self._tls_secret = tls_secret
        self._annotations = dict(annotations)

    def bucket(self, spec: Routespec) -> Bucket:
        return Bucket(spec.depth, self.naming.name(spec))

    def carrier(self, bucket: str, routes: Sequence[Route]) -> Object:
        (route,) = routes
        return sealed(self._ingress(bucket, route, _paths(route.spec), route.spec.host), routes)

    def has_heads(self, host: str) -> bool:
        return bool(host)

    def head_names(self, host: str) -> list[str]:
        return [self.naming.join(f"{host} default", f"default {host}")] if host else []

    def heads(self, host: str, buckets: Sequence[Bucket], default: Route | None) -> list[Object]:
        if not host or default is None or not buckets or any(bucket.depth == 0 for bucket in buckets):
            return []
        (name,) = self.head_names(host)
        fallback = self._ingress(name, default, ["/"], host)
        fallback["metadata"]["labels"][WORKLOAD] = "route-head"
        return [sealed(fallback)]

    def _ingress(self, name: str, route: Route, paths: Sequence[str], host: str) -> Object:
        namespace, service = service_name(self.naming, route)
        if namespace != self.naming.namespace:
            raise ValueError(
                f"an Ingress leads to Services of its own namespace only, and {route.url} is in {namespace}"
            )
        backend = {"service": {"name": service, "port": {"number": route.target.port}}}
        http = {"paths": [{"path": path, "pathType": "Prefix", "backend": backend} for path in paths]}
        hosts = [host] if host else [name for name in self._hostnames if name != "*"]
        spec: Object = {"rules": [{"host": name, "http": http} for name in hosts] or [{"http": http}]}
        if self._class_name:
            spec["ingressClassName"] = self._class_name
        if self._tls_secret:
            tls: Object = {"secretName": self._tls_secret}
            spec["tls"] = [tls | {"hosts": hosts} if hosts else tls]
        annotations = {**self._annotations, **(HTTPS if route.target.https else {})}
        return {
            "apiVersion": INGRESSES.api_version,
            "kind": INGRESSES.kind,
            "metadata": {**metadata(self.naming, name), "annotations": annotations},
            "spec": spec,
        }

    def parts(self, route: Route) -> list[Object]:
        return services(self.naming, route, self.naming.name(route.spec))

    def sni(self, route: SniRoute) -> list[Object]:
        raise ValueError("an Ingress cannot route TLS connections by their name without opening them")


def _paths(spec: Routespec) -> list[str]:
    """The spellings, and the decoded path: some controllers decode before they compare."""
    return list(dict.fromkeys((*spec.spellings(), spec.path)))

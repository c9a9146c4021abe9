"""Services for targets that are none: for the gateways that lead to nothing but Services.

An address gets a headless Service without a selector and an EndpointSlice that names it; a name outside the
cluster a Service of type ExternalName. (A pod's address, as the Hub names it by default, is such a target.)
"""

from hubfleet.kube.resources import ENDPOINTSLICES, SERVICES
from hubfleet.routing.backend import part, part_name, port_name
from hubfleet.routing.route import Naming, Object, Route

SERVICE_NAME = "kubernetes.io/service-name"
SLICE_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


def service_name(naming: Naming, route: Route) -> tuple[str, str]:
    """Namespace and name of the Service that the route leads to."""
    if route.target.kind == "service":
        return route.target.namespace, route.target.host
    return naming.namespace, part_name(naming, route)


def services(naming: Naming, route: Route, bucket: str) -> list[Object]:
    """The Service that stands for the route's target and its endpoints; nothing where it is one itself."""
    target = route.target
    if target.kind == "service":
        return []
    name = part_name(naming, route)
    port = {"name": port_name(target), "port": target.port, "protocol": "TCP", "appProtocol": target.scheme}
    if target.kind == "name":
        spec = {"type": "ExternalName", "externalName": target.host, "ports": [port]}
        return [part(naming, SERVICES, name, bucket, spec=spec)]
    service = part(naming, SERVICES, name, bucket, spec={"clusterIP": "None", "ports": [port]})
    endpoints = part(
        naming,
        ENDPOINTSLICES,
        name,
        bucket,
        addressType="IPv6" if target.is_ipv6 else "IPv4",
        endpoints=[{"addresses": [target.host], "conditions": {"ready": True}}],
        ports=[port],
    )
    endpoints["metadata"]["labels"] |= {SERVICE_NAME: name, SLICE_MANAGED_BY: "hubfleet"}
    if target.is_ipv6:
        service["spec"] |= {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}
    return [service, endpoints]

"""The kinds that we speak about, and the paths where an API server keeps them."""

import re
from urllib.parse import quote

import msgspec

from hubfleet.kube.errors import BadRequest

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""What needs no quoting: nearly every name."""


class Resource(msgspec.Struct, frozen=True):
    """A kind as its REST path knows it; `group` is "" for the core API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """As messages and RBAC rules spell it: `pods`, `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """The path below the server's URL; without a namespace, that of all namespaces.

        Raises BadRequest for what is not a path segment: these would reach another object or a whole list.
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace is not None:
            root += f"/namespaces/{_segment('namespace', namespace)}"
        elif self.namespaced and name:
            raise BadRequest(
                "", 400, "BadRequest", f"{self.key} {name!r}: an object's path needs a namespace"
            )
        path = f"{root}/{self.plural}"
        if name:
            path += f"/{_segment('name', name)}"
        if subresource:
            path += f"/{subresource}"
        return path

    def object_path(self, namespace: str | None, name: str, subresource: str = "") -> str:
        """The path of one object; an empty name is refused, for it would be the path of the list."""
        return self.path(namespace, _segment("name", name) and name, subresource)


def _segment(what: str, value: str) -> str:
    # The API server's own rule (path.IsValidPathSegmentName); "" would turn one object into all of them.
    if not value or value in (".", "..") or "/" in value or "%" in value:
        raise BadRequest("", 400, "BadRequest", f"{what} {value!r} is not a name that an object can have")
    return value if _PLAIN.fullmatch(value) else quote(value, safe="")


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
RESOURCEQUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMITRANGES = Resource("", "v1", "limitranges", "LimitRange")
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
ROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
SELFSUBJECTREVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)
SELFSUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")

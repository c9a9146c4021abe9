"""What kinds of objects are served, and how they are named.

A table, so that a kind is added by a row; `Resources` is the mutable set that a running server looks
things up in (custom resources join it at runtime).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from localkube.apiserver.crd.kind import CustomKind

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Resource(msgspec.Struct, frozen=True):
    """One served resource. `schema` names its type in `data/schemas.json`, or that of `custom` resources."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    list_kind: str
    namespaced: bool
    schema: str
    verbs: tuple[str, ...] = ALL_VERBS
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    custom: "CustomKind | None" = None

    @property
    def key(self) -> str:
        """`pods`, `jobs.batch`: how errors and the registry name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """`v1`, `batch/v1`: the `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def served_key(self) -> str:
        """`jobs.batch/v1`: the key with the version, of which a custom resource can have several."""
        return f"{self.key}/{self.version}"


RESOURCES: tuple[Resource, ...] = (
    Resource(
        "", "v1", "namespaces", "namespace", "Namespace", "NamespaceList", False,
        "io.k8s.api.core.v1.Namespace",
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        short_names=("ns",), subresources=("finalize", "status"),
    ),
    Resource(
        "", "v1", "nodes", "node", "Node", "NodeList", False,
        "io.k8s.api.core.v1.Node",
        short_names=("no",), subresources=("status",),
    ),
    Resource(
        "", "v1", "configmaps", "configmap", "ConfigMap", "ConfigMapList", True,
        "io.k8s.api.core.v1.ConfigMap",
        short_names=("cm",),
    ),
    Resource(
        "", "v1", "events", "event", "Event", "EventList", True,
        "io.k8s.api.core.v1.Event",
        short_names=("ev",),
    ),
    Resource(
        "", "v1", "pods", "pod", "Pod", "PodList", True,
        "io.k8s.api.core.v1.Pod",
        short_names=("po",), categories=("all",), subresources=("binding", "eviction", "log", "status"),
    ),
    Resource(
        "", "v1", "secrets", "secret", "Secret", "SecretList", True,
        "io.k8s.api.core.v1.Secret",
    ),
    Resource(
        "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", "ServiceAccountList", True,
        "io.k8s.api.core.v1.ServiceAccount",
        short_names=("sa",), subresources=("token",),
    ),
    Resource(
        "batch", "v1", "cronjobs", "cronjob", "CronJob", "CronJobList", True,
        "io.k8s.api.batch.v1.CronJob",
        short_names=("cj",), categories=("all",), subresources=("status",),
    ),
    Resource(
        "batch", "v1", "jobs", "job", "Job", "JobList", True,
        "io.k8s.api.batch.v1.Job",
        categories=("all",), subresources=("status",),
    ),
    Resource(
        "", "v1", "resourcequotas", "resourcequota", "ResourceQuota", "ResourceQuotaList", True,
        "io.k8s.api.core.v1.ResourceQuota",
        short_names=("quota",), subresources=("status",),
    ),
    Resource(
        "", "v1", "limitranges", "limitrange", "LimitRange", "LimitRangeList", True,
        "io.k8s.api.core.v1.LimitRange",
        short_names=("limits",),
    ),
    Resource(
        "scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass", "PriorityClassList",
        False, "io.k8s.api.scheduling.v1.PriorityClass",
        short_names=("pc",),
    ),
    Resource(
        "", "v1", "endpoints", "endpoints", "Endpoints", "EndpointsList", True,
        "io.k8s.api.core.v1.Endpoints",
        short_names=("ep",),
    ),
    Resource(
        "", "v1", "services", "service", "Service", "ServiceList", True,
        "io.k8s.api.core.v1.Service",
        short_names=("svc",), categories=("all",), subresources=("status",),
    ),
    Resource(
        "discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", "EndpointSliceList",
        True, "io.k8s.api.discovery.v1.EndpointSlice",
    ),
    Resource(
        "coordination.k8s.io", "v1", "leases", "lease", "Lease", "LeaseList", True,
        "io.k8s.api.coordination.v1.Lease",
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding",
        "ClusterRoleBindingList", False, "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "clusterroles", "clusterrole", "ClusterRole", "ClusterRoleList",
        False, "io.k8s.api.rbac.v1.ClusterRole",
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "rolebindings", "rolebinding", "RoleBinding", "RoleBindingList",
        True, "io.k8s.api.rbac.v1.RoleBinding",
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "roles", "role", "Role", "RoleList", True,
        "io.k8s.api.rbac.v1.Role",
    ),
    # what only asks: nothing of these is ever stored
    Resource(
        "authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview",
        "", False, "io.k8s.api.authentication.v1.SelfSubjectReview", verbs=("create",),
    ),
    Resource(
        "authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview",
        "", False, "io.k8s.api.authentication.v1.TokenReview", verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "localsubjectaccessreviews", "localsubjectaccessreview",
        "LocalSubjectAccessReview", "", True, "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview",
        "SelfSubjectAccessReview", "", False, "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview",
        "SelfSubjectRulesReview", "", False, "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview",
        "", False, "io.k8s.api.authorization.v1.SubjectAccessReview", verbs=("create",),
    ),
    Resource(
        "networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", "NetworkPolicyList",
        True, "io.k8s.api.networking.v1.NetworkPolicy",
        short_names=("netpol",),
    ),
    Resource(
        "networking.k8s.io", "v1", "ingressclasses", "ingressclass", "IngressClass", "IngressClassList",
        False, "io.k8s.api.networking.v1.IngressClass",
    ),
    Resource(
        "networking.k8s.io", "v1", "ingresses", "ingress", "Ingress", "IngressList", True,
        "io.k8s.api.networking.v1.Ingress",
        short_names=("ing",), subresources=("status",),
    ),
    Resource(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition",
        "CustomResourceDefinition", "CustomResourceDefinitionList", False,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        short_names=("crd", "crds"), categories=("api-extensions",), subresources=("status",),
    ),
)  # fmt: skip


class Resources:
    """The resources a server serves, found by key, by path or by kind."""

    def __init__(self, resources: Iterable[Resource] = RESOURCES) -> None:
        self._by_key: dict[str, Resource] = {}
        self._by_served_key: dict[str, Resource] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._listeners: list[Callable[[Resource], None]] = []
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serve a resource, in place of an earlier one with the same key and version.

        Of several versions, the key stands for the one that was added last.
        """
        known = resource.key in self._by_key
        self._by_key[resource.key] = resource
        self._by_served_key[resource.served_key] = resource
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        if not known:
            for listener in self._listeners:
                listener(resource)

    def remove(self, resource: Resource) -> None:
        self._by_path.pop((resource.group, resource.version, resource.plural), None)
        self._by_kind.pop((resource.api_version, resource.kind), None)
        self._by_served_key.pop(resource.served_key, None)
        if self._by_key.get(resource.key) is resource:
            del self._by_key[resource.key]

    def on_added(self, listener: Callable[[Resource], None]) -> None:
        """Have `listener` told of each resource whose key is new."""
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[Resource]:
        """Every resource in every version."""
        return iter(self._by_path.values())

    def stored(self) -> Iterator[Resource]:
        """Every resource once, whatever versions it is served in."""
        return iter(tuple(self._by_key.values()))

    def __getitem__(self, key: str) -> Resource:
        """By key, `jobs.batch`, or key and version, `jobs.batch/v1`; raises KeyError."""
        return self._by_key.get(key) or self._by_served_key[key]

    def at(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at `/apis/<group>/<version>/<plural>` (`/api/v1/<plural>` for group `""`)."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects carry this `apiVersion` and `kind`, as ownerReferences name it."""
        return self._by_kind.get((api_version, kind))

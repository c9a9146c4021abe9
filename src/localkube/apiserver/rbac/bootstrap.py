"""The roles and bindings that every cluster starts with.

Taken from Kubernetes' plugin/pkg/auth/authorizer/rbac/bootstrappolicy. Left out are those of components that
are part of this process here, and so ask for no permission.
"""

from collections.abc import Iterable
from typing import Any

from localkube.apiserver.rbac.authorizer import MASTERS
from localkube.apiserver.rbac.grants import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP
from localkube.apiserver.rbac.impersonation import AUTHENTICATED, UNAUTHENTICATED
from localkube.apiserver.rbac.rules import FULL_AUTHORITY, Rule, missing
from localkube.apiserver.registry import Registry

Object = dict[str, Any]

_MANAGER = "kube-apiserver"
_UPDATED = "rbac.authorization.kubernetes.io/autoupdate"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_CREATE = ("create",)


def reconcile(registry: Registry) -> None:
    """Create what is missing, and give back what was taken away, unless an object asks to be left alone."""
    for role in _roles():
        _reconcile_role(registry, role)
    for name, groups in _BINDINGS.items():
        _reconcile_binding(registry, _binding(name, groups))


def _reconcile_role(registry: Registry, wanted: Object) -> None:
    found = registry.store.get(CLUSTER_ROLES, "", wanted["metadata"]["name"])
    if found is None:
        registry.create(CLUSTER_ROLES, "", wanted, manager=_MANAGER)
        return
    role = found.object
    # the rules of an aggregated role come from others
    lacking = missing(role.get("rules") or (), wanted.get("rules") or ())
    if lacking and _may_update(role):
        rules = [*(role.get("rules") or ()), *lacking]
        registry.update(CLUSTER_ROLES, "", {**role, "rules": rules}, manager=_MANAGER)


def _reconcile_binding(registry: Registry, wanted: Object) -> None:
    found = registry.store.get(CLUSTER_ROLE_BINDINGS, "", wanted["metadata"]["name"])
    if found is None:
        registry.create(CLUSTER_ROLE_BINDINGS, "", wanted, manager=_MANAGER)
        return
    binding = found.object
    subjects = binding.get("subjects") or []
    lacking = [subject for subject in wanted["subjects"] if subject not in subjects]
    if lacking and _may_update(binding):
        changed = {**binding, "subjects": [*subjects, *lacking]}
        registry.update(CLUSTER_ROLE_BINDINGS, "", changed, manager=_MANAGER)


def _may_update(obj: Object) -> bool:
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return annotations.get(_UPDATED) != "false"


def _metadata(name: str, labels: dict[str, str]) -> Object:
    return {"name": name, "labels": {**_LABELS, **labels}, "annotations": {_UPDATED: "true"}}


def _role(name: str, rules: Iterable[Rule], *, into: str = "") -> Object:
    """`into` is the aggregated role that takes the rules in."""
    return {"metadata": _metadata(name, _aggregate_to(into) if into else {}), "rules": list(rules)}


def _aggregated(name: str, *, into: str = "") -> Object:
    return {
        "metadata": _metadata(name, _aggregate_to(into) if into else {}),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": _aggregate_to(name)}]},
    }


def _aggregate_to(name: str) -> dict[str, str]:
    return {f"{GROUP}/aggregate-to-{name}": "true"}


def _binding(role: str, groups: Iterable[str]) -> Object:
    return {
        "metadata": _metadata(role, {}),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "Group", "apiGroup": GROUP, "name": group} for group in groups],
    }


def _rule(verbs: Iterable[str], group: str, resources: str) -> Rule:
    return {"verbs": list(verbs), "apiGroups": [group], "resources": resources.split()}


def _urls(*urls: str) -> Rule:
    return {"verbs": ["get"], "nonResourceURLs": list(urls)}


_BINDINGS = {
    "cluster-admin": (MASTERS,),
    "system:basic-user": (AUTHENTICATED,),
    "system:discovery": (AUTHENTICATED,),
    "system:monitoring": ("system:monitoring",),
    "system:public-info-viewer": (AUTHENTICATED, UNAUTHENTICATED),
}
_APPS = (
    "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"
)
_APPS_STATUS = "daemonsets/status deployments/status replicasets/status statefulsets/status"


def _roles() -> list[Object]:
    return [
        _role("cluster-admin", FULL_AUTHORITY),
        _aggregated("admin"),
        _aggregated("edit", into="admin"),
        _aggregated("view", into="edit"),
        _role("system:aggregate-to-admin", _ADMIN, into="admin"),
        _role("system:aggregate-to-edit", _EDIT, into="edit"),
        _role("system:aggregate-to-view", _VIEW, into="view"),
        _role(
            "system:auth-delegator",
            (
                _rule(_CREATE, "authentication.k8s.io", "tokenreviews"),
                _rule(_CREATE, "authorization.k8s.io", "subjectaccessreviews"),
            ),
        ),
        _role(
            "system:basic-user",
            (
                _rule(_CREATE, "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
                _rule(_CREATE, "authentication.k8s.io", "selfsubjectreviews"),
            ),
        ),
        _role(
            "system:discovery",
            (
                _urls(
                    *("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*"),
                    *("/readyz", "/version", "/version/"),
                ),
            ),
        ),
        _role(
            "system:monitoring",
            (
                _urls(
                    *("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis"),
                    *("/readyz", "/readyz/*"),
                ),
            ),
        ),
        _role(
            "system:public-info-viewer",
            (_urls("/healthz", "/livez", "/readyz", "/version", "/version/"),),
        ),
    ]


_ADMIN = (
    _rule(_CREATE, "authorization.k8s.io", "localsubjectaccessreviews"),
    _rule((*_READ, *_WRITE), GROUP, "roles rolebindings"),
)
_EDIT = (
    _rule(_READ, "", "pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy"),
    _rule(("impersonate",), "", "serviceaccounts"),
    _rule(_WRITE, "", "pods pods/attach pods/proxy pods/exec pods/portforward"),
    _rule(_CREATE, "", "pods/eviction"),
    _rule(
        _WRITE,
        "",
        "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/proxy "
        "persistentvolumeclaims configmaps secrets events",
    ),
    _rule(_CREATE, "", "serviceaccounts/token"),
    _rule(_WRITE, "apps", f"{_APPS} deployments/rollback"),
    _rule(_WRITE, "autoscaling", "horizontalpodautoscalers"),
    _rule(_WRITE, "batch", "jobs cronjobs"),
    _rule(_WRITE, "policy", "poddisruptionbudgets"),
    _rule(_WRITE, "networking.k8s.io", "networkpolicies ingresses"),
    _rule((*_READ, *_WRITE), "coordination.k8s.io", "leases"),
)
_VIEW = (
    _rule(
        _READ,
        "",
        "pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status "
        "endpoints persistentvolumeclaims persistentvolumeclaims/status configmaps",
    ),
    _rule(
        _READ,
        "",
        "limitranges resourcequotas bindings events pods/status resourcequotas/status namespaces/status "
        "replicationcontrollers/status pods/log",
    ),
    # who may read something in a namespace may read the namespace
    _rule(_READ, "", "namespaces"),
    _rule(_READ, "discovery.k8s.io", "endpointslices"),
    _rule(_READ, "apps", f"controllerrevisions {_APPS} {_APPS_STATUS}"),
    _rule(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    _rule(_READ, "batch", "jobs jobs/status cronjobs cronjobs/status"),
    _rule(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    _rule(_READ, "networking.k8s.io", "networkpolicies ingresses ingresses/status"),
)

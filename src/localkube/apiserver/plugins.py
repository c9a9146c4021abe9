"""The admission plugins that look at more than the object itself, in the order of the real server.

Those that change a new object run first (`mutate`), before it is validated; those that refuse one run after
(`admit`), the quota last of all, since it charges for what is going to be stored.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from localkube.apiserver import limitranger, priority, serviceaddresses, services
from localkube.apiserver.podsecurity import gate
from localkube.apiserver.quota.ledger import Charge, Ledger
from localkube.apiserver.resources import Resource
from localkube.apiserver.status import invalid
from localkube.apiserver.store import Store
from localkube.apiserver.validation.ingress import CLASS_ANNOTATION

Object = dict[str, Any]
Warn = Callable[[str], None]

INGRESSES = "ingresses.networking.k8s.io"
_CLASSES = "ingressclasses.networking.k8s.io"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_LIMITS = "limitranges"
_TEMPLATES: dict[str, tuple[str, ...]] = {
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
    "podtemplates": ("template",),
    "replicationcontrollers": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
}
"""Where workloads keep the template of their pods."""
_NOT_OF_THE_SPEC = frozenset({"binding", "eviction", "log", "status"})
"""Subresources of pods that Pod Security does not look at."""


def unheard(warning: str) -> None:
    """Where warnings go when nobody asked for them; what would only warn then need not be looked for."""


class Plugins:
    """Admission against the state of a store; `ledger` keeps its quotas."""

    def __init__(self, store: Store, ledger: Ledger, service_cidr: str) -> None:
        self._allocator = serviceaddresses.Allocator(store, service_cidr)
        self._store = store
        self._ledger = ledger

    def mutate(self, resource: Resource, new: Object) -> None:
        """Fill in what a new pod gets from its namespace and from the cluster."""
        if resource.key == INGRESSES:
            self._default_class(new)
        if resource.key != "pods":
            return
        for limit_range in self._objects(_LIMITS, new["metadata"]["namespace"]):
            limitranger.fill(new, limit_range)
        if not new["spec"].get("priorityClassName"):
            default = priority.default(self._objects(priority.CLASSES))
            if default is not None:
                new["spec"]["priorityClassName"] = default["metadata"]["name"]

    def _default_class(self, ingress: Object) -> None:
        """The class that is marked as the default, of several the newest (DefaultIngressClass)."""
        annotations = ingress["metadata"].get("annotations") or {}
        if ingress["spec"].get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        marked = [
            c["metadata"]
            for c in self._objects(_CLASSES)
            if (c["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        ]
        if marked:
            newest = sorted(marked, key=lambda m: m["name"])
            newest.sort(key=lambda m: str(m["creationTimestamp"]), reverse=True)
            ingress["spec"]["ingressClassName"] = newest[0]["name"]

    def allocate(self, resource: Resource, new: Object) -> None:
        """Give a service the addresses and ports that it needs. Raises 422 for what it cannot have."""
        if resource.key == services.KEY and (errors := self._allocator.assign(new)):
            raise invalid(resource.kind, resource.group, new["metadata"]["name"], errors)

    def admit(
        self, resource: Resource, new: Object, old: Object | None, subresource: str, now: datetime, warn: Warn
    ) -> list[Charge]:
        """Raise 403 (422 for a namespace's labels) where a plugin refuses a new object, or a change of `old`.

        The answer has to be charged in the step that stores the object, unless nothing is stored.
        """
        self._limit(resource, new, old, subresource)
        self._secure(resource, new, old, subresource, None if warn is unheard else warn)
        if resource.key == priority.CLASSES:
            priority.check_default(new, self._objects(resource.key), created=old is None)
        return self._ledger.assess(resource, new, old, now)

    def _limit(self, resource: Resource, new: Object, old: Object | None, subresource: str) -> None:
        if subresource:
            return
        if resource.key == "pods" and old is None:
            for limit_range in self._objects(_LIMITS, new["metadata"]["namespace"]):
                limitranger.check_pod(new, limit_range)
        elif resource.key == "persistentvolumeclaims":
            if old is not None and old["metadata"].get("deletionTimestamp"):
                return
            for limit_range in self._objects(_LIMITS, new["metadata"]["namespace"]):
                limitranger.check_claim(new, limit_range)

    def _secure(
        self, resource: Resource, new: Object, old: Object | None, subresource: str, warn: Warn | None
    ) -> None:
        if resource.key == "pods":
            if subresource not in _NOT_OF_THE_SPEC and (namespace := self._namespace(new)) is not None:
                gate.admit_pod(namespace, new, old, warn)
        elif subresource:
            return
        elif resource.key == "namespaces":
            name = new["metadata"]["name"]
            gate.admit_namespace(new, old, lambda: self._objects("pods", name), warn)
        elif warn is not None and (path := _TEMPLATES.get(resource.key)) is not None:
            template: Any = new
            for step in path:
                template = template.get(step) or {}
            if (namespace := self._namespace(new)) is not None:
                gate.admit_workload(namespace, template, warn)

    def _namespace(self, obj: Object) -> Object | None:
        version = self._store.get("namespaces", "", obj["metadata"].get("namespace", ""))
        return version.object if version is not None else None

    def _objects(self, key: str, namespace: str | None = None) -> list[Object]:
        # most clusters have none of most of what is asked for, and are asked for it with every pod
        if not self._store.table(key).items:
            return []
        return [version.object for version in self._store.list(key, namespace)]

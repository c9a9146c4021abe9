"""The namespace life cycle: four namespaces that always exist, and what happens to one that is deleted.

A terminating namespace is emptied kind by kind; it goes (its `kubernetes` finalizer is removed) when
nothing is left in it. Meanwhile its conditions say what it waits for.
"""

from collections import Counter
from datetime import datetime
from typing import Any

from localkube.apiserver.registry import Registry
from localkube.apiserver.resources import Resource
from localkube.apiserver.status import StatusError
from localkube.controllers import times
from localkube.controllers.feed import Feed
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

NAMESPACES = "namespaces"
MANAGER = "kube-controller-manager"
SYSTEM = ("default", "kube-node-lease", "kube-public", "kube-system")
FINALIZER = "kubernetes"

DELETE_MOST = 100
"""Objects deleted in one look, so that an HTTP request does not wait for thousands."""
SETTLE = 0.05
"""Seconds for which changes inside a terminating namespace are gathered before it is looked at again."""


def bootstrap(registry: Registry) -> None:
    """Create the namespaces that every cluster has, where they are missing."""
    for name in SYSTEM:
        if registry.store.get(NAMESPACES, "", name) is None:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            registry.create(NAMESPACES, "", namespace, manager="kube-apiserver")


def is_terminating(namespace: Object) -> bool:
    return "deletionTimestamp" in namespace["metadata"]


def conditions(remaining: list[tuple[Resource, Object]], before: list[Object], now: datetime) -> list[Object]:
    """What a terminating namespace waits for; `before` are its conditions until now."""
    instances = Counter(f"{resource.plural}.{resource.group}" for resource, _ in remaining)
    finalizers = Counter(f for _, obj in remaining for f in obj["metadata"].get("finalizers") or ())
    content = "Some resources are remaining: " + ", ".join(
        f"{name} has {count} resource instances" for name, count in sorted(instances.items())
    )
    held = "Some content in the namespace has finalizers remaining: " + ", ".join(
        f"{name} in {count} resource instances" for name, count in sorted(finalizers.items())
    )
    discovered = "All resources successfully discovered"
    parsed = "All legacy kube types successfully parsed"
    deleted = "All content successfully deleted, may be waiting on finalization"
    removed = "All content successfully removed"
    final = "All content-preserving finalizers finished"
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", discovered),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", parsed),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted", deleted),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", content)
        if instances
        else ("NamespaceContentRemaining", "False", "ContentRemoved", removed),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", held)
        if finalizers
        else ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", final),
    ]
    old = {condition["type"]: condition for condition in before}
    found = []
    for type_, status, reason, message in wanted:
        condition = {"type": type_, "status": status, "reason": reason, "message": message}
        last = old.get(type_, {})
        same = last.get("status") == status
        since = last["lastTransitionTime"] if same else times.text(now)
        found.append({**condition, "lastTransitionTime": since})
    return found


class NamespaceController:
    """Empties namespaces that are being deleted."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[str] = WorkQueue("namespace")
        self._terminating: set[str] = set()
        feed.on(NAMESPACES, self._observe)
        feed.on_every(self._observe_content, lambda resource: resource.namespaced)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is None:
            if before is not None:
                self._terminating.discard(before["metadata"]["name"])
        elif is_terminating(now):
            self._terminating.add(now["metadata"]["name"])
            self._queue.add(now["metadata"]["name"])

    def _observe_content(self, _: str, before: Object | None, now: Object | None) -> None:
        if self._terminating:
            obj = now or before
            namespace = obj["metadata"].get("namespace", "") if obj is not None else ""
            if namespace in self._terminating:
                self._queue.add_after(namespace, SETTLE)

    def sync(self, name: str) -> float | None:
        """Delete some of what is in the namespace, or the namespace itself when there is nothing left."""
        version = self._registry.store.get(NAMESPACES, "", name)
        if version is None or not is_terminating(version.object):
            return None
        namespace = version.object
        if FINALIZER not in (namespace.get("spec", {}).get("finalizers") or ()):
            return None
        if not self._empty(name):
            return 0
        remaining = self._content(name)
        if not remaining:
            self._finalize(namespace)
            return None
        status = namespace.get("status") or {}
        wanted = conditions(remaining, status.get("conditions") or [], self._registry.clock())
        if wanted != status.get("conditions"):
            changed = {**namespace, "status": {**status, "conditions": wanted}}
            self._registry.update(NAMESPACES, "", changed, subresource="status", manager=MANAGER)
        return None

    def _content(self, name: str) -> list[tuple[Resource, Object]]:
        return [
            (resource, obj)
            for resource in self._registry.resources.stored()
            if resource.namespaced
            for obj in self._registry.list(resource.key, name)
        ]

    def _empty(self, name: str) -> bool:
        """Delete up to `DELETE_MOST` objects; answers whether that was all."""
        deleted = 0
        for resource, obj in self._content(name):
            if "deletionTimestamp" in obj["metadata"]:
                continue
            if deleted == DELETE_MOST:
                return False
            try:
                self._registry.delete(resource.key, name, obj["metadata"]["name"], propagation="Background")
            except StatusError as e:
                if e.code != 404:
                    raise
            deleted += 1
        return True

    def _finalize(self, namespace: Object) -> None:
        spec = namespace["spec"]
        left = [finalizer for finalizer in spec["finalizers"] if finalizer != FINALIZER]
        changed = {**namespace, "spec": {**spec, "finalizers": left}}
        self._registry.update(NAMESPACES, "", changed, subresource="finalize", manager=MANAGER)

"""The garbage collector: what becomes of objects whose owners go.

An object goes when all its owners are gone. An owner that is deleted in the foreground waits (finalizer
`foregroundDeletion`) for those dependents that block it; one whose dependents are to be orphaned waits
(finalizer `orphan`) until they have forgotten it.

All objects are known by uid and by the uids of their owners, inside the write that changes them (see
`feed`), so whether an owner exists is a look-up and never a guess.
"""

from typing import Any, NamedTuple

from localkube.apiserver.deletion import FOREGROUND, ORPHAN, Propagation
from localkube.apiserver.registry import Registry
from localkube.apiserver.resources import Resource
from localkube.controllers.events import Recorder
from localkube.controllers.feed import Feed
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-controller-manager"
COMPONENT = "garbage-collector-controller"


class Node(NamedTuple):
    """An object, as far as ownership goes."""

    key: str
    """Of its resource, `jobs.batch`."""
    namespace: str
    name: str
    owners: tuple[str, ...]
    """Their uids."""


class Sorted(NamedTuple):
    """The owners of an object, by what they mean for it."""

    solid: list[Object]
    """They exist and stay."""
    dangling: list[Object]
    """They do not exist."""
    waiting: list[Object]
    """They are deleted in the foreground."""


def has_finalizer(obj: Object, finalizer: str) -> bool:
    return finalizer in (obj["metadata"].get("finalizers") or ())


def is_waiting(obj: Object) -> bool:
    """Whether the object is being deleted, after its dependents."""
    return "deletionTimestamp" in obj["metadata"] and has_finalizer(obj, FOREGROUND)


def propagation_of(obj: Object) -> Propagation:
    """How to delete an object so that what it has promised its own dependents holds."""
    if has_finalizer(obj, ORPHAN):
        return "Orphan"
    return "Foreground" if has_finalizer(obj, FOREGROUND) else "Background"


def describe(reference: Object, namespace: str) -> str:
    """An ownerReference as the garbage collector writes it in Events."""
    name, uid = reference["name"], reference["uid"]
    return (
        f"[{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}, name: {name}, uid: {uid}]"
    )


class GarbageCollector:
    """Collects garbage of all the resources that the registry serves."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._events = Recorder(registry, COMPONENT)
        self._queue: WorkQueue[str] = WorkQueue("garbage", requests=lambda: registry.requests)
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}
        self._started = False
        feed.on_every(self._observe)

    async def run(self) -> None:
        """Collect until cancelled. The feed must have been started."""
        self._started = True
        for uid, node in self._nodes.items():
            if node.owners:
                self._queue.add(uid)
        await self._queue.run(self.sync)

    # the graph

    def _observe(self, key: str, before: Object | None, now: Object | None) -> None:
        if now is None:
            if before is not None:
                self._forget(before["metadata"]["uid"])
            return
        meta = now["metadata"]
        uid = meta["uid"]
        references = meta.get("ownerReferences") or []
        owners = tuple(reference["uid"] for reference in references)
        old = self._nodes.get(uid)
        self._nodes[uid] = Node(key, meta.get("namespace", ""), meta["name"], owners)
        if old is None or old.owners != owners:
            self._link(uid, old.owners if old else (), owners)
        if "deletionTimestamp" in meta and (has_finalizer(now, ORPHAN) or has_finalizer(now, FOREGROUND)):
            self._queue.add(uid)
        if not references or (before is not None and before["metadata"].get("ownerReferences") == references):
            return
        for owner in owners:
            self._wake_waiting(owner)
        if self._started:
            # before the start an owner may just not have been seen yet; `run` looks at all dependents
            sorted_ = self._sort(self._nodes[uid], references)
            if sorted_.dangling or sorted_.waiting:
                self._queue.add(uid)

    def _link(self, uid: str, before: tuple[str, ...], now: tuple[str, ...]) -> None:
        for owner in before:
            if owner not in now:
                dependents = self._dependents.get(owner, set())
                dependents.discard(uid)
                if not dependents:
                    self._dependents.pop(owner, None)
                self._wake_waiting(owner)
        for owner in now:
            self._dependents.setdefault(owner, set()).add(uid)

    def _forget(self, uid: str) -> None:
        node = self._nodes.pop(uid, None)
        if node is not None:
            self._link(uid, node.owners, ())
        for dependent in self._dependents.get(uid, ()):
            self._queue.add(dependent)

    def _wake_waiting(self, uid: str) -> None:
        """Look at an owner that waits for its dependents: one of them has changed."""
        obj = self._object(uid)
        if obj is not None and is_waiting(obj):
            self._queue.add(uid)

    def _object(self, uid: str) -> Object | None:
        node = self._nodes.get(uid)
        version = self._registry.store.get(node.key, node.namespace, node.name) if node else None
        if version is None or version.object["metadata"]["uid"] != uid:
            return None
        return version.object

    def _sort(self, node: Node, references: list[Object]) -> Sorted:
        sorted_ = Sorted([], [], [])
        for reference in references:
            resource = self._registry.resources.of_kind(reference["apiVersion"], reference["kind"])
            if resource is None or (resource.namespaced and not node.namespace):
                # a kind that is not served (any more, or yet), or one that a cluster-wide object cannot name:
                # whether such an owner exists cannot be known, and unknown is not gone
                sorted_.solid.append(reference)
                continue
            owner = self._owner(reference, resource, node.namespace)
            if owner is None:
                sorted_.dangling.append(reference)
            elif is_waiting(owner):
                sorted_.waiting.append(reference)
            else:
                sorted_.solid.append(reference)
        return sorted_

    def _owner(self, reference: Object, resource: Resource, namespace: str) -> Object | None:
        version = self._registry.store.get(
            resource.key, namespace if resource.namespaced else "", reference["name"]
        )
        if version is None or version.object["metadata"]["uid"] != reference["uid"]:
            return None
        return version.object

    # the work

    def sync(self, uid: str) -> None:
        """Do for one object what its owners, or its own deletion, ask for."""
        obj = self._object(uid)
        if obj is None:
            return
        if "deletionTimestamp" in obj["metadata"]:
            if has_finalizer(obj, ORPHAN):
                self._orphan_dependents(uid)
            elif has_finalizer(obj, FOREGROUND):
                self._delete_dependents(uid)
            return
        references = obj["metadata"].get("ownerReferences") or []
        if references:
            self._follow_owners(uid, obj, references)

    def _follow_owners(self, uid: str, obj: Object, references: list[Object]) -> None:
        node = self._nodes[uid]
        owners = self._sort(node, references)
        self._warn_of_strangers(node, obj, owners.dangling)
        if owners.solid:
            gone = [*owners.dangling, *owners.waiting]
            if gone:
                self._patch(uid, {"ownerReferences": [r for r in references if r not in gone] or None})
        elif owners.waiting and self._dependents.get(uid):
            # a circle of objects that wait for each other must not wait for ever
            if any(is_waiting(d) for d in map(self._object, self._dependents[uid]) if d is not None):
                unblocked = [{**r, "blockOwnerDeletion": False} for r in references]
                self._patch(uid, {"ownerReferences": unblocked})
            self._delete(uid, "Foreground")
        elif owners.dangling or owners.waiting:
            self._delete(uid, propagation_of(obj))

    def _warn_of_strangers(self, node: Node, obj: Object, references: list[Object]) -> None:
        """Tell about owners that exist, but in another namespace: for the dependent they do not exist."""
        for reference in references:
            owner = self._nodes.get(reference["uid"])
            if owner is not None and owner.namespace != node.namespace:
                described = describe(reference, node.namespace)
                message = f'ownerRef {described} does not exist in namespace "{node.namespace}"'
                self._events.warning(obj, "OwnerRefInvalidNamespace", message)

    def _delete_dependents(self, uid: str) -> None:
        """Let a foreground deletion go on to the dependents, or to the owner when none blocks it."""
        blocking = False
        for dependent in self._dependents.get(uid, ()):
            obj = self._object(dependent)
            if obj is None:
                continue
            if not is_waiting(obj):
                self._queue.add(dependent)
            references = obj["metadata"].get("ownerReferences") or ()
            blocking |= any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in references)
        if not blocking:
            self._drop_finalizer(uid, FOREGROUND)

    def _orphan_dependents(self, uid: str) -> None:
        for dependent in list(self._dependents.get(uid, ())):
            obj = self._object(dependent)
            if obj is not None:
                references = obj["metadata"].get("ownerReferences") or ()
                left = [reference for reference in references if reference["uid"] != uid]
                self._patch(dependent, {"ownerReferences": left or None})
        self._drop_finalizer(uid, ORPHAN)

    def _drop_finalizer(self, uid: str, finalizer: str) -> None:
        obj = self._object(uid)
        if obj is not None:
            left = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            self._patch(uid, {"finalizers": left or None})

    def _patch(self, uid: str, metadata: Object) -> None:
        node = self._nodes[uid]
        patch = {"metadata": {"uid": uid, **metadata}}
        self._registry.patch(node.key, node.namespace, node.name, patch, manager=MANAGER)

    def _delete(self, uid: str, propagation: Propagation) -> None:
        node = self._nodes[uid]
        self._registry.delete(node.key, node.namespace, node.name, uid=uid, propagation=propagation)

"""What becomes of custom objects whose definition is deleted: they go first, then the definition can."""

from typing import Any

from localkube.apiserver.crd import naming
from localkube.apiserver.crd.definitions import KEY
from localkube.apiserver.registry import Registry
from localkube.apiserver.resources import Resource
from localkube.apiserver.status import StatusError
from localkube.controllers import times
from localkube.controllers.feed import Feed
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-apiserver"
DELETE_MOST = 100
"""Objects deleted in one look, so that an HTTP request does not wait for thousands."""


class CustomResourceFinalizer:
    """Deletes the objects of definitions that are being deleted, and lets go of those that have none."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[str] = WorkQueue("customresourcefinalizer")
        feed.on(KEY, self._observe)
        feed.on_every(self._observe_object, _is_custom)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe(self, _: str, __: Object | None, now: Object | None) -> None:
        if now is not None and _is_waiting(now):
            self._queue.add(now["metadata"]["name"])

    def _observe_object(self, key: str, _: Object | None, now: Object | None) -> None:
        if now is None:
            # the name of a definition is the key of its resource
            version = self._registry.store.get(KEY, "", key)
            if version is not None and _is_waiting(version.object):
                self._queue.add(key)

    def sync(self, name: str) -> float | None:
        """Delete some objects of a definition, or let it go when there are none left."""
        version = self._registry.store.get(KEY, "", name)
        if version is None or not _is_waiting(version.object):
            return None
        left = [v.object for v in self._registry.store.list(name)]
        if not left:
            self._release(version.object)
            return None
        condition = naming.condition(version.object, "Terminating") or {}
        if condition.get("reason") != "InstanceDeletionInProgress":
            self._tell(
                version.object, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            )
        pending = [obj for obj in left if "deletionTimestamp" not in obj["metadata"]]
        for obj in pending[:DELETE_MOST]:
            self._delete(name, obj)
        return 0 if len(pending) > DELETE_MOST else None

    def _delete(self, key: str, obj: Object) -> None:
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if not any(resource.key == key for resource in self._registry.resources.stored()):
            # no version is served: nobody can see the object, or let go of it
            self._registry.store.delete(key, namespace, name)
            return
        try:
            self._registry.delete(key, namespace, name, propagation="Background")
        except StatusError as error:
            if error.code != 404:
                raise

    def _tell(self, definition: Object, value: str, reason: str, message: str) -> Object:
        now = times.text(self._registry.clock())
        status = naming.with_condition(definition["status"], now, "Terminating", value, reason, message)
        changed = {**definition, "metadata": dict(definition["metadata"]), "status": status}
        return self._registry.update(KEY, "", changed, subresource="status", manager=MANAGER)

    def _release(self, definition: Object) -> None:
        told = self._tell(definition, "False", "InstanceDeletionCompleted", "removed all instances")
        finalizers = [f for f in told["metadata"].get("finalizers") or () if f != naming.CLEANUP]
        changed = {**told, "metadata": {**told["metadata"], "finalizers": finalizers}}
        self._registry.update(KEY, "", changed, manager=MANAGER)


def _is_custom(resource: Resource) -> bool:
    return resource.custom is not None


def _is_waiting(definition: Object) -> bool:
    metadata = definition["metadata"]
    return "deletionTimestamp" in metadata and naming.CLEANUP in (metadata.get("finalizers") or ())

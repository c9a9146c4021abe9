"""The registry's way into the store: in which form things are kept, and what follows from a write.

Custom resources are kept in one version and shown in the one that was asked for; a definition that is written
changes what is served, in the same step.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from localkube.apiserver.crd import definitions
from localkube.apiserver.crd.definitions import Definitions
from localkube.apiserver.crd.views import seen
from localkube.apiserver.deletion import timestamp
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.store import Store

Object = dict[str, Any]


class Keeper:
    """Puts objects into `store` and takes them out; `resources` follow the definitions that are in it."""

    def __init__(self, store: Store, resources: Resources, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._definitions = Definitions(store, resources, lambda: timestamp(clock()))

    def put(self, resource: Resource, namespace: str, name: str, obj: Object) -> Object:
        """Make `obj` the current version of an object; the answer is that, as `resource` shows it."""
        if resource.custom is not None:
            obj = resource.custom.to_storage(obj)
        version = self._store.put(resource.key, namespace, name, obj)
        self._follow(resource)
        return seen(resource, version).object

    def delete(self, resource: Resource, namespace: str, name: str, obj: Object | None = None) -> Object:
        """Remove an object; the answer is its last state (`obj`, if given)."""
        version = self._store.delete(resource.key, namespace, name, obj)
        self._follow(resource)
        return seen(resource, version).object

    def _follow(self, resource: Resource) -> None:
        if resource.key == definitions.KEY:
            self._definitions.settle()

"""The CustomResourceDefinitions of a store, and the resources that are served because of them.

Names are accepted and resources appear in the step that stores a definition, so a client that has created
one can use it with its next request. A definition that is being deleted serves until its objects are gone.
"""

import re
from collections.abc import Callable
from typing import Any

from localkube.apiserver.crd import naming
from localkube.apiserver.crd.kind import resource_of
from localkube.apiserver.deletion import DEFINITIONS
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.store import Store

Object = dict[str, Any]

KEY = DEFINITIONS
_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


class Definitions:
    """Keeps `resources` what the definitions in `store` say. `now` tells the time as RFC 3339."""

    def __init__(self, store: Store, resources: Resources, now: Callable[[], str]) -> None:
        self._store = store
        self._resources = resources
        self._now = now
        self._served: dict[str, tuple[Object, list[Resource]]] = {}
        for version in store.list(KEY):
            self._serve(version.object)

    def settle(self) -> None:
        """After a write of a definition: accept names, establish, and serve what is established."""
        found = [version.object for version in self._store.list(KEY)]
        for name in self._served.keys() - {definition["metadata"]["name"] for definition in found}:
            self._withdraw(name)
        while any(self._accept(definition["metadata"]["name"]) for definition in found):
            # a name that one gave up may be what another waits for
            pass
        for version in self._store.list(KEY):
            self._serve(version.object)

    def _accept(self, name: str) -> bool:
        """Bring the status of a definition up to date; answers whether it changed."""
        found = {version.object["metadata"]["name"]: version.object for version in self._store.list(KEY)}
        definition = found[name]
        status = naming.status_of(definition, found.values(), self._now())
        if status == definition.get("status"):
            return False
        changed = {**definition, "metadata": dict(definition["metadata"]), "status": status}
        self._store.put(KEY, "", name, changed)
        return True

    def _serve(self, definition: Object) -> None:
        if not naming.holds(definition, "Established"):
            return
        name = definition["metadata"]["name"]
        shown = {
            "spec": definition["spec"],
            "names": definition["status"]["acceptedNames"],
            "terminating": "deletionTimestamp" in definition["metadata"],
        }
        if name in self._served and self._served[name][0] == shown:
            return
        wanted = [resource_of(definition, v) for v in definition["spec"]["versions"] if v["served"]]
        before = self._served[name][1] if name in self._served else []
        for resource in before:
            if not any(resource.served_key == new.served_key for new in wanted):
                self._resources.remove(resource)
        for resource in _in_order(wanted):
            self._resources.add(resource)
        self._served[name] = (shown, wanted)

    def _withdraw(self, name: str) -> None:
        for resource in self._served.pop(name)[1]:
            self._resources.remove(resource)


def priority(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes does: `v2`, `v1`, `v2beta1`, `v1alpha1`, then others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    stability = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stability, -int(match[1]), -int(match[3] or 0), "")


def _in_order(resources: list[Resource]) -> list[Resource]:
    """The preferred version last: the key of the resource stands for the last that is added."""
    return sorted(resources, key=lambda resource: priority(resource.version), reverse=True)

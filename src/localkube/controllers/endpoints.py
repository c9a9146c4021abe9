"""The controllers of endpoints: every service with a selector has Endpoints and EndpointSlices of its pods.

Both are written here in one go, where a real cluster has a controller for each. Those of services without a
selector belong to whoever writes them; Endpoints written by hand are not mirrored into slices.
"""

from typing import Any

from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError
from localkube.controllers import endpointsplan
from localkube.controllers.backends import backends, selects
from localkube.controllers.endpointsplan import MANAGED_BY, MANAGED_LABEL, SERVICE_LABEL
from localkube.controllers.feed import Feed
from localkube.controllers.owners import Key, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-controller-manager"
SERVICES = "services"
ENDPOINTS = "endpoints"
SLICES = "endpointslices.discovery.k8s.io"


class EndpointsController:
    """Keeps the endpoints of services what their pods are."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[Key] = WorkQueue("endpoints", requests=lambda: registry.requests)
        self._services: dict[str, dict[str, Object]] = {}
        feed.on(SERVICES, self._observe_service)
        feed.on("pods", self._observe_pod)
        feed.on(ENDPOINTS, self._observe_endpoints)
        feed.on(SLICES, self._observe_slice)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe_service(self, _: str, before: Object | None, now: Object | None) -> None:
        found = now if now is not None else before
        if found is None:
            return
        namespace, name = key_of(found)
        services = self._services.setdefault(namespace, {})
        if now is not None:
            services[name] = now
        else:
            services.pop(name, None)
            if not services:
                del self._services[namespace]
        self._queue.add((namespace, name))

    def _observe_pod(self, _: str, before: Object | None, now: Object | None) -> None:
        found = now if now is not None else before
        if found is None or not (services := self._services.get(found["metadata"]["namespace"])):
            return
        labels = [pod["metadata"].get("labels") for pod in (before, now) if pod is not None]
        for service in services.values():
            if any(selects(service, one) for one in labels):
                self._queue.add(key_of(service))

    def _observe_endpoints(self, _: str, before: Object | None, now: Object | None) -> None:
        if before is not None:
            self._queue.add(key_of(before))

    def _observe_slice(self, _: str, before: Object | None, now: Object | None) -> None:
        labels = (before["metadata"].get("labels") or {}) if before is not None else {}
        if before is not None and labels.get(MANAGED_LABEL) == MANAGED_BY and SERVICE_LABEL in labels:
            self._queue.add((before["metadata"]["namespace"], labels[SERVICE_LABEL]))

    def sync(self, key: Key) -> float | None:
        """Write what has to be told of one service; of one that is gone, nothing stays."""
        namespace, name = key
        store = self._registry.store
        version = store.get(SERVICES, namespace, name)
        mine = self._slices(namespace, name)
        if version is None:
            self._forget(namespace, name, mine)
            return None
        service = version.object
        if "deletionTimestamp" in service["metadata"] or not service["spec"].get("selector"):
            return None
        if service["spec"]["type"] == "ExternalName":
            return None
        found = backends(service, (v.object for v in store.list("pods", namespace)))
        try:
            self._write_endpoints(namespace, endpointsplan.endpoints(service, found))
            self._write_slices(namespace, endpointsplan.slices(service, found, mine))
        except StatusError as error:
            if error.code == 403 and self._is_terminating(namespace):
                return None
            raise
        return None

    def _is_terminating(self, namespace: str) -> bool:
        version = self._registry.store.get("namespaces", "", namespace)
        return version is None or "deletionTimestamp" in version.object["metadata"]

    def _slices(self, namespace: str, name: str) -> list[Object]:
        found = []
        for version in self._registry.store.list(SLICES, namespace):
            labels = version.object["metadata"].get("labels") or {}
            if labels.get(SERVICE_LABEL) == name and labels.get(MANAGED_LABEL) == MANAGED_BY:
                found.append(version.object)
        return found

    def _write_endpoints(self, namespace: str, wanted: Object) -> None:
        name = wanted["metadata"]["name"]
        version = self._registry.store.get(ENDPOINTS, namespace, name)
        if version is None:
            self._registry.create(ENDPOINTS, namespace, wanted, manager=MANAGER)
            return
        old = version.object
        meta = wanted["metadata"]
        same = old.get("subsets") == wanted.get("subsets") and old["metadata"].get("labels") == meta["labels"]
        if not same:
            metadata = {**old["metadata"], "labels": meta["labels"]}
            metadata.pop("annotations", None)
            if "annotations" in meta:
                metadata["annotations"] = meta["annotations"]
            changed = {**{k: v for k, v in old.items() if k != "subsets"}, "metadata": metadata}
            if "subsets" in wanted:
                changed["subsets"] = wanted["subsets"]
            self._registry.update(ENDPOINTS, namespace, changed, manager=MANAGER)

    def _write_slices(self, namespace: str, plan: endpointsplan.Slices) -> None:
        for wanted in plan.create:
            self._registry.create(SLICES, namespace, wanted, manager=MANAGER)
        for changed in plan.update:
            self._registry.update(SLICES, namespace, changed, manager=MANAGER)
        for gone in plan.delete:
            self._delete(SLICES, namespace, gone["metadata"]["name"])

    def _forget(self, namespace: str, name: str, slices: list[Object]) -> None:
        """The garbage collector would take the slices, too; the Endpoints have no owner."""
        version = self._registry.store.get(ENDPOINTS, namespace, name)
        labels = (version.object["metadata"].get("labels") or {}) if version is not None else {}
        if "endpoints.kubernetes.io/managed-by" in labels:
            self._delete(ENDPOINTS, namespace, name)
        for gone in slices:
            self._delete(SLICES, namespace, gone["metadata"]["name"])

    def _delete(self, key: str, namespace: str, name: str) -> None:
        try:
            self._registry.delete(key, namespace, name)
        except StatusError as error:
            if error.code != 404:
                raise

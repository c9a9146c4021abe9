"""What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

Both come back when someone deletes them, and the ConfigMap's content when someone changes it.
"""

from typing import Any

from localkube.apiserver.registry import Registry
from localkube.controllers.feed import Feed
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-controller-manager"
ACCOUNT = "default"
CONFIG_MAP = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)


class ServiceAccountController:
    """Keeps both objects in every namespace; `ca` is the PEM that clients trust the API server by."""

    def __init__(self, registry: Registry, feed: Feed, ca: str) -> None:
        self._registry = registry
        self._ca = ca
        self._queue: WorkQueue[str] = WorkQueue("serviceaccount")
        feed.on("namespaces", self._observe_namespace)
        feed.on("serviceaccounts", self._observe_part)
        feed.on("configmaps", self._observe_part)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe_namespace(self, _: str, __: Object | None, now: Object | None) -> None:
        if now is not None:
            self._queue.add(now["metadata"]["name"])

    def _observe_part(self, _: str, before: Object | None, now: Object | None) -> None:
        if before is not None and before["metadata"]["name"] in (ACCOUNT, CONFIG_MAP):
            self._queue.add(before["metadata"]["namespace"])

    def sync(self, namespace: str) -> None:
        """Put both objects into a namespace, where they are missing or differ."""
        version = self._registry.store.get("namespaces", "", namespace)
        if version is None or "deletionTimestamp" in version.object["metadata"]:
            return
        if self._registry.store.get("serviceaccounts", namespace, ACCOUNT) is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
            self._registry.create("serviceaccounts", namespace, account, manager=MANAGER)
        data = {"ca.crt": self._ca}
        found = self._registry.store.get("configmaps", namespace, CONFIG_MAP)
        if found is None:
            meta = {"name": CONFIG_MAP, "annotations": {"kubernetes.io/description": DESCRIPTION}}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            self._registry.create("configmaps", namespace, config_map, manager=MANAGER)
        elif found.object.get("data") != data and "deletionTimestamp" not in found.object["metadata"]:
            self._registry.update("configmaps", namespace, {**found.object, "data": data}, manager=MANAGER)

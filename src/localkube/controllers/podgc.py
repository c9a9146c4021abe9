"""Removes pods that nobody else will: those whose node is gone, and finished ones when there are too many."""

from typing import Any

from localkube.apiserver.registry import Registry
from localkube.controllers import times
from localkube.controllers.feed import Feed
from localkube.controllers.owners import Key, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-controller-manager"
FINISHED_MOST = 12_500
"""Finished pods that are kept (kube-controller-manager's --terminated-pod-gc-threshold)."""
QUARANTINE = 40.0
"""Seconds that a node may be gone before its pods are given up (podgc's quarantineTime)."""
FINISHED = ("Succeeded", "Failed")


class PodGC:
    """Looks at a pod when its node goes, and at all finished pods when there are too many."""

    def __init__(self, registry: Registry, feed: Feed, *, finished_most: int = FINISHED_MOST) -> None:
        self._registry = registry
        self._finished_most = finished_most
        self._queue: WorkQueue[Key] = WorkQueue("podgc")
        self._by_node: dict[str, set[Key]] = {}
        self._finished: dict[Key, None] = {}
        """In the order in which they ended."""
        feed.on("pods", self._observe_pod)
        feed.on("nodes", self._observe_node)

    async def run(self) -> None:
        """The feed must have been started."""
        for node in self._by_node:
            self._watch_over(node)
        await self._queue.run(self.sync)

    def _observe_pod(self, _: str, before: Object | None, now: Object | None) -> None:
        obj = now or before
        if obj is None:
            return
        key = key_of(obj)
        node = obj["spec"].get("nodeName")
        if now is None:
            self._finished.pop(key, None)
            self._by_node.get(node, set()).discard(key)
            return
        if node:
            pods = self._by_node.setdefault(node, set())
            if key not in pods:
                pods.add(key)
        if now.get("status", {}).get("phase") in FINISHED and key not in self._finished:
            self._finished[key] = None
            if len(self._finished) > self._finished_most:
                self._queue.add(next(iter(self._finished)))

    def _observe_node(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is None and before is not None:
            self._watch_over(before["metadata"]["name"])

    def _watch_over(self, node: str) -> None:
        if self._registry.store.get("nodes", "", node) is None:
            for key in self._by_node.get(node, ()):
                self._queue.add_after(key, QUARANTINE)

    def sync(self, key: Key) -> None:
        """Delete one pod at once if it is lost or one finished pod too many."""
        version = self._registry.store.get("pods", *key)
        if version is None:
            return
        pod = version.object
        node = pod["spec"].get("nodeName")
        lost = bool(node) and self._registry.store.get("nodes", "", node) is None
        if lost and pod.get("status", {}).get("phase") not in FINISHED:
            self._fail(pod)
        if lost or (key in self._finished and len(self._finished) > self._finished_most):
            self._registry.delete("pods", *key, grace=0, uid=pod["metadata"]["uid"])

    def _fail(self, pod: Object) -> None:
        """Say that the pod has failed, so that its Job sees an end and not just a deletion."""
        status = pod.get("status") or {}
        condition = {
            "type": "DisruptionTarget",
            "observedGeneration": pod["metadata"].get("generation", 1),
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": times.text(self._registry.clock()),
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
        }
        others = [c for c in status.get("conditions") or () if c["type"] != "DisruptionTarget"]
        changed = {**pod, "status": {**status, "phase": "Failed", "conditions": [*others, condition]}}
        namespace = pod["metadata"]["namespace"]
        self._registry.update("pods", namespace, changed, subresource="status", manager=MANAGER)

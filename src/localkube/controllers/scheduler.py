"""The scheduler: gives every pod that has no node one that can take it, or says why there is none.

A pod that was refused is looked at again when something has changed that could matter: a node, or (if it
was for want of resources) a pod that has given some back.
"""

from decimal import Decimal
from typing import Any

from localkube.apiserver.registry import Registry
from localkube.controllers import fit, times
from localkube.controllers.events import Recorder
from localkube.controllers.feed import Feed
from localkube.controllers.owners import Key, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

COMPONENT = "default-scheduler"
ENDED = ("Succeeded", "Failed")


def is_pending(pod: Object) -> bool:
    """Whether a pod waits for this scheduler."""
    spec, meta = pod["spec"], pod["metadata"]
    return (
        not spec.get("nodeName")
        and "deletionTimestamp" not in meta
        and spec.get("schedulerName", COMPONENT) == COMPONENT
        and pod.get("status", {}).get("phase", "Pending") not in ENDED
    )


def holds_resources(pod: Object) -> bool:
    """Whether a pod takes part of its node."""
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in ENDED


class Usage:
    """What the pods on each node ask for, kept up to date pod by pod."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Decimal]] = {}

    def of(self, node: str) -> fit.Amounts:
        return self._nodes.get(node, {})

    def add(self, pod: Object, sign: int) -> None:
        """Count a pod that holds resources in (1) or out (-1)."""
        used = self._nodes.setdefault(pod["spec"]["nodeName"], {})
        for name, amount in {**fit.requests(pod), "pods": Decimal(1)}.items():
            used[name] = used.get(name, Decimal(0)) + sign * amount


class Scheduler:
    """The default scheduler."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._events = Recorder(registry, COMPONENT)
        self._queue: WorkQueue[Key] = WorkQueue("scheduler", requests=lambda: registry.requests)
        self._usage = Usage()
        self._nodes: dict[str, Object] = {}
        self._refused: set[Key] = set()
        """Pods that no node can take as the nodes are."""
        self._crowded: set[Key] = set()
        """Pods that a node could take if it had more left."""
        feed.on("nodes", self._observe_node)
        feed.on("pods", self._observe_pod)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe_node(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is None:
            if before is not None:
                self._nodes.pop(before["metadata"]["name"], None)
        else:
            self._nodes[now["metadata"]["name"]] = now
        # a node's heartbeat changes nothing of this and must not wake every pod
        if before is None or now is None or _relevant(before) != _relevant(now):
            self._retry(self._refused)
            self._retry(self._crowded)

    def _observe_pod(self, _: str, before: Object | None, now: Object | None) -> None:
        held = before is not None and holds_resources(before)
        holds = now is not None and holds_resources(now)
        if before is not None and held and not holds:
            self._usage.add(before, -1)
            self._retry(self._crowded)
        elif now is not None and holds and not held:
            self._usage.add(now, 1)
        obj = now or before
        if obj is None:
            return
        key = key_of(obj)
        if now is None or not is_pending(now):
            self._refused.discard(key)
            self._crowded.discard(key)
        elif before is None or _wants(before) != _wants(now):
            self._queue.add(key)

    def _retry(self, pods: set[Key]) -> None:
        for key in pods:
            self._queue.add(key)

    def sync(self, key: Key) -> None:
        """Give one pod a node, or note why it has none."""
        self._refused.discard(key)
        self._crowded.discard(key)
        version = self._registry.store.get("pods", *key)
        if version is None or not is_pending(version.object):
            return
        pod = version.object
        if pod["spec"].get("schedulingGates"):
            self._note(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
            return
        refusals = []
        for name, node in sorted(self._nodes.items()):
            refused = fit.refusal(pod, node, self._usage.of(name))
            if refused is None:
                self._bind(pod, name)
                return
            refusals.append(refused)
        (self._crowded if any(r.preemptible for r in refusals) else self._refused).add(key)
        message = fit.message(refusals)
        if self._note(pod, "Unschedulable", message):
            self._events.warning(pod, "FailedScheduling", message)

    def _bind(self, pod: Object, node: str) -> None:
        namespace, name = key_of(pod)
        bound = {
            **pod,
            "spec": {**pod["spec"], "nodeName": node},
            "status": self._with_condition(pod, {"status": "True"}),
        }
        self._registry.update("pods", namespace, bound, subresource="binding", manager="kube-scheduler")
        self._events.normal(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    def _note(self, pod: Object, reason: str, message: str) -> bool:
        """Set the PodScheduled condition to False; answers whether that was news."""
        old = _scheduled(pod)
        if (old.get("status"), old.get("reason"), old.get("message")) == ("False", reason, message):
            return False
        status = self._with_condition(pod, {"status": "False", "reason": reason, "message": message})
        namespace = pod["metadata"]["namespace"]
        changed = {**pod, "status": status}
        self._registry.update("pods", namespace, changed, subresource="status", manager="kube-scheduler")
        return True

    def _with_condition(self, pod: Object, news: Object) -> Object:
        """The pod's status with its PodScheduled condition replaced, or added."""
        status = pod.get("status") or {}
        old = _scheduled(pod)
        same = old.get("status") == news["status"]
        condition = {
            "type": "PodScheduled",
            "observedGeneration": pod["metadata"].get("generation", 1),
            "lastProbeTime": None,
            "lastTransitionTime": old["lastTransitionTime"] if same else times.text(self._registry.clock()),
            **news,
        }
        others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
        return {**status, "conditions": [*others, condition]}


def _scheduled(pod: Object) -> Object:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((dict(c) for c in conditions if c["type"] == "PodScheduled"), {})


def _relevant(node: Object) -> object:
    """What of a node the scheduler looks at."""
    spec = node["spec"]
    return (
        node["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        fit.is_ready(node),
        node.get("status", {}).get("allocatable"),
    )


def _wants(pod: Object) -> object:
    """What of a pending pod the scheduler looks at; its own notes are not part of it."""
    return pod["spec"], pod["metadata"].get("labels")

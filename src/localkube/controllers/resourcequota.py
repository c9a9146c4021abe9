"""The resource quota controller: counts anew what a quota's namespace holds, when something was released.

Admission adds to `status.used` whatever it lets in (see `apiserver.quota.ledger`), so only what goes away or
ends, and a quota that changes, need a look from here.
"""

from typing import Any

from localkube.apiserver.quota.ledger import QUOTAS
from localkube.apiserver.quota.usage import IGNORED, evaluator, is_running
from localkube.apiserver.registry import Registry
from localkube.controllers.feed import Feed
from localkube.controllers.owners import Key, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "kube-controller-manager"
SETTLE = 0.05
"""Seconds for which releases are gathered: each count looks at everything that the quota counts."""
RESYNC = 300.0
"""Seconds after which a quota is counted anyway (resource-quota-sync-period): a pod that is overdue to be
gone gives back what it takes by time alone."""


class ResourceQuotaController:
    """Keeps the status of every ResourceQuota."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[Key] = WorkQueue("resourcequota")
        self._quotas: dict[str, set[str]] = {}
        feed.on(QUOTAS, self._observe_quota)
        feed.on_every(self._observe, lambda resource: resource.namespaced and resource.key not in IGNORED)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe_quota(self, _: str, before: Object | None, now: Object | None) -> None:
        found = now if now is not None else before
        if found is None:
            return
        namespace, name = key_of(found)
        names = self._quotas.setdefault(namespace, set())
        if now is None:
            names.discard(name)
            self._registry.ledger.stale.discard((namespace, name))
            if not names:
                del self._quotas[namespace]
            return
        names.add(name)
        # as it was loaded at the start the status may lag behind what was stored after it
        if before is None or before["spec"] != now["spec"]:
            self._queue.add((namespace, name))

    def _observe(self, key: str, before: Object | None, now: Object | None) -> None:
        if before is None:
            return
        namespace = before["metadata"]["namespace"]
        names = self._quotas.get(namespace)
        if not names or (now is not None and not self._releases(key, before, now)):
            return
        for name in names:
            self._registry.ledger.stale.add((namespace, name))
            self._queue.add_after((namespace, name), SETTLE)

    def _releases(self, key: str, before: Object, now: Object) -> bool:
        """Whether a change of an object may have given something back (its deadline decides on scopes)."""
        if key == "pods":
            clock = self._registry.clock()
            deadlines = {obj["spec"].get("activeDeadlineSeconds") for obj in (before, now)}
            return len(deadlines) > 1 or (is_running(before, clock) and not is_running(now, clock))
        return evaluator(key).on_update

    def sync(self, key: Key) -> float | None:
        """Count anew what is used of one quota; answers the seconds until the next count."""
        namespace, name = key
        version = self._registry.store.get(QUOTAS, namespace, name)
        if version is None:
            return None
        quota = version.object
        used = self._registry.ledger.usage(quota, self._registry.clock())
        status = {"hard": quota["spec"].get("hard") or {}, "used": used}
        if status != (quota.get("status") or {}):
            changed = {**quota, "status": status}
            self._registry.update(QUOTAS, namespace, changed, subresource="status", manager=MANAGER)
        self._registry.ledger.stale.discard(key)
        return RESYNC

"""Aggregated ClusterRoles: the rules of one with an `aggregationRule` are those of the roles that it selects.

They are written into the role itself, so whoever decides what somebody may do need not know of this.
"""

from typing import Any

from localkube.apiserver.rbac.grants import CLUSTER_ROLES
from localkube.apiserver.registry import Registry
from localkube.apiserver.validation.selector import matches
from localkube.controllers.feed import Feed
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

MANAGER = "clusterrole-aggregation-controller"


class ClusterRoleController:
    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[str] = WorkQueue("clusterrole")
        self._aggregated: set[str] = set()
        feed.on(CLUSTER_ROLES, self._observe)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe(self, _: str, before: Object | None, now: Object | None) -> None:
        for role in (before, now):
            if role is not None and "aggregationRule" in role:
                self._aggregated.add(role["metadata"]["name"])
        # any role may be selected by any of them; they are few
        for name in self._aggregated:
            self._queue.add(name)

    def sync(self, name: str) -> None:
        found = self._registry.store.get(CLUSTER_ROLES, "", name)
        if found is None or "aggregationRule" not in found.object:
            self._aggregated.discard(name)
            return
        rules = aggregate(found.object, self._registry.list(CLUSTER_ROLES))
        if rules != (found.object.get("rules") or []):
            self._registry.update(CLUSTER_ROLES, "", {**found.object, "rules": rules}, manager=MANAGER)


def aggregate(role: Object, roles: list[Object]) -> list[Object]:
    """The rules of all roles that `role` selects, each once, in the order of the selectors and names."""
    rules: list[Object] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for other in sorted(roles, key=lambda r: str(r["metadata"]["name"])):
            if other["metadata"]["name"] == role["metadata"]["name"]:
                continue
            if matches(selector, other["metadata"].get("labels") or {}):
                for rule in other.get("rules") or ():
                    if rule not in rules:
                        rules.append(rule)
    return rules

"""Admission plugin ResourceQuota: whether there is room for an object, and the books of what is taken.

`status.used` of each quota is the book, as in the real server: admission adds to it in the same synchronous
step that stores the object, so that no two creates can take the same room. What ends or goes away is
subtracted by the controller, which counts anew. Until it has, the book says too much; a quota in such a
namespace is `stale`, and is counted at once before anything is refused because of it.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from localkube.apiserver.podresources import Amounts, plus
from localkube.apiserver.quantity import minus, total, value_of
from localkube.apiserver.quota.scopes import in_scope
from localkube.apiserver.quota.usage import IGNORED, Evaluator, evaluator, missing
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.status import forbidden
from localkube.apiserver.store import Store

Object = dict[str, Any]

QUOTAS = "resourcequotas"


class Charge(NamedTuple):
    """What a quota's status becomes when the object that was looked at is stored."""

    quota: Object
    status: Object


class Ledger:
    """The quotas of a store. A namespace without any costs one look into an ordered list."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self._store = store
        self._resources = resources
        self.stale: set[tuple[str, str]] = set()
        """Quotas (namespace and name) of which something was given back that is not subtracted yet.

        The controller keeps this up to date.
        """

    def assess(self, resource: Resource, new: Object, old: Object | None, now: datetime) -> list[Charge]:
        """What is to be charged for a new object, or for a change of `old`. Raises 403 without room."""
        namespace = new["metadata"].get("namespace", "")
        if not namespace or resource.key in IGNORED:
            return []
        counted = evaluator(resource.key)
        if old is not None and not counted.on_update:
            return []
        if not self._store.table(QUOTAS).items:
            return []
        quotas = self._store.list(QUOTAS, namespace)
        concerned: list[tuple[Object, list[str]]] = []
        for version in quotas:
            quota = version.object
            names = [name for name in quota["spec"].get("hard") or () if counted.counts(name)]
            if not names or not in_scope(quota, resource.key, new):
                continue
            if resource.key == "pods" and (problem := missing(new, names)):
                detail = f"failed quota: {quota['metadata']['name']}: {problem}"
                raise forbidden(resource.key, new["metadata"].get("name", ""), detail)
            concerned.append((quota, names))
        charges = (self._assess(q, names, resource.key, counted, new, old, now) for q, names in concerned)
        return [charge for charge in charges if charge is not None]

    def charge(self, charges: Iterable[Charge]) -> None:
        """Write the books; to be called in the same step that stores what was assessed."""
        for quota, status in charges:
            metadata = quota["metadata"]
            changed = {**quota, "metadata": dict(metadata), "status": status}
            self._store.put(QUOTAS, metadata["namespace"], metadata["name"], changed)

    def _assess(
        self,
        quota: Object,
        names: list[str],
        key: str,
        counted: Evaluator,
        new: Object,
        old: Object | None,
        now: datetime,
    ) -> Charge | None:
        wanted = _only(counted.usage(new, now), names)
        if old is not None and in_scope(quota, key, old):
            before = _only(counted.usage(old, now), names)
            wanted = {name: minus(text, before.get(name, "0")) for name, text in wanted.items()}
        wanted = {name: text for name, text in wanted.items() if value_of(text) > 0}
        if not wanted:
            return None
        namespace, name = quota["metadata"]["namespace"], quota["metadata"]["name"]
        hard: Amounts = quota["spec"]["hard"]
        status = quota.get("status") or {}
        # the status of a quota that is new or was changed says nothing yet about what it limits now
        counted_anew = status.get("hard") != hard
        used = self.usage(quota, now) if counted_anew else status.get("used") or {}
        exceeded = _exceeded(used, wanted, hard)
        if exceeded and not counted_anew and (namespace, name) in self.stale:
            used = self.usage(quota, now)
            exceeded = _exceeded(used, wanted, hard)
        if exceeded:
            detail = (
                f"exceeded quota: {name}, requested: {_shown(wanted, exceeded)}, "
                f"used: {_shown(used, exceeded)}, limited: {_shown(hard, exceeded)}"
            )
            raise forbidden(key, new["metadata"].get("name", ""), detail)
        return Charge(quota, {"hard": hard, "used": plus(used, wanted)})

    def usage(self, quota: Object, now: datetime) -> Amounts:
        """What is taken of a quota, counted anew: every name of its `hard` that is counted at all."""
        namespace = quota["metadata"]["namespace"]
        hard: Amounts = quota["spec"].get("hard") or {}
        parts: dict[str, list[str]] = {}
        for resource in self._resources.stored():
            if not resource.namespaced or resource.key in IGNORED:
                continue
            counted = evaluator(resource.key)
            names = [name for name in hard if counted.counts(name)]
            if not names:
                continue
            parts |= {name: [] for name in names}
            for version in self._store.list(resource.key, namespace):
                if not in_scope(quota, resource.key, version.object):
                    continue
                for name, text in counted.usage(version.object, now).items():
                    if name in parts:
                        parts[name].append(text)
        return {name: total(texts) for name, texts in sorted(parts.items())}


def _only(amounts: Amounts, names: list[str]) -> Amounts:
    return {name: amounts[name] for name in names if name in amounts}


def _exceeded(used: Amounts, wanted: Amounts, hard: Amounts) -> list[str]:
    return sorted(
        name
        for name, text in wanted.items()
        if value_of(used.get(name, "0")) + value_of(text) > value_of(hard[name])
    )


def _shown(amounts: Amounts, names: list[str]) -> str:
    return ",".join(f"{name}={amounts.get(name, '0')}" for name in names)

"""Events: how they are worded, that the same one again only counts up, and that old ones go."""

import asyncio
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from localkube.apiserver.deletion import timestamp
from localkube.apiserver.status import StatusError

if TYPE_CHECKING:
    from localkube.apiserver.registry import Registry

LIFETIME = timedelta(hours=1)
"""How long an Event stays after it last happened (kube-apiserver's --event-ttl)."""
EXPIRY_PERIOD = 60.0
_REMEMBERED = 4096
"""Events that may be counted up (the size of client-go's event cache)."""
_NAME_LIMIT = 253 - 17


class Recorder:
    """Writes Events into a registry. Raises StatusError where none can be, as in a terminating namespace."""

    def __init__(self, registry: "Registry"):
        self._registry = registry
        self._names: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def record(
        self, involved: dict[str, Any], reason: str, message: str, type_: str, component: str
    ) -> dict[str, Any]:
        now = self._registry.clock()
        event = new_event(involved, reason, message, type_, component, now)
        namespace = event["metadata"]["namespace"]
        about = event["involvedObject"]
        same = (namespace, about["uid"], about.get("fieldPath", ""), type_, reason, message, component)
        known = self._registry.store.get("events", namespace, self._names.get(same, ""))
        if known is not None:
            again = {
                **known.object,
                "count": known.object.get("count", 0) + 1,
                "lastTimestamp": timestamp(now),
            }
            return self._registry.update("events", namespace, again, manager=component)
        while self._registry.exists("events", namespace, event["metadata"]["name"]):
            now += timedelta(microseconds=1)
            event["metadata"]["name"] = _name(about["name"], now)
        created = self._registry.create("events", namespace, event, manager=component)
        self._names[same] = created["metadata"]["name"]
        self._names.move_to_end(same)
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
        return created


def new_event(
    involved: dict[str, Any], reason: str, message: str, type_: str, component: str, now: datetime
) -> dict[str, Any]:
    """An Event about an object; a key `fieldPath` beside its metadata says which part of it is meant."""
    metadata = involved["metadata"]
    about = {
        "kind": involved["kind"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "apiVersion": involved["apiVersion"],
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if metadata.get("namespace"):
        about["namespace"] = metadata["namespace"]
    if involved.get("fieldPath"):
        about["fieldPath"] = involved["fieldPath"]
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": _name(metadata["name"], now),
            "namespace": metadata.get("namespace") or "default",
        },
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
        "type": type_,
        "reportingComponent": component,
    }


def _name(name: str, now: datetime) -> str:
    return f"{name[:_NAME_LIMIT]}.{int(now.timestamp() * 1_000_000) * 1000:x}"


def expired(event: dict[str, Any], now: datetime) -> bool:
    """Whether an Event happened so long ago that it goes."""
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    last = next((t for t in times if t), None)
    return last is not None and now - datetime.fromisoformat(last) > LIFETIME


async def expire(registry: "Registry") -> None:
    """Delete old Events until cancelled."""
    while True:
        await asyncio.sleep(EXPIRY_PERIOD)
        now = registry.clock()
        for event in registry.list("events"):
            if expired(event, now):
                metadata = event["metadata"]
                try:
                    registry.delete("events", metadata["namespace"], metadata["name"])
                except StatusError:
                    continue

"""A local copy of one kind of object in one cluster, kept by one list and one watch."""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.resources import Resource

V = TypeVar("V")


class Item(Generic[V]):
    """One object: its metadata, its bytes as they were sent, and its value, decoded when first asked for."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    labels: dict[str, str]
    raw: bytes

    @property
    def value(self) -> V:
        raise NotImplementedError


class Change(msgspec.Struct, Generic[V], frozen=True):
    """What a subscriber is told: the object before (None: new) and after (None: gone)."""

    old: Item[V] | None
    new: Item[V] | None


class Informer(Generic[V]):
    """`async with Informer(...)`, or `start()` and `await stop()`."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        decode: Callable[[bytes], V],
        *,
        namespace: str | None = None,
        labels: str = "",
    ):
        self.reachable = False
        self.last_contact = 0.0

    def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def synced(self, budget: Budget | None = None) -> None:
        """Waits for the first complete list; raises ClusterUnreachable when the budget is spent before."""
        raise NotImplementedError

    def get(self, namespace: str, name: str) -> Item[V] | None:
        raise NotImplementedError

    def items(self, namespace: str | None = None) -> Collection[Item[V]]:
        """Ordered by name, as the API server lists; a snapshot that does not change."""
        raise NotImplementedError

    def learn(self, raw: bytes) -> None:
        """Takes over the answer to our own write, unless the watch has told us something newer."""
        raise NotImplementedError

    def forget(self, namespace: str, name: str, uid: str = "") -> None:
        """Takes over that the API server answered our delete with "gone" (a `Status`, not the object)."""
        raise NotImplementedError

    def version(self, namespace: str) -> int:
        """Another number whenever anything in the namespace changed."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[Change[V]], None]) -> Callable[[], None]:
        """Calls back, synchronously, after every change; the answer ends it."""
        raise NotImplementedError

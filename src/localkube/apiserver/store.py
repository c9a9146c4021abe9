"""The state of the cluster: every object's current version, and a bounded history of the versions before it.

One global revision counts all writes, as etcd's does. A write is one synchronous call on the event loop's
thread, so readers never see half of one and no locks are needed. The history serves two needs: a watch that
resumes from an older revision replays it, and a chunked LIST undoes it to see the revision it started from.
What has left the history is answered with `Expired` (410 Gone), as after etcd's compaction.

Objects handed out are SHARED: whoever wants to change one makes a copy first. That is what lets one encoding
(`Version.item`) serve every GET, LIST and watcher of that version.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

import msgspec

HISTORY = 5_000
"""Events kept per resource, each with the object as it was: some 40 KiB. (etcd keeps five minutes.)"""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Expired(Exception):
    """The revision asked for is older than the history (`compacted` is the oldest that can be asked for)."""

    def __init__(self, revision: int, compacted: int):
        super().__init__(f"too old resource version: {revision} ({compacted})")
        self.revision = revision
        self.compacted = compacted


class TooLarge(Exception):
    """The revision asked for lies in the future."""

    def __init__(self, revision: int, current: int):
        super().__init__(f"Too large resource version: {revision}, current: {current}")
        self.revision = revision
        self.current = current


class Version:
    """One object at one revision, with its JSON encoded at most once."""

    __slots__ = ("_item", "key", "object", "revision", "view")

    def __init__(self, key: str, obj: dict[str, Any], revision: int):
        self.key = key
        self.object = obj
        self.revision = revision
        self._item: bytes | None = None
        self.view: tuple[object, Version] | None = None
        """How this was last shown, and by what (crd/views.py)."""

    @property
    def item(self) -> bytes:
        """The JSON of the object without kind and apiVersion, as a LIST's items are written."""
        if self._item is None:
            rest = {k: v for k, v in self.object.items() if k not in ("kind", "apiVersion")}
            self._item = msgspec.json.encode(rest)
        return self._item

    @property
    def encoded(self) -> bytes:
        """The JSON of the whole object, kind and apiVersion first."""
        obj = self.object
        head = b'{"kind":"%s","apiVersion":"%s",' % (obj["kind"].encode(), obj["apiVersion"].encode())
        return head + self.item[1:]


class Change:
    """One write: what the object became and what it was before."""

    __slots__ = ("frame", "previous", "type", "version")

    def __init__(self, type_: EventType, version: Version, previous: Version | None):
        self.type: EventType = type_
        self.version = version
        self.previous = previous
        self.frame: bytes | None = None


class Journal(Protocol):
    """Where writes go to survive the process (wal.py), in the order of their revisions."""

    def append(self, resource: str, version: Version, deleted: bool) -> None: ...

    async def durable(self, revision: int) -> None: ...


class Table:
    """The objects of one resource, ordered by key (`namespace/name`, or `name`) as etcd orders them."""

    __slots__ = ("compacted", "history", "items", "keys", "subscribers")

    def __init__(self, compacted: int):
        self.items: dict[str, Version] = {}
        self.keys: list[str] = []
        self.history: deque[Change] = deque()
        self.compacted = compacted
        # by namespace, so that a write wakes only those who can see it; None is every namespace
        self.subscribers: dict[str | None, set[Subscription]] = {}


class Subscription:
    """Changes of one resource (in one namespace) as they are written, in order, each exactly once.

    `receive` is called synchronously inside the write, so it must only remember and wake.
    """

    __slots__ = ("namespace", "receive", "table")

    def __init__(self, table: Table, namespace: str | None, receive: Callable[[Change], None]):
        self.table = table
        self.namespace = namespace
        self.receive = receive

    def close(self) -> None:
        subscribers = self.table.subscribers.get(self.namespace)
        if subscribers is not None:
            subscribers.discard(self)
            if not subscribers:
                del self.table.subscribers[self.namespace]


def key_of(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


Objects = list[tuple[str, Version]]
"""Versions with the key of their resource."""


class Store:
    """All tables under one revision counter. `resource` is always a `Resource.key`, such as "jobs.batch"."""

    def __init__(self, *, history: int = HISTORY, revision: int = 1):
        """`revision` is where an empty store starts to count; nothing before it can be asked for."""
        self.revision = revision
        self._history = history
        self._tables: dict[str, Table] = {}
        self._compacted = revision
        self.journal: Journal | None = None

    def table(self, resource: str) -> Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = Table(self._compacted)
        return table

    def get(self, resource: str, namespace: str, name: str) -> Version | None:
        return self.table(resource).items.get(key_of(namespace, name))

    def list(self, resource: str, namespace: str | None = None, *, at: int | None = None) -> list[Version]:
        """The versions in key order: the current ones, or those of revision `at`.

        Raises Expired when `at` has left the history, TooLarge when it has not happened yet.
        """
        table = self.table(resource)
        if at is None or at == self.revision:
            items = table.items
            return [items[key] for key in _within(table.keys, namespace)]
        self._check(table, at)
        past: dict[str, Version | None] = {}
        for change in reversed(table.history):
            if change.version.revision <= at:
                break
            past[change.version.key] = change.previous
        if not past:
            return self.list(resource, namespace)
        merged = {**table.items, **past}
        keys = sorted(key for key, version in merged.items() if version is not None)
        return [version for key in _within(keys, namespace) if (version := merged[key]) is not None]

    def put(self, resource: str, namespace: str, name: str, obj: dict[str, Any]) -> Version:
        """Make `obj` the current version; it gets its resourceVersion here and belongs to the store now."""
        table = self.table(resource)
        key = key_of(namespace, name)
        previous = table.items.get(key)
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        version = Version(key, obj, self.revision)
        table.items[key] = version
        if previous is None:
            insort(table.keys, key)
        if self.journal is not None:
            self.journal.append(resource, version, False)
        self._publish(table, namespace, Change("MODIFIED" if previous else "ADDED", version, previous))
        return version

    def delete(self, resource: str, namespace: str, name: str, obj: dict[str, Any] | None = None) -> Version:
        """Remove an object; the answer is its last state (`obj`, if given) at the new revision."""
        table = self.table(resource)
        key = key_of(namespace, name)
        previous = table.items.pop(key)
        del table.keys[bisect_left(table.keys, key)]
        self.revision += 1
        last = obj if obj is not None else previous.object
        version = Version(key, with_revision(last, self.revision), self.revision)
        if self.journal is not None:
            self.journal.append(resource, version, True)
        self._publish(table, namespace, Change("DELETED", version, previous))
        return version

    def since(self, resource: str, revision: int, namespace: str | None = None) -> Iterable[Change]:
        """The changes after `revision`, oldest first. Raises Expired or TooLarge."""
        table = self.table(resource)
        self._check(table, revision)
        found: list[Change] = []
        prefix = f"{namespace}/" if namespace is not None else ""
        for change in reversed(table.history):
            if change.version.revision <= revision:
                break
            if change.version.key.startswith(prefix):
                found.append(change)
        return reversed(found)

    def subscribe(
        self, resource: str, namespace: str | None, receive: Callable[[Change], None]
    ) -> Subscription:
        table = self.table(resource)
        subscription = Subscription(table, namespace, receive)
        table.subscribers.setdefault(namespace, set()).add(subscription)
        return subscription

    def compact(self, revision: int) -> None:
        """Forget the history up to and including `revision`: what is older is Expired."""
        self._compacted = max(self._compacted, revision)
        for table in self._tables.values():
            while table.history and table.history[0].version.revision <= revision:
                table.history.popleft()
            table.compacted = max(table.compacted, revision)

    async def durable(self, revision: int | None = None) -> None:
        """Wait until `revision` (default: all that was written so far) survives a crash of the process.

        Everything that leaves the process waits for this, reads and watches too, so that no client ever
        saw a revision that a crash took back. Without a journal there is nothing to wait for.
        """
        if self.journal is not None:
            await self.journal.durable(self.revision if revision is None else revision)

    def begin(self, revision: int) -> None:
        """Count from `revision` on, and forget what was before it: the start of a store that is restored."""
        self.revision = revision
        self._compacted = revision
        for table in self._tables.values():
            table.compacted = revision

    def load(self, resource: str, key: str, obj: dict[str, Any], revision: int) -> None:
        """Put back an object from a snapshot, without history."""
        table = self.table(resource)
        table.items[key] = Version(key, obj, revision)
        insort(table.keys, key)

    def restore(self, resource: str, key: str, obj: dict[str, Any] | None, revision: int) -> None:
        """Replay one journalled write at start; obj None is a deletion."""
        table = self.table(resource)
        previous = table.items.get(key)
        self.revision = revision
        if obj is None:
            if previous is not None:
                del table.items[key]
                del table.keys[bisect_left(table.keys, key)]
                gone = Version(key, with_revision(previous.object, revision), revision)
                self._remember(table, Change("DELETED", gone, previous))
            return
        version = Version(key, obj, revision)
        table.items[key] = version
        if previous is None:
            insort(table.keys, key)
        self._remember(table, Change("MODIFIED" if previous else "ADDED", version, previous))

    def snapshot(self) -> Objects:
        """Every current object with its resource, consistent at `revision`."""
        return [(resource, v) for resource, table in self._tables.items() for v in table.items.values()]

    def _check(self, table: Table, revision: int) -> None:
        if revision > self.revision:
            raise TooLarge(revision, self.revision)
        if revision < table.compacted:
            raise Expired(revision, table.compacted)

    def _remember(self, table: Table, change: Change) -> None:
        table.history.append(change)
        if len(table.history) > self._history:
            table.compacted = table.history.popleft().version.revision

    def _publish(self, table: Table, namespace: str, change: Change) -> None:
        self._remember(table, change)
        scopes = (namespace, None) if namespace else (None,)
        for scope in scopes:
            for subscription in tuple(table.subscribers.get(scope, ())):
                subscription.receive(change)


def with_revision(obj: dict[str, Any], revision: int) -> dict[str, Any]:
    """The same object stamped with another resourceVersion (a shallow copy: the rest stays shared)."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


def _within(keys: list[str], namespace: str | None) -> list[str]:
    if namespace is None:
        return keys
    # "0" is the character after "/": everything that starts with "namespace/" lies between the two
    return keys[bisect_left(keys, namespace + "/") : bisect_right(keys, namespace + "0")]


class Wakeup:
    """Lets one coroutine sleep until something synchronous happens."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

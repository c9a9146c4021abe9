"""Watches: the changes of one resource, filtered by a selector, for one reader.

A change is judged inside the write that made it and queued for the reader; a reader that falls further behind
than `BACKLOG` is cut off with 410 and lists anew, so that one stalled client cannot hold the server's memory.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from localkube.apiserver import status
from localkube.apiserver.resources import Resource
from localkube.apiserver.selectors import EVERYTHING, Selector
from localkube.apiserver.store import (
    Change,
    EventType,
    Expired,
    Store,
    TooLarge,
    Version,
    Wakeup,
    with_revision,
)

BACKLOG = 5_000
"""Events that wait for one reader: as many as are kept, so that one who is cut off can mostly resume."""


class Event(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK; `object` is shared, never change it."""

    type: str
    object: dict[str, Any]


class Delivery(NamedTuple):
    """A change as one watcher sees it; `change` is set when others may see it just so."""

    type: EventType | Literal["BOOKMARK"]
    version: Version
    change: Change | None

    @property
    def frame(self) -> bytes:
        """The line of a watch stream, encoded once for all the watchers that get the same."""
        if self.change is None:
            return encode_frame(self.type, self.version)
        if self.change.frame is None:
            self.change.frame = encode_frame(self.type, self.version)
        return self.change.frame


def encode_frame(type_: str, version: Version) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), version.encoded)


def deliver(change: Change, selector: Selector) -> Delivery | None:
    """What a change means to a watcher: what enters the selector is ADDED, what leaves it is DELETED."""
    if not selector:
        return Delivery(change.type, change.version, change)
    previous = change.previous
    before = previous is not None and selector.matches(previous.object)
    if change.type == "DELETED":
        return Delivery("DELETED", change.version, change) if before else None
    after = selector.matches(change.version.object)
    if after:
        if before:
            return Delivery("MODIFIED", change.version, change)
        return Delivery("ADDED", change.version, change if change.type == "ADDED" else None)
    if before and previous is not None:
        revision = change.version.revision
        gone = Version(previous.key, with_revision(previous.object, revision), revision)
        return Delivery("DELETED", gone, None)
    return None


def bookmark(resource: Resource, revision: int, *, initial_end: bool = False) -> Version:
    """An object that says only how far a watch has come."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return Version("", obj, revision)


class Watch:
    """An async iterator of `Event`; `close()` ends it, and so does leaving it to the garbage collector.

    `batch()` and `deliveries` are the same stream for those that write bytes instead of reading objects.
    """

    def __init__(
        self,
        store: Store,
        resource: str,
        namespace: str | None,
        *,
        since: int | None,
        initial: bool,
        selector: Selector = EVERYTHING,
        bookmark: Version | None = None,
    ):
        """`bookmark` is told once, after the initial events (or those since `since`)."""
        self.store = store
        self.selector = selector
        self._queue: deque[Delivery] = deque()
        self._wakeup = Wakeup()
        self._overrun = False
        self._closed = False
        start: Iterable[Delivery | None]
        if since is not None:
            try:
                start = [deliver(change, selector) for change in store.since(resource, since, namespace)]
            except Expired as error:
                raise status.expired(str(error)) from None
            except TooLarge as error:
                raise too_large(error) from None
        elif initial:
            versions = store.list(resource, namespace)
            start = [Delivery("ADDED", v, None) for v in versions if selector.matches(v.object)]
        else:
            start = ()
        self._queue.extend(d for d in start if d is not None)
        if bookmark is not None:
            self._queue.append(Delivery("BOOKMARK", bookmark, None))
        self._subscription = store.subscribe(resource, namespace, self._receive)

    def _receive(self, change: Change) -> None:
        delivery = deliver(change, self.selector)
        if delivery is None:
            return
        if len(self._queue) >= BACKLOG:
            self._overrun = True
            self._queue.clear()
            self._subscription.close()
        else:
            self._queue.append(delivery)
        self._wakeup.set()

    @property
    def pending(self) -> bool:
        """Whether something waits to be read."""
        return bool(self._queue)

    async def batch(self) -> list[Delivery]:
        """Wait for changes and return all that are there; empty when the watch was closed.

        Raises StatusError 410 when the reader fell too far behind.
        """
        while not self._queue:
            if self._overrun:
                raise status.expired("too old resource version: the watch fell behind")
            if self._closed:
                return []
            await self._wakeup.wait()
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._overrun:
                raise status.expired("too old resource version: the watch fell behind")
            if self._closed:
                raise StopAsyncIteration
            await self._wakeup.wait()
        delivery = self._queue.popleft()
        return Event(delivery.type, delivery.version.object)

    def close(self) -> None:
        self._closed = True
        self._subscription.close()
        self._wakeup.set()


def too_large(error: TooLarge) -> status.StatusError:
    """504, as the real server words it after having waited for the revision."""
    return status.timeout(
        str(error), [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    )

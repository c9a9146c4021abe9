"""A watch as bytes: one JSON line per event, bookmarks in between, and an end."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any

import msgspec

from localkube.apiserver.crd.views import seen
from localkube.apiserver.resources import Resource
from localkube.apiserver.status import StatusError
from localkube.apiserver.store import Store, Version
from localkube.apiserver.watches import Delivery, Watch, bookmark, encode_frame

BOOKMARK_INTERVAL = 60.0
"""Seconds between bookmarks, as the real server's watch cache sends them."""
MINIMUM_TIMEOUT = 1800
"""Seconds after which watches without timeoutSeconds end: between this and twice as much."""

Render = Callable[[str, Version], dict[str, Any]]
"""Makes another form (Table, PartialObjectMetadata) of an event's object, given the event's type."""


def error_frame(error: StatusError) -> bytes:
    return b'{"type":"ERROR","object":%s}\n' % msgspec.json.encode(error.status)


async def failed(error: StatusError) -> AsyncGenerator[bytes, None]:
    """The stream of a watch that could not start: errors about revisions are told inside it."""
    yield error_frame(error)


CHUNK = 64 * 1024
"""Bytes after which a chunk is full (an event is never cut). What waits for a reader who does not read is
this much, and encrypting it is what the other readers wait for: of hundreds who are far behind at once, too.
"""


async def frames(
    watch: Watch,
    resource: Resource,
    store: Store,
    *,
    bookmarks: bool,
    timeout: float | None,
    render: Render | None = None,
    interval: float = BOOKMARK_INTERVAL,
) -> AsyncGenerator[bytes, None]:
    """The lines of a watch, until `timeout` seconds are over or it is closed.

    The caller closes the watch. What is told has been made durable before: a client never resumes from a
    revision that was lost.
    """
    loop = asyncio.get_running_loop()
    if timeout is None:
        timeout = MINIMUM_TIMEOUT * (1 + random.random())  # noqa: S311 (spreads reconnects)
    deadline = loop.time() + timeout
    bookmark_at = loop.time() + interval if bookmarks else deadline
    try:
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, bookmark_at)):
                    deliveries = await watch.batch()
            except TimeoutError:
                if watch.pending:
                    continue
                if bookmarks:
                    # nothing is queued, so everything up to now has been told
                    revision = store.revision
                    await store.durable(revision)
                    yield encode_frame("BOOKMARK", bookmark(resource, revision))
                if loop.time() >= deadline:
                    return
                bookmark_at = loop.time() + interval
                continue
            if not deliveries:
                return
            await store.durable(deliveries[-1].version.revision)
            for chunk in _chunks(deliveries, resource, render):
                yield chunk
    except StatusError as error:
        yield error_frame(error)


def _chunks(deliveries: Iterable[Delivery], resource: Resource, render: Render | None) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for delivery in deliveries:
        lines.append(_line(delivery, resource, render))
        size += len(lines[-1])
        if size >= CHUNK:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _line(delivery: Delivery, resource: Resource, render: Render | None) -> bytes:
    if delivery.type == "BOOKMARK":
        return delivery.frame
    if render is None:
        shown_version = seen(resource, delivery.version)
        if shown_version is delivery.version:
            return delivery.frame
        return encode_frame(delivery.type, shown_version)
    shown = render(delivery.type, delivery.version)
    return b'{"type":"%s","object":%s}\n' % (delivery.type.encode(), msgspec.json.encode(shown))

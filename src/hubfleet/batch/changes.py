"""Wakes whoever waits for something to happen in a namespace."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from hubfleet.kube.view import Change


class Changes:
    """One subscriber of the informers for all who wait: `tell` is what to subscribe."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def telling(self, namespace: str, event: asyncio.Event) -> Iterator[None]:
        events = self._events.setdefault(namespace, set())
        events.add(event)
        try:
            yield
        finally:
            events.discard(event)
            if not events:
                self._events.pop(namespace, None)

    def tell(self, change: Change[bytes]) -> None:
        item = change.new or change.old
        for event in self._events.get(item.namespace, ()) if item is not None else ():
            event.set()


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""A queue of keys, each at most once: what the controllers' loops take their work from.

A key says only *what* to look at; what is to be done is decided from the state at the moment it is taken
(level-triggered), so a thousand changes to one object that nobody has looked at yet cost one look.

Work is synchronous (the registry is), so one worker is enough and two looks at one key never overlap. After
each key the worker gives way to the event loop: an HTTP request waits for one key at most. While requests
keep coming, a worker also leaves them the loop for twice the time that it took itself: in a real cluster the
controllers are other processes, and do not slow the API down however much there is for them to do.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import structlog

from localkube.apiserver.status import StatusError

K = TypeVar("K", bound=Hashable)

SHARE = 2.0
"""How long requests have the loop to themselves after a key, as a multiple of what the key took."""

RETRY_FIRST = 0.005
"""Seconds before the first retry; each further failure doubles it (client-go's default rate limiter)."""
RETRY_MOST = 30.0
"""Seconds; client-go waits up to 1000 s, but what stands in the way locally is quicker to change."""

log = structlog.get_logger(__name__)


class WorkQueue(Generic[K]):
    """Keys that are due, and timers for keys that will be. Only to be used from within the event loop."""

    def __init__(
        self,
        name: str,
        *,
        retry_first: float = RETRY_FIRST,
        requests: Callable[[], int] | None = None,
    ) -> None:
        """`requests` counts the requests that the API has had: it gives way to them."""
        self._name = name
        self._requests = requests
        self._retry_first = retry_first
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        """How many keys are due now."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Make a key due, once."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wakeup.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Make a key due in some seconds, unless it is due before that anyway."""
        if seconds <= 0:
            self.add(key)
            return
        if key in self._queued:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    async def run(self, sync: Callable[[K], float | None]) -> None:
        """Call `sync` for each key that is due, until cancelled.

        `sync` answers the seconds after which it wants to see the key again, or None. When it raises, that
        is logged and the key is tried again after a while; nothing that it raises ends the loop.
        """
        try:
            while True:
                while not self._ready:
                    self._wakeup.clear()
                    await self._wakeup.wait()
                key = self._ready.popleft()
                self._queued.discard(key)
                await self._give_way(self._once(key, sync))
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _give_way(self, seconds: float) -> None:
        """To what else waits for the loop, after a key that took `seconds`."""
        before = self._requests() if self._requests is not None else 0
        await asyncio.sleep(0)
        if self._requests is not None and self._requests() != before:
            await asyncio.sleep(SHARE * seconds)

    def _once(self, key: K, sync: Callable[[K], float | None]) -> float:
        """Look at one key; the seconds that it took."""
        begun = time.perf_counter()
        try:
            again = sync(key)
        except Exception as e:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            delay = min(self._retry_first * 2**failures, RETRY_MOST) if failures < 20 else RETRY_MOST
            if isinstance(e, StatusError):
                log.info("will try again", controller=self._name, key=key, error=str(e), seconds=delay)
            else:
                log.exception("will try again", controller=self._name, key=key, seconds=delay)
            self.add_after(key, delay)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add_after(key, again)
        return time.perf_counter() - begun

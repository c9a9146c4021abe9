"""A local copy of one kind of object where we may list but not watch: it is listed again when it got old.

Less than an informer: what others change is noticed when somebody asks, or within PERIOD; and each list is
the whole of it. So a list is made at most once in FRESH seconds, however many just read.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ClusterUnreachable
from hubfleet.kube.informer import Informer
from hubfleet.kube.resources import Resource

V = TypeVar("V")

FRESH = 1.0
"""Seconds for which a list is as good as a new one."""

PERIOD = 30.0
"""Seconds between two lists that nobody asked for."""


class Poller(Informer[V]):
    """As an Informer; `refresh` makes sure that the copy is fresh."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        decode: Callable[[bytes], V],
        *,
        namespace: str | None = None,
        labels: str = "",
    ):
        super().__init__(client, resource, decode, namespace=namespace, labels=labels)
        self._begun = float("-inf")  # when the last complete list was asked for
        self._wanted = asyncio.Event()

    async def refresh(self, budget: Budget | None = None, *, fresh: float = FRESH) -> None:
        """Waits for a list that was begun at most `fresh` seconds ago; raises what stands in the way."""
        await self.synced(budget)
        budget = budget or Budget(float("inf"))
        oldest = time.monotonic() - fresh
        while self._begun < oldest:
            if budget.expired:
                raise ClusterUnreachable(self.client.name, f"the list of {self.resource.key} is out of date")
            news, left = self._news, budget.left()
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(left if left < float("inf") else None):
                    await news.wait()
            if self._error is not None:
                raise self._error.with_traceback(None)

    async def _list(self) -> None:
        begun = time.monotonic()
        self._wanted.clear()
        await super()._list()
        self._begun = begun

    async def _watch(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._wanted.wait()
        await self._list()
        self._told += 1

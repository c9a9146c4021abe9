"""A local copy of one kind of object in one cluster, kept by one list and one watch.

Reads cost no request. The watch is resumed where it stopped; a new list is made only where the API server no
longer remembers that point (410), and replaces the copy at once, so that readers never see a half of it. A
watch that fell silent (a node that vanished, a proxy that forgot) is noticed, for the API server sends a
bookmark each minute at least.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Generic, Self, TypeVar

import msgspec
import structlog

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, ClusterUnreachable, Gone, KubeError
from hubfleet.kube.resources import Resource
from hubfleet.kube.view import Change, Item, View

V = TypeVar("V")

PAGE = 500
"""Objects per page of the first list, as client-go: the API server never holds more than these encoded."""

STALL = 90.0
"""Seconds without an event or a bookmark after which a watch is replaced; bookmarks come about each 60 s."""

LONGEST_PAUSE = 10.0
"""Seconds between two attempts at most: how long a cluster that is back may go unnoticed."""

FIRST_WORD = 2.0
"""Seconds that a reader waits for a cluster that said nothing since the start: it may be dead."""


class Informer(Generic[V]):
    """`start()` and `await stop()`, or `async with`; then read.

    `decode` makes a value of an object's bytes, when an item's value is first asked for. Objects of a list
    carry neither kind nor apiVersion. `reachable` tells whether the copy is kept up to date at this moment,
    `last_contact` when the cluster last spoke of it (seconds since 1970, 0.0 for never).
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        decode: Callable[[bytes], V],
        *,
        namespace: str | None = None,
        labels: str = "",
        page: int = PAGE,
        stall: float = STALL,
    ):
        self.client = client
        self.resource = resource
        self.reachable = False
        self.last_contact = 0.0
        self._namespace = namespace
        self._labels = labels
        self._page = page
        self._stall = stall
        self._view: View[V] = View(decode, namespace=namespace, labels=labels)
        self._synced = asyncio.Event()
        self._news = asyncio.Event()  # set, and replaced, when an attempt to list came to something
        self._error: KubeError | None = None
        self._told = 0  # events and bookmarks
        self._subscribers: list[Callable[[Change[V]], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("hubfleet.kube.informer").bind(
            cluster=client.name, resource=resource.key
        )

    def start(self) -> None:
        """Begins to list and watch, in the background."""
        if self._task is None:
            name = f"informer {self.client.name}/{self.resource.key}"
            self._task = asyncio.create_task(self._run(), name=name)

    async def stop(self) -> None:
        """Ends the watch; what was copied stays readable."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])
        self.reachable = False

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def obstacle(self) -> KubeError | None:
        """What keeps the copy from being up to date; None where nothing does, or nobody knows yet."""
        return self._error

    @property
    def has_synced(self) -> bool:
        """Whether the first complete list is in."""
        return self._synced.is_set()

    async def synced(self, budget: Budget | None = None) -> None:
        """Waits for the first complete list.

        Raises what stands in the way, ApiError or ClusterUnreachable: at once where the last attempt failed,
        after FIRST_WORD seconds where the cluster has not said a word, else when the budget is spent.
        """
        budget = budget or Budget(float("inf"))
        silence = Budget(FIRST_WORD)
        while not self._synced.is_set():
            if self._error is not None:
                raise self._error.with_traceback(None)  # else it would grow with each one who is told
            patience = budget if self.last_contact else silence
            if patience.expired or budget.expired:
                raise ClusterUnreachable(
                    self.client.name, f"the list of {self.resource.key} is not complete yet"
                )
            seconds = min(patience.left(), budget.left())
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds if seconds < float("inf") else None):
                    await self._news.wait()

    def get(self, namespace: str, name: str) -> Item[V] | None:
        """One object; None where there is none, or where we have not heard of it yet."""
        return self._view.get(namespace, name)

    def items(self, namespace: str | None = None) -> Sequence[Item[V]]:
        """Ordered by name, as the API server lists; a snapshot that does not change."""
        return self._view.items(namespace)

    def version(self, namespace: str) -> int:
        """Another number whenever anything in the namespace changed; 0 where nothing ever was."""
        return self._view.version(namespace)

    def size(self, namespace: str) -> int:
        """Bytes of all objects of the namespace."""
        return self._view.size(namespace)

    def learn(self, raw: bytes | msgspec.Raw) -> None:
        """Takes over the API server's answer to our own write, so that its user reads it back at once."""
        self._notify([self._view.learn(bytes(raw))])

    def forget(self, namespace: str, name: str, uid: str = "") -> None:
        """Takes over that an object is gone: a delete was answered with a `Status` or NotFound.

        Where it was answered with the object (a finalizer, a grace period), it is not gone: `learn` that.
        """
        self._notify([self._view.forget(namespace, name, uid)])

    def subscribe(self, callback: Callable[[Change[V]], None]) -> Callable[[], None]:
        """Calls back, synchronously, after every change; the function that is returned ends it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def _notify(self, changes: Iterable[Change[V] | None]) -> None:
        for change in changes:
            if change is None:
                continue
            for callback in tuple(self._subscribers):
                try:
                    callback(change)
                except Exception:  # a subscriber's fault must not end the copy for all others
                    self._log.exception("a subscriber failed")

    async def _run(self) -> None:
        outdated, failures = True, 0
        while True:
            told, started = self._told, time.monotonic()
            error: Exception | None = None
            try:
                if outdated:
                    await self._list()
                    outdated = False
                await self._watch()
            except Exception as e:  # whatever it is, a copy that silently ended would be worse
                if not isinstance(e, KubeError):
                    self._log.exception("this is not what a Kubernetes API sends")
                error = e
            fine = self._told > told or (error is None and time.monotonic() - started > 1)
            failures = 0 if fine else failures + 1
            if error is not None and _outdated(error):
                self._log.info("the watch cannot be resumed, listing again", why=str(error))
                outdated = True
            elif error is not None:
                failures = max(failures, 1)
                if self._error is None:
                    self._log.warning("not kept up to date", error=str(error))
                self.reachable = False
                self._error = error if isinstance(error, KubeError) else _nonsense(self.client.name, error)
                self._tell()
            await asyncio.sleep(pause(failures))

    async def _list(self) -> None:
        items: list[Item[V]] = []
        position = ""
        pages = self.client.pages(
            self.resource, self._namespace, labels=self._labels, page=self._page, type=msgspec.Raw
        )
        async with aclosing(pages):
            async for page in pages:
                position = position or page.metadata.resource_version
                items += [self._view.read(bytes(raw)) for raw in page.items]
                self._heard()
        self._notify(self._view.replace(int(position), items))
        self._synced.set()
        self._tell()

    async def _watch(self) -> None:
        events = self.client.watch(
            self.resource,
            self._namespace,
            resource_version=str(self._view.position),
            labels=self._labels,
            # Spread, or all watches of all replicas would be renewed in the same second for ever.
            seconds=random.randint(240, 480),  # noqa: S311
            idle=self._stall,
        )
        async with aclosing(events):
            async for batch in events:
                self._heard()
                for kind, raw in batch:
                    if kind == "BOOKMARK":
                        self._view.bookmark(bytes(raw))
                    else:
                        self._notify([self._view.event(kind, bytes(raw))])
                    self._told += 1

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _heard(self) -> None:
        self.last_contact = time.time()
        self.reachable = True
        self._error = None


def pause(failures: int) -> float:
    """Seconds before the next attempt: none at first, then doubling, and spread between the replicas."""
    if failures == 0:
        return 0.0
    return random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.05 * 2.0**failures)  # noqa: S311


def _nonsense(cluster: str, error: Exception) -> ClusterUnreachable:
    return ClusterUnreachable(cluster, f"this is not what a Kubernetes API sends: {error!r}")


def _outdated(error: Exception) -> bool:
    """Whether the watch can never be resumed at its point: too old, or of a time before a restored backup."""
    if isinstance(error, Gone):
        return True
    return isinstance(error, ApiError) and any(
        cause.get("reason") == "ResourceVersionTooLarge" for cause in error.causes
    )

"""What somebody edited or deleted by hand comes back, what jupyterhub-istio-proxy wrote becomes ours.

There is no database to compare with. The truth is in the objects, in three degrees: the routes in a carrier's
annotation, as long as their seal is whole; where it is broken, what we last saw while it was; and for an
object that is gone, what we last saw of it, unless it was marked as removed. Everything else (a carrier's
spec, heads, parts) is made from the routes, and compared.

Every replica repairs. They write the same, so the second one finds nothing to do.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.hubproxy.service import RouteService, key
from hubfleet.hubproxy.store import Carrier
from hubfleet.hubproxy.writing import Stale, Writer
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import KubeError, NotFound
from hubfleet.kube.informer import Informer
from hubfleet.kube.resources import Resource
from hubfleet.kube.view import Change, Item
from hubfleet.routing.istio import SUFFIX
from hubfleet.routing.route import PART_OF, SHAPE, Object, Route, covers
from hubfleet.routing.routespec import Routespec

log = structlog.get_logger(__name__)

SETTLING = 0.2
"""Seconds for the rest of a change, ours or another replica's, to be told before we look at it."""

REMOVAL = 5.0
"""Seconds after which an object that is marked as removed was left behind by whoever marked it."""

ABANDONED = 15.0
"""Seconds after which a successor's maker is dead: longer than any request to a cluster takes."""

ROUND = 300.0
"""Seconds between two looks at everything."""

ORPHANED = 60.0
"""Seconds that a part may be there before its route: it is written first."""

BUDGET = 10.0
"""Seconds for the repair of one object."""

PATIENCE = 60.0
"""Seconds between two repairs of one object at most: they double, or we would fight somebody for ever."""


class Repair:
    """Watches carriers, heads and parts, and puts right what is not. `async with`."""

    def __init__(
        self,
        service: RouteService,
        writer: Writer,
        client: Client,
        parts: Mapping[Resource, Informer[bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._service = service
        self._store = service.store
        self._backend = service.backend
        self._writer = writer
        self._client = client
        self._parts = parts
        self._parts_of: dict[str, set[tuple[Resource, str, str]]] = {}  # of a carrier: namespace and name
        self._clock = clock
        self._lost: dict[str, tuple[Route, ...]] = {}  # what carriers had when they were last seen whole
        self._due: dict[str, float] = {}  # names of carriers, and when to look at them
        self._again: dict[str, tuple[float, float]] = {}  # when each was repaired, and the pause after it
        self._waiting: dict[str, float] = {}  # uids of successors, and when we first saw them
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: list[Callable[[], None]] = []

    async def __aenter__(self) -> "Repair":
        self._ends.append(self._store.source.subscribe(self._changed))
        for resource, informer in self._parts.items():
            self._ends.append(informer.subscribe(partial(self._part_changed, resource)))
            informer.start()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._rounds())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self._ends:
            end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for informer in self._parts.values():
            await informer.stop()

    # What happened

    def _changed(self, change: Change[Carrier]) -> None:
        old, new = change.old, change.new
        item = new or old
        assert item is not None
        if new is None:
            if old is None or old.value.removed or not old.value.workload:
                return
            if old.value.intact and self._writer.marks:  # else nobody can tell whose deletion it was
                self._lost[old.name] = old.value.routes
        elif not new.value.workload and not new.value.inherited:
            return
        elif not new.value.intact and old is not None and old.value.intact:
            self._lost[new.name] = old.value.routes
        elif new.value.intact:
            self._lost.pop(new.name, None)
        if new is not None and self._writer.learning and not new.value.removed:
            return  # it is as we just made it
        self._look(item.name, REMOVAL if new is not None and new.value.removed else SETTLING)

    def _part_changed(self, resource: Resource, change: Change[bytes]) -> None:
        for item in (change.old, change.new):
            if item is not None and (carrier := item.labels.get(PART_OF)):
                known = self._parts_of.setdefault(carrier, set())
                known.discard((resource, item.namespace, item.name))
                if item is change.new:
                    known.add((resource, item.namespace, item.name))
                if not known:
                    del self._parts_of[carrier]
                self._look(carrier, SETTLING if item is change.old else ORPHANED)

    def _look(self, name: str, after: float) -> None:
        now = self._clock()
        last, pause = self._again.get(name, (0.0, 0.0))
        self._due[name] = max(now + after, last + pause)
        self._news.set()

    # What is done about it

    async def _work(self) -> None:
        while True:
            now = self._clock()
            due = [name for name, when in self._due.items() if when <= now]
            for name in due:
                del self._due[name]
                await self._carefully(name)
                await asyncio.sleep(0)  # there may be thousands, and the Hub's requests between them
            self._news.clear()
            left = min(self._due.values(), default=now + ROUND) - self._clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, left)):
                    await self._news.wait()

    async def _rounds(self) -> None:
        while True:
            try:
                await self._store.source.synced()
            except KubeError:
                await asyncio.sleep(1.0)
                continue
            for item in self._store.source.items(self._store.namespace):
                if item.value.workload or item.value.inherited:
                    self._look(item.name, 0.0)
            recent = self._clock() - 5 * PATIENCE
            self._again = {name: last for name, last in self._again.items() if last[0] > recent}
            for carrier in self._parts_of:
                self._look(carrier, ORPHANED)
            await asyncio.sleep(ROUND)

    async def _carefully(self, name: str) -> None:
        try:
            if await self._put_right(name):
                self._note(name)
        except (KubeError, UserError, Stale) as e:
            log.warning("a route's objects could not be put right yet", name=name, error=str(e))
            self._note(name)
            self._look(name, SETTLING)
        except Exception:  # one object's fault must not end the repair of all others
            log.exception("a route's objects could not be put right", name=name)
            self._note(name)

    def _note(self, name: str) -> None:
        now = self._clock()
        last, pause = self._again.get(name, (0.0, 0.0))
        quiet = now - last > 5 * PATIENCE
        self._again[name] = now, SETTLING if quiet or not pause else min(2 * pause, PATIENCE)

    async def _put_right(self, name: str) -> bool:
        """Whether anything had to be written."""
        budget = Budget(BUDGET)
        item = self._store.source.get(self._store.namespace, name)
        if item is None:
            return await self._bring_back(name, budget)
        carrier = item.value
        if self._store.is_successor(item):
            return await self._abandoned(item, budget)
        self._waiting.pop(item.uid, None)
        if carrier.inherited:
            return await self._take_over(item, budget)
        if not carrier.workload or carrier.shape > SHAPE:
            return False
        if carrier.removed:
            await self._writer.drop(item, budget)
            return True
        if carrier.workload == "route-head":
            return await self._heads(budget, item)
        routes = carrier.routes
        if not carrier.intact and name in self._lost:
            routes = self._lost[name]
            log.warning("somebody edited a route's annotation: it is as it was again", name=name)
        return await self._settle(routes, budget)

    async def _abandoned(self, item: Item[Carrier], budget: Budget) -> bool:
        """Takes away a successor whose maker died before it could delete what it was to replace."""
        now = self._clock()
        since = self._waiting.setdefault(item.uid, now)
        if now - since < ABANDONED:
            self._look(item.name, ABANDONED - (now - since))
            return False
        del self._waiting[item.uid]
        await self._writer.drop(item, budget)
        return True

    async def _bring_back(self, name: str, budget: Budget) -> bool:
        routes = self._lost.pop(name, None)
        if routes is None:
            await self._collect(name, budget)
            return False
        gone = self._service.gone
        missing = [r for r in routes if self._store.route(r.spec) is None and r.spec not in gone]
        if not routes:
            return await self._heads(budget)
        if not missing:
            return False
        log.warning("somebody deleted a route's object: it is there again", name=name)
        return await self._settle(missing, budget)

    async def _take_over(self, item: Item[Carrier], budget: Budget) -> bool:
        (route,) = item.value.routes
        newest = self._store.item(route.spec)
        if newest is not item:
            await self._writer.drop(item, budget)
            return True
        log.info("a route of jupyterhub-istio-proxy is taken over", path=route.spec.key, name=item.name)
        return await self._settle((route,), budget)

    async def _settle(self, routes: Sequence[Route], budget: Budget) -> bool:
        """Makes the objects of routes, all of one bucket, what they should be."""
        if not routes:
            return False
        bucket = self._backend.bucket(routes[0].spec)
        changes: dict[Routespec, Route | None] = {route.spec: route for route in routes}
        wrote = await self._service.change(bucket, changes, budget)
        for host in {route.spec.host for route in routes}:
            if self._backend.has_heads(host):
                wrote |= await self._service.put_heads(host, budget)
        for route in routes:
            for part in self._backend.parts(route):
                wrote |= await self._part(part, budget)
        await self._collect(bucket.name, budget)
        return wrote

    async def _heads(self, budget: Budget, item: Item[Carrier] | None = None) -> bool:
        """The heads of all hosts; `item` is one that may be of none."""
        wrote = False
        known = set()
        for host in self._store.hosts():
            if self._backend.has_heads(host):
                known |= {*self._backend.head_names(host)}
                wrote |= await self._service.put_heads(host, budget)
        if item is not None and item.name.removesuffix(SUFFIX) not in known:
            await self._writer.drop(item, budget)
            wrote = True
        return wrote

    async def _part(self, obj: Object, budget: Budget) -> bool:
        """A part that is gone or was changed: being of one route and one target, it has one right form."""
        informer = next((i for r, i in self._parts.items() if r.kind == obj["kind"]), None)
        if informer is None or not informer.has_synced:
            return False
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        item = informer.get(namespace, name)
        if item is not None and covers(msgspec.json.decode(item.raw), obj):
            return False
        if item is None:
            return await self._service.put_part(obj, budget) is not None
        resource = next(r for r in self._parts if r.kind == obj["kind"])
        informer.learn(await self._client.apply(resource, namespace, obj, type=msgspec.Raw, budget=budget))
        log.warning("somebody edited a part of a route: it is as it was again", kind=obj["kind"], name=name)
        return True

    async def _collect(self, bucket: str, budget: Budget) -> None:
        """Deletes the parts of a carrier that none of its routes leans on."""
        item = self._store.carrier(bucket)
        routes = () if item is None or item.value.removed else item.value.routes
        wanted = {key(part) for route in routes for part in self._backend.parts(route)}
        for resource, namespace, name in tuple(self._parts_of.get(bucket, ())):
            part = self._parts[resource].get(namespace, name)
            if part is None or (resource.kind, namespace, name) in wanted or _age(part.raw) < ORPHANED:
                continue
            with suppress(NotFound):
                await self._client.delete(resource, namespace, name, uid=part.uid, budget=budget)
            self._parts[resource].forget(namespace, name, part.uid)
            log.info("a part of no route is deleted", kind=resource.kind, name=name)


class _Born(msgspec.Struct, rename="camel"):
    creation_timestamp: datetime


class _Object(msgspec.Struct):
    metadata: _Born


def _age(raw: bytes) -> float:
    return time.time() - msgspec.json.decode(raw, type=_Object).metadata.creation_timestamp.timestamp()

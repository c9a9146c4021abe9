"""What happens when the Hub adds or removes a route: which objects are written, in which order.

Parts first, then the carrier, then the heads, so that nothing that the gateway reads refers to what is not
there yet; the other way round when a route goes. Each step can be repeated, and each of several replicas may
be the one who does it: whoever dies in between leaves what the next POST or the repair finishes.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.hubproxy.acknowledgement import Acknowledger
from hubfleet.hubproxy.store import Carrier, RouteStore
from hubfleet.hubproxy.writing import Stale, Writer
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists, ApiError, Forbidden, KubeError, NotFound
from hubfleet.kube.poller import Poller
from hubfleet.kube.resources import Resource
from hubfleet.kube.view import Item
from hubfleet.routing.backend import Backend, Bucket
from hubfleet.routing.route import Object, Route, covers
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.target import Target
from hubfleet.tenancy.marks import USER
from hubfleet.tenancy.naming import username_label

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 0.2
"""Seconds between two attempts to write what others are writing, too."""

REMEMBERED = 1024
"""Routes that the Hub removed and that are known as such: more than anybody deletes by hand meanwhile."""

DEFAULT = Routespec("/")
"""The route of every host and path."""

Changes = Mapping[Routespec, Route | None]
"""What is to become of some routes of one bucket; None: they go."""


class RouteService:
    """The routes of one Hub on one gateway.

    `required` refuses a route that the gateway does not serve in time; `seconds` is one operation's budget.
    """

    def __init__(
        self,
        backend: Backend,
        store: RouteStore,
        writer: Writer,
        client: Client,
        acknowledger: Acknowledger,
        *,
        required: bool,
        seconds: float,
    ):
        self.backend = backend
        self.store = store
        self._writer = writer
        self._client = client
        self._acknowledger = acknowledger
        self._required = required
        self._seconds = seconds
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._resources = {(r.api_version, r.kind): r for r in (backend.kind, *backend.part_kinds)}
        # Removed by the Hub: not brought back, whoever deleted the object.
        self.gone: dict[Routespec, None] = {}
        self._fine: dict[str, object] = {}  # by host: what was seen when its heads were right
        self._refused: set[str] = set()  # kinds of parts that we may not write: said once

    async def routes(self) -> dict[str, Route]:
        """Every route by its key; raises KubeError where nothing was read yet."""
        await self._ready(Budget(self._seconds))
        return self.store.all()

    async def route(self, spec: Routespec) -> Route | None:
        await self._ready(Budget(self._seconds))
        return self.store.route(spec)

    async def add(self, spec: Routespec, target: Target, url: str, data: dict[str, Any]) -> None:
        """Makes or changes a route, and returns when the gateway serves it.

        Raises UserError (400: this gateway cannot; 503: it does not serve it in time) and KubeError.
        """
        budget = Budget(self._seconds)
        route = Route(spec, target, url, data)
        await self._ready(budget)
        self.gone.pop(spec, None)
        if await self.change(self.backend.bucket(spec), {spec: route}, budget):
            log.info("route added", path=spec.key, target=url)
        if await self._acknowledger.served(route, budget):
            return
        log.warning("the gateway does not serve the route yet", path=spec.key, target=url)
        if self._required:
            raise UserError(
                503, f"The gateway does not serve {spec.key} yet: try again in a moment", retry_after=1.0
            )

    async def remove(self, spec: Routespec) -> bool:
        """Whether there was such a route; it is gone when this returns."""
        budget = Budget(self._seconds)
        await self._ready(budget)
        self.gone[spec] = None
        if len(self.gone) > REMEMBERED:
            del self.gone[next(iter(self.gone))]
        if self.store.route(spec) is None:
            return False
        removed = await self.change(self.backend.bucket(spec), {spec: None}, budget)
        if removed:
            log.info("route removed", path=spec.key)
        return removed

    async def _ready(self, budget: Budget) -> None:
        source = self.store.source
        await source.synced(budget)
        if isinstance(source, Poller):
            await source.refresh(budget)

    # What the repair uses, too

    async def change(self, bucket: Bucket, changes: Changes, budget: Budget) -> bool:
        """Brings routes of a bucket to what they should be; whether anything had to be written."""
        async with self._turn(bucket.name):
            return await self._change(bucket, changes, budget)

    async def _change(self, bucket: Bucket, changes: Changes, budget: Budget) -> bool:
        held = self._held(bucket)
        before = {spec: held.get(spec) for spec in changes}
        parts = await self._put_parts([route for route in changes.values() if route], before, budget)
        try:
            wrote = await self._put_carrier(bucket, changes, budget)
        except (ApiError, UserError):
            await self._undo(parts)  # not where nobody answered: the carrier may have been written
            raise
        for spec in changes:
            for item in self.store.inherited(spec):
                with suppress(Stale):  # jupyterhub-istio-proxy still runs: the repair looks at it again
                    await self._writer.drop(item, budget)
                wrote = True
        if wrote:
            if bool(held) != bool(self._held(bucket)) or DEFAULT in changes:
                await self._heads_after(changes, before, budget)
            await self._remove_parts(changes, before, budget)
        return wrote

    def _held(self, bucket: Bucket) -> dict[Routespec, Route]:
        item = self.store.carrier(bucket.name)
        return {} if item is None or item.value.removed else {r.spec: r for r in item.value.routes}

    async def _put_carrier(self, bucket: Bucket, changes: Changes, budget: Budget) -> bool:
        for pause in pauses(budget):
            item = self.store.carrier(bucket.name)
            held = self._held(bucket)
            wanted = {spec: route for spec, route in {**held, **changes}.items() if route is not None}
            try:
                if wanted:
                    obj = self._made(bucket.name, list(wanted.values()))
                    if item is not None and wanted == held and self.is_intact(item, obj):
                        return False
                    await self._writer.put(obj, item, budget)
                elif item is not None and not item.value.removed:
                    await self._emptied(bucket, item, list(held.values()), changes, budget)
                else:
                    return False
                return True
            except Stale:
                await asyncio.sleep(pause)
        raise UserError(503, "The routes are being changed by too many at once", retry_after=1.0)

    async def _emptied(
        self, bucket: Bucket, item: Item[Carrier], routes: Sequence[Route], changes: Changes, budget: Budget
    ) -> None:
        # The head lets go first, so that it never refers to what is not there.
        host = next(iter(changes)).host
        if self.backend.has_heads(host):
            await self.put_heads(host, budget, without=bucket.name)
        if routes:
            await self._writer.remove(self._made(bucket.name, routes), item, budget)
        else:
            await self._writer.drop(item, budget)

    def is_intact(self, item: Item[Carrier], obj: Object) -> bool:
        """Whether an object is as we would write it; one of a newer hubfleet's is."""
        return item.value.intact and item.value.has(covers, obj["spec"]) and not item.value.removed

    def _made(self, bucket: str, routes: Sequence[Route]) -> Object:
        try:
            obj = self.backend.carrier(bucket, routes)
        except ValueError as e:
            raise UserError(400, f"Must specify 'target' as string: {e}") from e
        user = None if self.backend.shared else routes[0].data.get("user")
        if isinstance(user, str) and user:
            obj["metadata"]["labels"] |= {USER: username_label(user)}
        return obj

    # Heads

    async def _heads_after(self, changes: Changes, before: Changes, budget: Budget) -> None:
        """The heads of the hosts whose routes changed; of all hosts, where the default route did."""
        hosts = {spec.host for spec in changes}
        if DEFAULT in changes and before[DEFAULT] != changes[DEFAULT]:
            hosts |= set(self.store.hosts())
        for host in sorted(hosts):
            if self.backend.has_heads(host):
                await self.put_heads(host, budget)

    def heads(self, host: str, *, without: str = "") -> dict[str, Object]:
        """What the heads of a host should be, by name, once the bucket `without` is gone."""
        buckets = [bucket for bucket in self.store.buckets(host) if bucket.name != without]
        default = self.store.route(DEFAULT)
        if default is not None and self.backend.bucket(DEFAULT).name == without:
            default = None
        return {o["metadata"]["name"]: o for o in self.backend.heads(host, buckets, default)}

    def _seen(self, host: str) -> object:
        """What the heads of a host depend on, and what is there of them."""
        names = self.backend.head_names(host)
        there = [None if item is None else item.raw for item in map(self.store.carrier, names)]
        return self.store.buckets(host), self.store.route(DEFAULT), there

    async def put_heads(self, host: str, budget: Budget, *, without: str = "") -> bool:
        """Writes the heads of a host that are not what they should be, and deletes what should not be.

        Returns whether there was anything to do.
        """
        if not without and self._fine.get(host) == self._seen(host):
            return False
        wrote = False
        async with self._turn(f"head of {host}"):
            for pause in pauses(budget):
                # Anew each time: while we waited for our turn there were others, with buckets of their own.
                wanted = self.heads(host, without=without)
                try:
                    for name in self.backend.head_names(host):
                        held = self.store.carrier(name)
                        obj = wanted.get(name)
                        if obj is not None and (held is None or not self.is_intact(held, obj)):
                            await self._writer.put(obj, held, budget)
                            wrote = True
                        elif obj is None and held is not None:
                            await self._writer.drop(held, budget)
                            wrote = True
                    self._fine[host] = None if without else self._seen(host)
                    return wrote
                except Stale:
                    # Another replica wrote it, for a bucket that we may not have heard of.
                    await asyncio.sleep(pause)
                    await self._relist(budget)
        raise UserError(503, "The routes are being changed by too many at once", retry_after=1.0)

    async def _relist(self, budget: Budget) -> None:
        source = self.store.source
        if isinstance(source, Poller):
            await source.refresh(budget, fresh=0.0)
            return
        async for raw in self._client.list(
            self.backend.kind,
            self.store.namespace,
            labels=self.backend.naming.selector,
            type=msgspec.Raw,
            budget=budget,
        ):
            source.learn(bytes(raw))

    # Parts

    async def _put_parts(
        self, routes: Sequence[Route], before: Changes, budget: Budget
    ) -> list[tuple[Resource, Object]]:
        """Makes what is missing of the parts of routes; returns what it made."""
        new = [route for route in routes if before.get(route.spec) != route]
        parts = [obj for route in new for obj in self._parts(route)]
        results = await asyncio.gather(*(self.put_part(obj, budget) for obj in parts), return_exceptions=True)
        made = [(r, obj) for r, obj in zip(results, parts, strict=True) if isinstance(r, Resource)]
        if failures := [result for result in results if isinstance(result, BaseException)]:
            await self._undo(made)
            raise failures[0]
        return made

    def _parts(self, route: Route) -> list[Object]:
        try:
            return self.backend.parts(route)
        except ValueError as e:
            raise UserError(400, f"Must specify 'target' as string: {e}") from e

    async def put_part(self, obj: Object, budget: Budget) -> Resource | None:
        """The part's kind, where it had to be made."""
        resource = self._resources[obj["apiVersion"], obj["kind"]]
        try:
            await self._client.create(resource, obj["metadata"]["namespace"], obj, budget=budget)
        except AlreadyExists:
            return None
        except (Forbidden, NotFound) as e:
            if obj["metadata"]["namespace"] == self.store.namespace:
                raise
            # In a namespace of others the operator may have granted it by other means.
            if resource.key not in self._refused:
                self._refused.add(resource.key)
                log.warning("cannot write what a route to another namespace needs", error=str(e))
            return None
        return resource

    async def _undo(self, parts: Sequence[tuple[Resource, Object]]) -> None:
        for resource, obj in parts:
            try:
                await self._client.delete(
                    resource, obj["metadata"]["namespace"], obj["metadata"]["name"], budget=Budget(2.0)
                )
            except KubeError as e:
                log.warning("a part of a route is left behind until the next repair", error=str(e))

    async def _remove_parts(self, changes: Changes, before: Changes, budget: Budget) -> None:
        for spec, route in changes.items():
            old = before[spec]
            if old is None:
                continue
            keep = {key(obj) for obj in self.backend.parts(route)} if route else set()
            for obj in self.backend.parts(old):
                if key(obj) in keep:
                    continue
                resource = self._resources[obj["apiVersion"], obj["kind"]]
                try:
                    await self._client.delete(
                        resource, obj["metadata"]["namespace"], obj["metadata"]["name"], budget=budget
                    )
                except NotFound:
                    pass
                except KubeError as e:
                    # The route itself is as it should be; what is left over is collected.
                    log.warning("a part of a route is left behind until the next repair", error=str(e))

    # Turns

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncGenerator[None]:
        """One at a time for each name in this process: for nothing but fewer conflicts."""
        lock, users = self._turns.get(name, (asyncio.Lock(), 0))
        self._turns[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._turns[name]
            if users > 1:
                self._turns[name] = lock, users - 1
            else:
                del self._turns[name]


def pauses(budget: Budget) -> Iterator[float]:
    """One for each attempt, until the budget is spent; spread, or those who met would meet again."""
    longest = 0.005
    while not budget.expired:
        yield random.uniform(0.0, longest)  # noqa: S311
        longest = min(2 * longest, LONGEST_PAUSE)


def key(obj: Object) -> tuple[str, str, str]:
    """What tells objects apart."""
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]

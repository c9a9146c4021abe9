"""The routes that are in force, read from the objects that carry them: there is no other truth.

An index over an informer's copy, kept up to date by its changes. For a moment a route may be in two objects:
a carrier and its successor, of which the older one counts, or ours and one of jupyterhub-istio-proxy's, of
which the newer one does.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import msgspec

from hubfleet.kube.informer import Informer
from hubfleet.kube.view import Change, Item
from hubfleet.routing import istio
from hubfleet.routing.backend import Bucket
from hubfleet.routing.istio import SUFFIX
from hubfleet.routing.route import HUB, REMOVED, ROUTES, SEAL, WORKLOAD, Carried, Route, seal, shape_of
from hubfleet.routing.routespec import Routespec, check
from hubfleet.routing.target import Target

TargetOf = Callable[[str], Target]
"""Reads the URL of a target; raises ValueError."""


class _Metadata(msgspec.Struct, frozen=True):
    creationTimestamp: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: msgspec.Raw = msgspec.Raw(b"{}")


class Carrier(msgspec.Struct, frozen=True):
    """What we read from an object. `workload` is "" where it is not ours.

    `intact`: the routes are as hubfleet wrote them; `removed`: the Hub took all of them away; `inherited`: of
    jupyterhub-istio-proxy; `shape` is the version of the form that hubfleet gave it, `born` when it was made.
    """

    workload: str
    routes: tuple[Route, ...]
    intact: bool
    removed: bool
    inherited: bool
    shape: int
    born: str
    spec: msgspec.Raw
    status: msgspec.Raw

    def has(self, ours: Callable[[Any, Any], bool], spec: Any) -> bool:
        return ours(msgspec.json.decode(self.spec), spec)


_decoder = msgspec.json.Decoder(_Object)
_routes = msgspec.json.Decoder(list[Carried])


def reader(hub: str, target_of: TargetOf, inherit_prefix: str = "") -> Callable[[bytes], Carrier]:
    """What decodes an object for the informer."""

    def route(carried: Carried) -> Route:
        check(carried.path)
        return Route(
            Routespec(carried.path, carried.host), target_of(carried.target), carried.target, carried.data
        )

    def read(raw: bytes) -> Carrier:
        obj = _decoder.decode(raw)
        labels, annotations = obj.metadata.labels or {}, obj.metadata.annotations or {}
        if labels.get(HUB) == hub and WORKLOAD in labels:
            text, sign = annotations.get(ROUTES, ""), annotations.get(SEAL, "")
            try:
                routes = tuple(route(carried) for carried in _routes.decode(text))
            except (ValueError, msgspec.MsgspecError):
                routes = ()
            intact = sign.partition(".")[2] == seal(text).partition(".")[2]
            removed = REMOVED in annotations
            return Carrier(
                labels[WORKLOAD],
                routes,
                intact,
                removed,
                False,
                shape_of(sign),
                obj.metadata.creationTimestamp,
                obj.spec,
                obj.status,
            )
        routes = ()
        inherited = istio.inherited(annotations, inherit_prefix) if inherit_prefix else None
        if inherited is not None:
            path, url, data = inherited
            try:
                routes = (route(Carried(path, url, data)),)
            except ValueError:
                inherited = None  # it leads nowhere that we could lead to: it stays as it is
        born = obj.metadata.creationTimestamp
        return Carrier("", routes, True, False, inherited is not None, 0, born, obj.spec, obj.status)

    return read


class RouteStore:
    """`source` is the copy of all objects of the carriers' kind that may be of interest."""

    def __init__(self, source: Informer[Carrier], namespace: str):
        self.source = source
        self.namespace = namespace
        self._claims: dict[Routespec, list[tuple[Item[Carrier], Route]]] = {}  # all objects that have it
        self._routes: dict[str, Route] = {}  # by key, the claim that counts
        self._encoded: dict[str, bytes] = {}  # the same, as members of a JSON object
        self._by_host: dict[str, set[Routespec]] = {}
        self._carriers: dict[str, dict[str, int]] = {}  # by host: their names, and their routes' depth
        self._news = asyncio.Event()
        source.subscribe(self._changed)

    def route(self, spec: Routespec) -> Route | None:
        """The route of this very spec."""
        return self._routes.get(spec.key)

    def all(self) -> dict[str, Route]:
        """Every route, by its key in CHP's API: not a copy."""
        return self._routes

    def encoded(self) -> bytes:
        """`all` as CHP's API tells of it, in JSON: put together from what was encoded when it changed."""
        return b"{" + b",".join(self._encoded.values()) + b"}"

    def item(self, spec: Routespec) -> Item[Carrier] | None:
        """The object that carries it."""
        claims = self._claims.get(spec)
        return None if claims is None else self._best(claims)[0]

    def inherited(self, spec: Routespec) -> list[Item[Carrier]]:
        """The objects of jupyterhub-istio-proxy for it."""
        return [item for item, _ in self._claims.get(spec, ()) if item.value.inherited]

    def carrier(self, name: str) -> Item[Carrier] | None:
        """The object that goes by a name of ours; of it and its successor the older one.

        A successor counts once it is alone: see hubproxy.writing.
        """
        one, other = (self.source.get(self.namespace, n) for n in (name, name + SUFFIX))
        if one is None or other is None:
            return one or other
        return min(one, other, key=_age)

    def is_successor(self, item: Item[Carrier]) -> bool:
        """Whether the object that it is to replace is still there."""
        return bool(item.value.workload) and self.carrier(item.name.removesuffix(SUFFIX)) is not item

    async def changed(self, seconds: float) -> None:
        """Waits for any change, and at most that long."""
        news = self._news
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()

    def hosts(self) -> Collection[str]:
        """Those that some route has; "" where one has none."""
        return list(self._by_host)

    def buckets(self, host: str) -> list[Bucket]:
        """Where the routes of a host are, in order."""
        carriers = self._carriers.get(host, {})
        return sorted({Bucket(depth, name.removesuffix(SUFFIX)) for name, depth in carriers.items()})

    def _best(self, claims: list[tuple[Item[Carrier], Route]]) -> tuple[Item[Carrier], Route]:
        if len(claims) == 1:
            return claims[0]
        counting = [claim for claim in claims if not self.is_successor(claim[0])] or claims
        return max(counting, key=lambda claim: claim[0].resource_version)

    def _changed(self, change: Change[Carrier]) -> None:
        touched: set[Routespec] = set()
        old, new = change.old, change.new
        if old is not None and not old.value.removed:
            for route in old.value.routes:
                claims = self._claims.get(route.spec, [])
                claims[:] = [claim for claim in claims if claim[0] is not old]
                touched.add(route.spec)
        if new is not None and not new.value.removed:
            for route in new.value.routes:
                self._claims.setdefault(route.spec, []).append((new, route))
                touched.add(route.spec)
        self._count(old, new)
        for spec in touched:
            if left := self._claims.get(spec):
                route = self._best(left)[1]
                if self._routes.get(spec.key) != route:
                    self._routes[spec.key] = route
                    self._encoded[spec.key] = _member(spec.key, route)
                    self._by_host.setdefault(spec.host, set()).add(spec)
            else:
                self._claims.pop(spec, None)
                self._routes.pop(spec.key, None)
                self._encoded.pop(spec.key, None)
                of_host = self._by_host.get(spec.host, set())
                of_host.discard(spec)
                if not of_host:
                    self._by_host.pop(spec.host, None)
        self._news.set()
        self._news = asyncio.Event()

    def _count(self, old: Item[Carrier] | None, new: Item[Carrier] | None) -> None:
        if old is not None and old.value.routes:
            host = old.value.routes[0].spec.host
            of_host = self._carriers.get(host, {})
            of_host.pop(old.name, None)
            if not of_host:
                self._carriers.pop(host, None)
        if new is not None and new.value.workload and new.value.routes and not new.value.removed:
            spec = new.value.routes[0].spec
            self._carriers.setdefault(spec.host, {})[new.name] = spec.depth


def _member(key: str, route: Route) -> bytes:
    return msgspec.json.encode(key) + b":" + msgspec.json.encode(route.answer())


def _age(item: Item[Carrier]) -> tuple[str, int]:
    return item.value.born, item.resource_version

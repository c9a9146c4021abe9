"""The routes that are in force, read from the objects that carry them: there is no other truth.

An index over an informer's copy, kept up to date by its changes. For a moment a route may be in two objects:
a carrier and its successor, or ours and one of jupyterhub-istio-proxy's. The newest wins.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
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
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: msgspec.Raw = msgspec.Raw(b"{}")


class Carrier(msgspec.Struct, frozen=True):
    """What we read from an object. `workload` is "" where it is not ours.

    `intact`: the routes are as hubfleet wrote them; `removed`: the Hub took all of them away; `inherited`: of
    jupyterhub-istio-proxy; `shape` is the version of the form that hubfleet gave it.
    """

    workload: str
    routes: tuple[Route, ...]
    intact: bool
    removed: bool
    inherited: bool
    shape: int
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
                labels[WORKLOAD], routes, intact, removed, False, shape_of(sign), obj.spec, obj.status
            )
        routes = ()
        inherited = istio.inherited(annotations, inherit_prefix) if inherit_prefix else None
        if inherited is not None:
            path, url, data = inherited
            try:
                routes = (route(Carried(path, url, data)),)
            except ValueError:
                inherited = None  # it leads nowhere that we could lead to: it stays as it is
        return Carrier("", routes, True, False, inherited is not None, 0, obj.spec, obj.status)

    return read


class RouteStore:
    """`source` is the copy of all objects of the carriers' kind that may be of interest."""

    def __init__(self, source: Informer[Carrier], namespace: str):
        self.source = source
        self.namespace = namespace
        self._by_spec: dict[Routespec, list[Item[Carrier]]] = {}
        self._by_host: dict[str, set[Routespec]] = {}
        self._news = asyncio.Event()
        self._page: tuple[int, dict[str, Route]] | None = None
        self._end = source.subscribe(self._changed)

    def route(self, spec: Routespec) -> Route | None:
        """The route of this very spec."""
        item = self.item(spec)
        return None if item is None else _route_in(item, spec)

    def item(self, spec: Routespec) -> Item[Carrier] | None:
        """The object that carries it."""
        return max(self._by_spec.get(spec, ()), key=lambda item: item.resource_version, default=None)

    def inherited(self, spec: Routespec) -> list[Item[Carrier]]:
        """The objects of jupyterhub-istio-proxy for it."""
        return [item for item in self._by_spec.get(spec, ()) if item.value.inherited]

    def carrier(self, name: str) -> Item[Carrier] | None:
        """The object that goes by a name of ours, or its successor."""
        names = (name, name + SUFFIX)
        found = [item for n in names if (item := self.source.get(self.namespace, n)) is not None]
        return max(found, key=lambda item: item.resource_version, default=None)

    def all(self) -> dict[str, Route]:
        """Every route, by its key in CHP's API; the same object until something changes."""
        version = self.source.version(self.namespace)
        if self._page is None or self._page[0] != version:
            found = {spec.key: route for spec in self._by_spec if (route := self.route(spec)) is not None}
            self._page = version, found
        return self._page[1]

    async def changed(self, seconds: float) -> None:
        """Waits for any change, and at most that long."""
        news = self._news
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()

    def hosts(self) -> Collection[str]:
        """Those that some route has; "" where one has none."""
        return list(self._by_host)

    def buckets(self, host: str, bucket_of: Callable[[Routespec], Bucket]) -> list[Bucket]:
        """Where the routes of a host are, in order."""
        return sorted(
            {
                bucket_of(spec)
                for spec in self._by_host.get(host, ())
                if any(not item.value.inherited for item in self._by_spec[spec])
            }
        )

    def __len__(self) -> int:
        return len(self._by_spec)

    def _changed(self, change: Change[Carrier]) -> None:
        self._news.set()
        self._news = asyncio.Event()
        if change.old is not None:
            for spec in _specs(change.old):
                items = self._by_spec[spec]
                items[:] = [item for item in items if item is not change.old]
                if not items:
                    del self._by_spec[spec]
                    self._by_host[spec.host].discard(spec)
                    if not self._by_host[spec.host]:
                        del self._by_host[spec.host]
        if change.new is not None:
            for spec in _specs(change.new):
                self._by_spec.setdefault(spec, []).append(change.new)
                self._by_host.setdefault(spec.host, set()).add(spec)


def _specs(item: Item[Carrier]) -> Iterable[Routespec]:
    return () if item.value.removed else {route.spec for route in item.value.routes}


def _route_in(item: Item[Carrier], spec: Routespec) -> Route | None:
    return next((route for route in item.value.routes if route.spec == spec), None)

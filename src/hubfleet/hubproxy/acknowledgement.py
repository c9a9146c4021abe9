"""Whether the gateway serves a route: a Hub that is told so too early sends its user to a 404.

Two ways to know. A request through the gateway comes back with the route's identity, where the gateway can
set a header: that is the truth itself. Or the gateway's controller says in the object's status that it took
it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from hubfleet.hubproxy.store import Carrier
from hubfleet.kube.budget import Budget
from hubfleet.kube.view import Item
from hubfleet.routing.route import IDENTITY_HEADER, Route

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
"""Seconds between two requests for one route: Envoy takes a change over in a tenth of a second or so."""

SILENCE = 2.0
"""Seconds without any condition after which there is no controller that would set one."""

GATEWAYS_OWN = frozenset({404, 502, 503, 504})
"""What a gateway answers of its own accord for a route that it does not serve, or whose server is not up."""


class Acknowledger(Protocol):
    async def served(self, route: Route, budget: Budget) -> bool:
        """Waits until the gateway serves the route, and at most as long as the budget lasts."""

    async def __aenter__(self) -> "Acknowledger": ...

    async def __aexit__(self, *_: object) -> None: ...


class Trust:
    """Believes it: there is nobody to ask."""

    async def served(self, route: Route, budget: Budget) -> bool:
        return True

    async def __aenter__(self) -> "Trust":
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Probe:
    """Asks the gateway at `address` for the route's own path, in the name of its host.

    `identifies`: answers carry the identity; else any that is not a gateway's own has to do.
    """

    def __init__(self, address: str, *, hostname: str = "", identifies: bool = True):
        self._address = address.rstrip("/")
        self._hostname = hostname
        self._identifies = identifies
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Probe":
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=64, force_close=True)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def served(self, route: Route, budget: Budget) -> bool:
        pause = FIRST_PAUSE
        while True:
            if await self._once(route, budget):
                return True
            if budget.left() <= pause:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(self, route: Route, budget: Budget) -> bool:
        assert self._session is not None, "the probe is not open"
        path = route.spec.spellings()[0].rstrip("/")
        host = route.spec.host or self._hostname
        try:
            async with self._session.get(
                URL(f"{self._address}{path}/", encoded=True),
                headers={"Host": host} if host else {},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=max(0.05, budget.left())),
            ) as response:
                if self._identifies:
                    return response.headers.get(IDENTITY_HEADER) == route.identity
                return response.status not in GATEWAYS_OWN
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


class _Condition(msgspec.Struct, rename="camel", frozen=True):
    type: str = ""
    status: str = ""
    observed_generation: int = 0


class _Parent(msgspec.Struct, frozen=True):
    conditions: list[_Condition] = []


class _Status(msgspec.Struct, frozen=True):
    parents: list[_Parent] = []


class _Meta(msgspec.Struct, frozen=True):
    generation: int = 0


class _Generation(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


_status = msgspec.json.Decoder(_Status)
_generation = msgspec.json.Decoder(_Generation)

REQUIRED = ("Accepted", "ResolvedRefs")


def conditions(item: Item[Carrier]) -> bool | None:
    """Whether the controllers took the object as it is now; None where none of them ever said anything."""
    parents = _status.decode(item.value.status).parents
    if not parents:
        return None
    generation = _generation.decode(item.raw).metadata.generation
    for parent in parents:
        known = {c.type: c for c in parent.conditions}
        for name in REQUIRED:
            condition = known.get(name)
            if condition is None or condition.observed_generation < generation or condition.status != "True":
                return False
        programmed = known.get("Programmed")
        if programmed is not None and programmed.status != "True":
            return False
    return True


class Conditions:
    """Waits for the status of the route's object; `item_of` is the store's, `changed` waits for a change."""

    def __init__(
        self,
        item_of: Callable[[Any], Item[Carrier] | None],
        changed: Callable[[float], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._item_of = item_of
        self._changed = changed
        self._clock = clock
        self._nobody_speaks = False  # no controller ever set a condition: none is waited for

    async def __aenter__(self) -> "Conditions":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def served(self, route: Route, budget: Budget) -> bool:
        begun = self._clock()
        while True:
            item = self._item_of(route.spec)
            verdict = None if item is None else conditions(item)
            if verdict is not None:
                self._nobody_speaks = False
            if verdict:
                return True
            if verdict is None and (self._nobody_speaks or self._clock() - begun >= SILENCE):
                self._nobody_speaks = True
                return False
            if budget.expired:
                return False
            await self._changed(min(budget.left(), 0.25))

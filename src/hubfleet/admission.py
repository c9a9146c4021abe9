"""Lets requests in: each user's at a rate, so many at once, the rest in line; what is too much gets a 429.

All requests share one event loop, so what one user has under way is what the others wait for. A user has at
most `limits.concurrent_requests` under way here, however many they send; the rest waits in a line of its own,
without cost to anybody else. Whose token we know is known before anything else is done with a request, so a
flood is turned away in microseconds, and each refusal is held back for a second: a client that sends the
next request when it has the answer to the last one cannot send faster than that.

Requests of whom nobody is known yet count for the address that they come from, and from the moment when the
Hub has said whose they are for that user. Those without any token, which cost nothing to send, have rates and
turns of their own, so that they keep out nobody who comes with a token for the first time.

A large body has two turns, one after the other: one of many while it arrives, which takes as long as its
sender likes, and one of few while it is worked on, which does not.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from hubfleet.errors import UserError
from hubfleet.following import Following
from hubfleet.gates import PATIENCE, Gate, Owner, Rates, Refused
from hubfleet.identity.header import token_in
from hubfleet.limits import Turns
from hubfleet.metrics import Metrics
from hubfleet.requests import QUIET
from hubfleet.settings import LimitSettings

REFUSAL_SECONDS = 1.0
"""How long a refusal is held back."""

HELD_REFUSALS = 1000
"""Refusals held back at once, some 10 KiB each; further ones go out immediately."""

LARGE = 256 * 1024
"""Bytes from which a body counts as large: several times its size is in memory until it is in the cluster.

An answer counts as one more request for each so many of its bytes: long lists are copied twice."""

LOG_CHUNK = 4096
"""Bytes of a log that count as one line, for what a line costs hardly depends on its length up to there."""

BODY_GRACE = 5.0
"""Seconds before it counts how fast a body arrives."""

_VISIT = "hubfleet.visit"

OwnerOf = Callable[[str], Owner | None]
"""Whose a token is, as far as we remember; it asks nobody."""


class Admission:
    """Wraps the application. `owner_of` says at once whose a token is, if we know."""

    def __init__(
        self,
        app: ASGIApp,
        settings: LimitSettings,
        owner_of: OwnerOf,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        refusal_seconds: float = REFUSAL_SECONDS,
    ):
        self._app = app
        self._owner_of = owner_of
        self._metrics = metrics
        self._refusal_seconds = refusal_seconds
        self._refusals = 0
        self.settings = settings
        waiting = settings.waiting_requests
        # Apart, so that addresses, of which anybody may have many, push out nobody who is known.
        self._rates = {
            kind: Rates(settings.requests_per_second, settings.request_burst, clock)
            for kind in ("known", "address", "nobody")
        }
        self.submission_rates = Rates(settings.submissions_per_second, settings.submission_burst, clock)
        self.body_rates = Rates(settings.body_bytes_per_second, settings.body_burst, clock)
        self.log_rates = Rates(settings.log_lines_per_second, settings.log_line_burst, clock)
        self.requests = Gate(each=settings.concurrent_requests, waiting=waiting)
        self.submissions = Gate(each=settings.concurrent_submissions, waiting=waiting)
        self.arriving = Gate(each=1, waiting=waiting, in_all=settings.arriving_bodies)
        self.large = Gate(each=1, waiting=waiting, in_all=settings.large_bodies)
        self.followers = Turns[Owner, Following](
            each=settings.followed_logs_per_user,
            waiting=settings.followed_logs_per_user,  # one for each log, however many pods it has
            in_all=settings.followed_logs,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Probes are asked by machines that restart us, or page somebody, when there is no answer.
        if scope["type"] != ScopeType.HTTP or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        address = address_of(scope, self.settings.trusted_proxies)
        visit = Visit(self, self._owner(scope, address), address)
        try:
            await visit.enter()
        except Refused as e:
            visit.leave()
            await self._refuse(e, send)
            return
        scope.setdefault("state", {})[_VISIT] = visit
        try:
            await self._app(scope, receive, send)
        finally:
            visit.leave()

    def count(self, limit: str) -> None:
        self._metrics.refused.labels(limit).inc()

    def rates_of(self, owner: Owner) -> Rates:
        """The rates of requests for owners like this one."""
        return self._rates.get(owner[0], self._rates["known"])

    def _owner(self, scope: HTTPScope, address: str) -> Owner:
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = token_in(value.decode("latin-1"))
                if token:
                    return self._owner_of(token) or ("address", address)
                break
        return "nobody", address

    async def _refuse(self, refused: Refused, send: Send) -> None:
        if self._refusals < HELD_REFUSALS:
            self._refusals += 1
            try:
                await asyncio.sleep(self._refusal_seconds)
            finally:
                self._refusals -= 1
        body = msgspec.json.encode({"detail": refused.detail})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % math.ceil(refused.retry_after or 1.0)),
        ]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Visit:
    """One request's way in, and what it holds until its end."""

    __slots__ = ("_admission", "_following", "_held", "_inside", "address", "owner")

    def __init__(self, admission: Admission, owner: Owner, address: str):
        self._admission = admission
        self.owner = owner
        self.address = address
        self._held: list[Gate] = []  # of a submission
        self._inside = False
        self._following: Following | None = None

    async def enter(self) -> None:
        """Waits for the rate, then for a turn. Raises Refused."""
        settings = self._admission.settings
        await self._rate(self._admission.rates_of(self.owner), "requests_per_second", "request_burst")
        if not await self._admission.requests.enter(self.owner):
            raise self._refused(
                "concurrent_requests",
                f"{settings.concurrent_requests} requests under way at once is the limit of {self._who()}, "
                "and those before this one take too long",
                PATIENCE,
            )
        self._inside = True

    async def identify(self, owner: Owner) -> None:
        """The Hub says whose request it is: from here on it counts for them. Raises Refused."""
        if owner == self.owner:
            return
        if self._following is not None:
            raise UserError(401, "the token has become another user's")
        self.leave()
        self.owner = owner
        await self.enter()

    @asynccontextmanager
    async def submitting(self, length: int | None) -> AsyncIterator[None]:
        """While a submission is received and made. `length` of its body in bytes, None where it is not said.

        Inside of it come `receiving` and `received`. Raises Refused.
        """
        admission = self._admission
        await self._rate(admission.submission_rates, "submissions_per_second", "submission_burst")
        try:
            await self._hold(admission.submissions, "concurrent_submissions")
            await self._rate(admission.body_rates, "body_bytes_per_second", "body_burst", amount=0.0)
            if length is None or length > LARGE:
                await self._hold(admission.arriving, "arriving_bodies")
            yield
        finally:
            for gate in self._held:
                gate.leave(self.owner)
            self._held.clear()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Callable[[int], None]]:
        """While a body is received; tell what it gives how many bytes have come.

        A sender who is slow on purpose holds what others wait for. Raises UserError 408.
        """
        settings = self._admission.settings
        now = asyncio.get_running_loop().time
        begun, arrived = now(), 0

        def progress(size: int) -> None:
            nonlocal arrived
            arrived = size
            timeout.reschedule(begun + min(settings.body_seconds, BODY_GRACE + size / settings.slowest_body))

        timeout = asyncio.timeout(min(settings.body_seconds, BODY_GRACE))
        try:
            async with timeout:
                yield progress
        except TimeoutError:
            if BODY_GRACE + arrived / settings.slowest_body < settings.body_seconds:
                detail = f"arrives slower than {settings.slowest_body} bytes a second (limits.slowest_body)"
            else:
                detail = f"did not arrive within {settings.body_seconds:g} s (limits.body_seconds)"
            raise UserError(408, f"the body {detail}") from None

    async def received(self, size: int) -> None:
        """A body of so many bytes has come: those after it pay for it. A large one waits to be worked on.

        What it held while it arrived it gives back when its turn has come: so many large bodies are in
        memory at once and no more. Raises Refused.
        """
        admission = self._admission
        admission.body_rates.take(self.owner, size, patience=math.inf)
        if size > LARGE:
            await self._hold(admission.large, "large_bodies")
        if admission.arriving in self._held:
            self._held.remove(admission.arriving)
            admission.arriving.leave(self.owner)

    async def _hold(self, gate: Gate, limit: str) -> None:
        if not await gate.enter(self.owner):
            value = getattr(self._admission.settings, limit)
            raise self._refused(
                limit,
                f"{value} submissions at once is the limit, and those before this one take too long",
                PATIENCE,
            )
        self._held.append(gate)

    def follow(self) -> Following:
        """From here on it counts as a followed log, and no longer as a request under way. Raises Refused."""
        following = self._following or Following(self._admission.followers, self.owner)
        if self._following is None and not following.enter():
            settings = self._admission.settings
            raise self._refused(
                "followed_logs",
                f"a user may follow {settings.followed_logs_per_user} logs at once "
                f"(limits.followed_logs_per_user), each pod of a job counted, and all users together "
                f"{settings.followed_logs}",
                PATIENCE,
            )
        self._following = following
        self._outside()
        return following

    def answered(self, size: int) -> None:
        """An answer of so many bytes: a large one costs as much as several, which those after it wait for."""
        if size > LARGE:
            self._admission.rates_of(self.owner).take(self.owner, size / LARGE, patience=math.inf)

    def pace(self, size: int) -> float:
        """Seconds to wait before more of a log than the `size` bytes that were sent now."""
        amount = 1 + size // LOG_CHUNK
        return self._admission.log_rates.take(self.owner, amount, patience=math.inf)[1]

    def leave(self) -> None:
        """Gives back what it holds."""
        self._outside()
        if self._following is not None:
            self._following.close()
            self._following = None

    def _outside(self) -> None:
        if self._inside:
            self._inside = False
            self._admission.requests.leave(self.owner)

    async def _rate(self, rates: Rates, limit: str, burst: str, amount: float = 1.0) -> None:
        granted, wait = rates.take(self.owner, amount)
        if not granted:
            settings = self._admission.settings
            raise self._refused(
                limit,
                f"{getattr(settings, limit):g} is the limit of {self._who()}, "
                f"after {getattr(settings, burst)} at once",
                wait,
            )
        if wait:
            await asyncio.sleep(wait)

    def _refused(self, limit: str, detail: str, retry_after: float) -> Refused:
        self._admission.count(limit)
        return Refused(f"too much at once (limits.{limit}): {detail}", retry_after)

    def _who(self) -> str:
        return {"address": "requests with unknown tokens", "nobody": "requests without a token"}.get(
            self.owner[0], "one user"
        )


def visit_of(scope: Any) -> Visit:
    """The visit of a request that came through Admission."""
    visit: Visit = scope["state"][_VISIT]
    return visit


def address_of(scope: HTTPScope, proxies: int = 1) -> str:
    """Where a request comes from, as the first of our `proxies` says, else the peer itself.

    Each proxy adds the address that it was asked from to the end of X-Forwarded-For, so what is before our
    proxies' entries is whatever the client wrote. Who reaches us without a proxy can write any address there:
    it is used to be fair to those who are not known yet, and for nothing else.
    """
    if proxies:
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if lines:
            entries = b",".join(lines).rsplit(b",", proxies)
            return entries[-proxies:][0].decode("latin-1").strip()[:64]
    client = scope.get("client")
    return client[0] if client else ""

"""What every request passes through, whatever answers it: an id, a line in the log, the figures, and the end.

Wraps the whole ASGI application, so that unknown paths are seen, too.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from hubfleet.metrics import Metrics

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

UNMATCHED = "unmatched"
"""The route of requests to nowhere: their paths are anybody's invention, and would be labels without end."""

QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines, and of interest only where they fail."""


class Requests:
    """The requests under way. `access` writes one line for each that ends."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        access: bool,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._app = app
        self._metrics = metrics
        self._access = access
        self._clock = clock
        self._under_way: set[asyncio.Task[object]] = set()
        self._streaming: set[asyncio.Task[object]] = set()
        self._broken_off: set[asyncio.Task[object]] = set()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        request_id = _request_id(scope)
        started = self._clock()
        status, endless = 0, True

        async def sending(message: Message) -> None:
            nonlocal status, endless
            if message["type"] == "http.response.start":
                status = message["status"]
                endless = all(name != b"content-length" for name, _ in message["headers"])
                # Of granian's and uvicorn's requirements both: a list of pairs of bytes.
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            elif message["type"] == "http.response.body" and endless and message.get("more_body"):
                self._streaming.add(task)
                if self.stopping:
                    self._break_off([task])
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            self._under_way.add(task)
            self._metrics.under_way.inc()
            try:
                await self._app(scope, receive, sending)
            except asyncio.CancelledError:
                if task not in self._broken_off:
                    raise
                task.uncancel()
                # Where the answer had begun, returning before its end makes the server close the connection:
                # the client sees that it was broken off, and no end that looks like the end of a log.
                if status == 0:
                    await _refuse(sending)
            finally:
                self._under_way.discard(task)
                self._broken_off.discard(task)
                self._streaming.discard(task)
                self._metrics.under_way.dec()
                self._ended(scope, status, self._clock() - started)

    def _ended(self, scope: HTTPScope, status: int, seconds: float) -> None:
        route = str(scope.get("path_template") or UNMATCHED)
        self._metrics.ended(scope["method"], route, status, seconds)
        if self._access:
            # The path as it was sent (so without control characters) and without its query, where secrets
            # travel; status 0: gone before there was an answer.
            write = log.debug if route in QUIET else log.info
            write(
                "request",
                method=scope["method"],
                path=(scope["raw_path"] or b"").partition(b"?")[0].decode("latin-1"),
                status=status,
                milliseconds=round(seconds * 1000, 1),
            )

    def end_streams(self) -> None:
        """Breaks off the answers that would go on: a followed log has no end of its own."""
        self.stopping = True
        self._break_off(tuple(self._streaming))

    def end_all(self) -> int:
        """Breaks off everything; how many there were."""
        tasks = tuple(self._under_way)
        self._break_off(tasks)
        return len(tasks)

    def _break_off(self, tasks: Iterable[asyncio.Task[object]]) -> None:
        for task in tasks:
            self._broken_off.add(task)
            task.cancel()


async def _refuse(send: Send) -> None:
    body = b'{"detail":"The server is stopping; try again in a moment"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _request_id(scope: HTTPScope) -> bytes:
    """The caller's own, where it is safe to write down: one id follows a request through all proxies."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(8).encode()

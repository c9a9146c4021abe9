"""Sends requests to one cluster: pools, time limits, what is tried again, and the circuit breaker.

Three pools of connections, for streams stay open and would starve the requests: requests share a bounded
one, watches have one without a limit, for they are few, and logs (lean streams) one with a limit of their
own. What is tried again, and why it is safe:

- a 401 once, with fresh credentials: the request was not carried out;
- a 429 after the server's Retry-After, whatever the verb: the API server rejects before it carries out;
- a 503 with Retry-After, and a connection that broke before the answer (once): idempotent requests only.

A create whose connection broke is never repeated: it may have been carried out. (aiohttp itself repeats GET
and DELETE once where a kept-alive connection turns out to be closed.)
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from hubfleet.kube.breaker import Breaker
from hubfleet.kube.budget import Budget
from hubfleet.kube.credentials import Access, Credentials
from hubfleet.kube.errors import ClusterUnreachable, CredentialsError
from hubfleet.kube.request import Request
from hubfleet.kube.response import interpret, retry_after

ENOUGH = 1.0
"""Seconds: a request that had less time than this and got no answer says nothing about the cluster."""


BUFFER = 256 * 1024
"""Bytes read ahead of the reader of a stream; large reads are cheaper."""

LEAN_BUFFER = 4096
LEAN_SOCKET = 16 * 1024
"""Bytes read ahead of the reader of a lean stream (aiohttp stops reading at twice this), and in its socket.

The socket counts: the kernel hands over what it has at once, up to 256 KiB, and the event loop holds as much
again for TLS. Of 300 logs that were full and not read, each took 825 KiB (TLS) and 98 (plain); with these 115
and 20, and 59 and 6 while they are quiet.
"""

HANDSHAKES = 16
"""Connections for lean streams that are made at once.

Whoever opens a page with five hundred logs wants all of them, but what five hundred handshakes hold at once
stays with the process: 12 KiB for each stream. Waiting for a log's headers does not count.
"""


class Endpoint(msgspec.Struct, frozen=True):
    """Where an API server is: `server` may have a path; without `tls_server_name` its host name is meant."""

    server: str
    tls_server_name: str = ""
    proxy: str = ""


class Transport:
    """The connections to the cluster `name`; open it with `async with`.

    `seconds` is the cluster's time for one request, `connections` bounds the pool of requests, and
    `lean_streams` that of lean streams (0: nothing does).
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        user_agent: str,
        breaker: Breaker | None = None,
        seconds: float = 10.0,
        connections: int = 64,
        lean_streams: int = 0,
    ):
        self.name = name
        self.seconds = seconds
        self._enough = min(ENOUGH, 0.9 * seconds)
        self.breaker = breaker or Breaker()
        self._base = endpoint.server.rstrip("/")
        self._hostname = endpoint.tls_server_name or None
        self._proxy = endpoint.proxy or None
        self._credentials = credentials
        self._agent = user_agent
        self._connections = connections
        self._lean_streams = lean_streams
        self._whole_time = aiohttp.ClientTimeout(total=seconds)
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._logs: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Transport":
        self._requests = self._session(self._connections)
        self._watches = self._session(0)
        self._logs = self._session(self._lean_streams, lean=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._requests, self._watches, self._logs):
            if session is not None:
                await session.close()
        await self._credentials.close()

    def _session(self, limit: int, *, lean: bool = False) -> aiohttp.ClientSession:
        if lean:
            # Never used twice: one whose reader left or lags behind would not be read from any more.
            connector: aiohttp.TCPConnector = _LeanConnector(
                limit=limit, socket_factory=_lean_socket, force_close=True
            )
        else:
            # Kept for less than the API server's 90 s.
            connector = aiohttp.TCPConnector(limit=limit, socket_factory=_socket, keepalive_timeout=60)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Compression costs both sides more than a local network gains.
            headers={"User-Agent": self._agent, "Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=True,
            trust_env=False,
        )

    async def send(self, request: Request, budget: Budget | None = None) -> bytes:
        """The body of a successful answer; raises ApiError or ClusterUnreachable."""
        budget = budget or Budget(self.seconds)
        rejected: Access | None = None
        reset = False
        while True:
            access = await self._access(rejected, budget)
            try:
                status, headers, body = await self._exchange(request, access, budget)
            except _Reset as e:
                if reset or not request.idempotent:
                    raise self._unreachable(request, e.args[0], sent=True) from e
                reset = True
                continue
            if status == 401 and rejected is None:
                rejected = access
                access = await self._access(rejected, budget)
                if access is not rejected:
                    continue
            elif status == 429 or (status == 503 and request.idempotent):
                pause = retry_after(headers)
                if pause is not None and pause < budget.left():
                    await asyncio.sleep(pause)
                    continue
            return interpret(self.name, status, headers, body)

    async def _exchange(self, request: Request, access: Access, budget: Budget) -> tuple[int, Any, bytes]:
        assert self._requests is not None, "the transport is not open"
        seconds = self._admit(request, budget)
        verdict = self.breaker.abandon
        try:
            async with self._requests.request(
                request.method,
                URL(self._base + request.path, encoded=True),
                data=None if request.body is None else aiohttp.BytesPayload(request.body),
                timeout=self._whole_time if seconds == self.seconds else aiohttp.ClientTimeout(total=seconds),
                **self._options(request, access),
            ) as response:
                body = await response.read()
                verdict = self.breaker.succeed
                return response.status, response.headers, body
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            if seconds >= self._enough or not isinstance(e, TimeoutError):
                verdict = self.breaker.fail
            raise self._failure(request, e, seconds) from e
        finally:
            verdict()

    @asynccontextmanager
    async def stream(
        self, request: Request, budget: Budget | None = None, *, idle: float | None, lean: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body in chunks as they arrive; leaving closes the connection, for the rest is not wanted.

        The budget covers everything up to the headers; after that, `idle` is the longest silence in seconds.
        A `lean` stream takes little memory, at the price of throughput.
        """
        budget = budget or Budget(self.seconds)
        response = await self._open(request, budget, idle, lean)
        try:
            yield self._chunks(request, response)
        finally:
            _cut(response)

    async def _open(
        self, request: Request, budget: Budget, idle: float | None, lean: bool
    ) -> aiohttp.ClientResponse:
        rejected: Access | None = None
        reset = False
        while True:
            access = await self._access(rejected, budget)
            try:
                response = await self._connect(request, access, budget, idle, lean)
            except _Reset as e:
                if reset or not request.idempotent:
                    raise self._unreachable(request, e.args[0]) from e
                reset = True
                continue
            if response.status == 200:
                if lean and response.connection is not None and response.connection.transport is not None:
                    limit = getattr(response.connection.transport, "set_read_buffer_limits", None)
                    if limit is not None:  # a TLS transport
                        limit(high=LEAN_SOCKET // 2)
                return response
            try:
                async with asyncio.timeout(budget.left()):
                    body = await response.content.read(64 * 1024)
            except (aiohttp.ClientError, TimeoutError):
                body = b""
            finally:
                _cut(response)
            if response.status == 401 and rejected is None:
                rejected = access
                continue
            interpret(self.name, response.status if response.status >= 300 else 502, response.headers, body)

    async def _connect(
        self, request: Request, access: Access, budget: Budget, idle: float | None, lean: bool
    ) -> aiohttp.ClientResponse:
        session = self._logs if lean else self._watches
        assert session is not None, "the transport is not open"
        seconds = self._admit(request, budget)
        verdict = self.breaker.abandon
        try:
            async with asyncio.timeout(seconds):
                response = await session.request(
                    request.method,
                    URL(self._base + request.path, encoded=True),
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=idle),
                    read_bufsize=LEAN_BUFFER if lean else BUFFER,
                    **self._options(request, access),
                )
            verdict = self.breaker.succeed
            return response
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            if seconds >= self._enough or not isinstance(e, TimeoutError):
                verdict = self.breaker.fail
            raise self._failure(request, e, seconds) from e
        finally:
            verdict()

    async def _chunks(self, request: Request, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            silent = isinstance(e, TimeoutError)
            raise self._unreachable(request, "the stream fell silent" if silent else _words(e)) from e

    def _admit(self, request: Request, budget: Budget) -> float:
        """The seconds for this attempt; the breaker is asked last, for it then awaits our verdict."""
        seconds = min(budget.left(), self.seconds)
        if seconds <= 0:
            raise self._unreachable(request, "the time for this operation is over")
        if wait := self.breaker.admit():
            raise ClusterUnreachable(
                self.name, "does not answer, and is not asked for a moment", retry_after=wait
            )
        return seconds

    def _options(self, request: Request, access: Access) -> dict[str, Any]:
        headers = request.headers
        if access.authorization:
            headers = (*headers, ("Authorization", access.authorization))
        # A redirect would take the request, and the token with it, somewhere else.
        options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
        if access.tls is not None:
            options["ssl"] = access.tls
            options["server_hostname"] = self._hostname
        if self._proxy is not None:
            options["proxy"] = self._proxy
        return options

    async def _access(self, rejected: Access | None, budget: Budget) -> Access:
        access = self._credentials.current() if rejected is None else None
        if access is not None:
            return access
        try:
            async with asyncio.timeout(budget.left()):
                return await self._credentials.obtain(rejected)
        except TimeoutError as e:
            raise CredentialsError(self.name, "the credentials did not come in time") from e

    def _failure(self, request: Request, error: Exception, seconds: float) -> Exception:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return self._unreachable(request, _words(error))
        if isinstance(error, TimeoutError):
            return self._unreachable(request, f"no answer within {seconds:.3g} s", sent=True)
        if isinstance(
            error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError
        ):
            return _Reset(_words(error))
        return self._unreachable(request, _words(error), sent=True)

    def _unreachable(self, request: Request, what: str, *, sent: bool = False) -> ClusterUnreachable:
        path = request.path.partition("?")[0]
        return ClusterUnreachable(self.name, f"{what} ({request.method} {path})", sent=sent)


class _LeanConnector(aiohttp.TCPConnector):
    """Makes at most HANDSHAKES connections at once."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self._handshakes = asyncio.Semaphore(HANDSHAKES)

    async def connect(self, *arguments: Any, **options: Any) -> aiohttp.connector.Connection:
        async with self._handshakes:
            return await super().connect(*arguments, **options)


class _Reset(Exception):
    """The connection broke after the request, or a part of it, was sent."""


def _cut(response: aiohttp.ClientResponse) -> None:
    """Close the connection of an answer that nobody reads on.

    Without TLS's farewell: it waits for the peer's, for half a minute where that is slow or gone, beyond the
    end of our session and of the event loop.
    """
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
    response.close()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _socket(info: Any) -> socket.socket:
    """A socket that finds out within a minute that its peer is gone, although nothing is sent on it.

    A followed log may be quiet for hours; without this a node or a NAT that vanished would never be noticed.
    """
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # not everywhere
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def _lean_socket(info: Any) -> socket.socket:
    made = _socket(info)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LEAN_SOCKET)  # the kernel doubles it
    return made

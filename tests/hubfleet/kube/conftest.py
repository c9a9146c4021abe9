"""A server for what no API server does on demand: silence, broken connections, garbage, an overload."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hubfleet.kube.breaker import Breaker
from hubfleet.kube.client import Client
from hubfleet.kube.credentials import Access, Credentials, Static
from hubfleet.kube.transport import Endpoint, Transport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[str]]
Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(handler, tls=None)` answers every request with the handler; returns the server's URL."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, context: ssl.SSLContext | None = None) -> str:
            runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            host, port = runner.addresses[0][:2]
            return f"{'https' if context else 'http'}://{host}:{port}"

        yield start


@asynccontextmanager
async def opened(server: str, credentials: Credentials | None, **options: Any) -> AsyncIterator[Client]:
    transport = Transport(
        "test",
        Endpoint(server),
        credentials or Static(Access("Bearer secret")),
        user_agent="hubfleet/test",
        breaker=options.pop("breaker", None) or Breaker(threshold=1000),
        **options,
    )
    async with transport:
        yield Client("test", transport)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(url, **options of Transport)` gives a client, closed at the end."""
    async with AsyncExitStack() as stack:

        async def make(server: str, *, credentials: Credentials | None = None, **options: Any) -> Client:
            context: AbstractAsyncContextManager[Client] = opened(server, credentials, **options)
            return await stack.enter_async_context(context)

        yield make


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """`await until(condition)` waits for it, at most ten seconds."""

    async def wait(condition: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    return wait

"""The listening end: a socket, TLS, uvicorn."""

import asyncio
import contextlib
import socket
import ssl

import uvicorn

from localkube.apiserver.http import Api

_BACKLOG = 2048
_GRACE = 3
"""Seconds that running requests have to end when the server stops; streams are ended at once."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks one. Raises OSError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _config(api: Api, context: ssl.SSLContext | None) -> uvicorn.Config:
    factory = (lambda config, default: context) if context is not None else None
    return uvicorn.Config(
        api,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        # longer than clients keep idle connections, so that it is they who close them
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE,
        ssl_context_factory=factory,
    )


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers: who runs it decides when it stops."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


class Server:
    """`serve` runs until `stop`."""

    def __init__(self, api: Api, sockets: list[socket.socket], context: ssl.SSLContext | None):
        self._api = api
        self._sockets = sockets
        self._server = _Server(_config(api, context))

    async def serve(self) -> None:
        await self._server.serve(sockets=self._sockets)

    async def started(self) -> None:
        """Wait until requests are answered."""
        while not self._server.started:  # noqa: ASYNC110 (uvicorn has a flag and no event)
            await asyncio.sleep(0.005)

    async def stop(self, serving: "asyncio.Task[None]") -> None:
        """End the streams, let the other requests finish; `serving` is the task of `serve`."""
        self._api.stop()
        self._server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)

"""`hubfleet serve`: one process, one event loop, one port. More of it is more replicas.

granian's embedded server runs in our own loop, so the application is built, opened and closed here, and the
order at the end is ours: no new requests, followed logs broken off, the others finished, the clusters closed.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import click
import msgspec
import structlog
import uvloop
from litestar import Litestar

from hubfleet import logs
from hubfleet.app import create_app
from hubfleet.cli.settings import config_option, readable_errors
from hubfleet.errors import SettingsError
from hubfleet.probes import Readiness
from hubfleet.requests import Requests
from hubfleet.settings import Settings, read

log = structlog.get_logger(__name__)

CONNECTIONS = 65_536
"""Requests at once that the server passes on to us; a followed log is one for as long as it is followed."""

BACKLOG = 2048
"""Connections that the kernel keeps while we are busy."""

HEADER_SECONDS = 30
"""For the headers of a request to arrive, and for a connection to be kept without one."""

HEADER_BYTES = 64 * 1024
"""Of all headers of a request together; more is a 431."""

OTHER_FILES = 1000
"""Open files beside the two of each followed log (the user's connection and the cluster's)."""

GARBAGE = 10_000
"""New objects until the garbage collector looks for cycles among them; Python's own 700 are one request's."""

SWITCH_SECONDS = 0.0005
"""Python's own 5 ms are what a request waits, each time it wakes up, for a thread that checks a body."""

ABORT_SECONDS = 1.0
"""For what was broken off to notice, at the very end."""


class Server(Protocol):
    """What we need of a server: it serves until told to stop, and then until its last request has ended."""

    async def serve(self) -> None: ...

    def stop(self) -> None: ...


@click.command()
@config_option
@click.option("--host", help="The address to listen on, instead of the settings'.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port, instead of the settings'.")
def serve(*, config: str | None, host: str | None, port: int | None) -> None:
    """Serve the users of a JupyterHub."""
    with readable_errors():
        settings = listening_on(read(config), host, port)
        logs.configure(settings.log)
        if not uvloop.run(run(settings)):
            # A request that does not end even when cancelled keeps the server's threads, and so us, for ever.
            sys.stderr.flush()
            os._exit(1)


def listening_on(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with the options' host and port."""
    old_host, old_port = settings.address
    host = old_host if host is None else host
    host = f"[{host}]" if ":" in host else host
    return msgspec.structs.replace(settings, listen=f"{host}:{old_port if port is None else port}")


async def run(settings: Settings) -> bool:
    """Serves until SIGTERM or SIGINT; whether everything has ended in time."""
    make_room(settings.limits.followed_logs)
    app = create_app(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = claim(*settings.address)
    async with app.lifespan():
        server = make_server(app, host, port)
        spare_garbage_collection()
        sys.setswitchinterval(SWITCH_SECONDS)
        log.info("serving", host=host, port=port, prefix=settings.batch.prefix)
        return await serve_until(stop.wait, server, app, settings.shutdown_seconds)


def make_room(followed_logs: int) -> None:
    """Takes as many open files as the system lets us have, and says so where that is too few.

    Shells and service managers give 1024. A process that has no more of them takes no connection at all.
    """
    needed = 2 * followed_logs + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as e:  # macOS has no limit, and allows less
            log.warning("the limit of open files cannot be raised", limit=soft, to=hard, error=str(e))
    if soft != resource.RLIM_INFINITY and soft < needed:
        log.warning(
            "too few files may be open for limits.followed_logs: raise the limit (ulimit -n, LimitNOFILE) "
            "or lower the setting; without any left the server answers nobody",
            limit=soft,
            needed=needed,
            followed_logs=followed_logs,
        )


def spare_garbage_collection() -> None:
    """Takes what is there for good (modules, routes, models) out of the garbage collector's rounds.

    Walking through it was a tenth of each submission, and made everybody wait for 50 ms and more at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


def claim(host: str, port: int) -> tuple[str, int]:
    """The address to listen on, with a free port for 0; SettingsError where we cannot.

    granian shares its port (SO_REUSEPORT) with whoever does the same: a second server, started by mistake,
    would take half of the requests of the first one.
    """
    host = host or "0.0.0.0"  # noqa: S104  ("" is what the operator wrote for every interface)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return host, int(probe.getsockname()[1])
    except OSError as e:
        raise SettingsError([f"listen: cannot listen on {host} port {port}: {e.strerror or e}"]) from e


async def serve_until(
    stopped: Callable[[], Awaitable[Any]], server: Server, app: Litestar, seconds: float
) -> bool:
    """Serves until `stopped`, then at most `seconds` more; whether all requests have ended by then."""
    requests: Requests = app.state.requests
    readiness: Readiness = app.state.readiness
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.ensure_future(stopped())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if serving.done():
        await serving  # it could not listen, or failed
        return True
    log.info("stopping")
    readiness.stopping = True
    requests.end_streams()
    server.stop()
    await asyncio.wait([serving], timeout=seconds)
    if not serving.done():
        log.warning("breaking off what has not ended", requests=requests.end_all(), seconds=seconds)
        await asyncio.wait([serving], timeout=ABORT_SECONDS)
    if not serving.done():
        serving.cancel()
        return False
    await serving
    return True


def make_server(app: Litestar, host: str, port: int) -> Server:
    """granian, or uvicorn where granian cannot be imported (it has no wheel for every platform)."""
    try:
        from granian.server.embed import Server as Granian
    except ImportError:
        return _uvicorn(app, host, port)
    return _granian(Granian, app, host, port)


def _granian(granian: Any, app: Litestar, host: str, port: int) -> Server:
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    server: Server = granian(
        app,
        host,
        port,
        interface=Interfaces.ASGINL,  # without lifespan messages: `run` opens and closes the application
        http=HTTPModes.http1,  # to listen for HTTP/2 as well costs 10 KiB for each followed log
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=HEADER_BYTES),
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        log_level=LogLevels.error,
        # Its records go where ours go; its own handlers would write text between our lines of JSON.
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {"_granian": {}}, "root": {}},
    )
    return server


def _uvicorn(app: Litestar, host: str, port: int) -> Server:
    import uvicorn

    class Uvicorn(uvicorn.Server):
        def stop(self) -> None:
            self.should_exit = True

        def install_signal_handlers(self) -> None:
            """None: the loop's handlers are ours."""

    return Uvicorn(
        uvicorn.Config(
            app, host=host, port=port, lifespan="off", log_config=None, access_log=False, ws="none"
        )
    )

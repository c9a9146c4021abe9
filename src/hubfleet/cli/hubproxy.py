"""`hubfleet hubproxy`: JupyterHub's proxy API, which programs a gateway instead of carrying traffic."""

import asyncio
import os
import signal
import sys

import click
import msgspec
import structlog
import uvloop

from hubfleet import logs
from hubfleet.cli.serve import claim, make_server, serve_until, spare_garbage_collection
from hubfleet.cli.settings import config_option, readable_errors
from hubfleet.proxyapp import create_app
from hubfleet.settings import Settings, read

log = structlog.get_logger(__name__)


@click.command()
@config_option
@click.option("--host", help="The address to listen on, instead of the settings'.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port, instead of the settings'.")
def hubproxy(*, config: str | None, host: str | None, port: int | None) -> None:
    """Program a gateway with the routes of a JupyterHub."""
    with readable_errors():
        settings = listening_on(read(config), host, port)
        logs.configure(settings.log)
        if not uvloop.run(run(settings)):
            sys.stderr.flush()
            os._exit(1)


def listening_on(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with the options' host and port."""
    old_host, old_port = settings.hubproxy.address
    host = old_host if host is None else host
    host = f"[{host}]" if ":" in host else host
    listen = f"{host}:{old_port if port is None else port}"
    return msgspec.structs.replace(
        settings, hubproxy=msgspec.structs.replace(settings.hubproxy, listen=listen)
    )


async def run(settings: Settings) -> bool:
    """Serves until SIGTERM or SIGINT; whether everything has ended in time."""
    app = create_app(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = claim(*settings.hubproxy.address)
    async with app.lifespan():
        server = make_server(app, host, port)
        spare_garbage_collection()
        log.info("serving", host=host, port=port, backend=settings.hubproxy.backend)
        return await serve_until(stop.wait, server, app, settings.shutdown_seconds)

"""The command `localkube`: a Kubernetes API, its controllers and a kubelet in one process."""

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import uvloop

from localkube.apiserver import events, kubeconfig, server, tls
from localkube.apiserver.http import Api, Authenticate
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import User
from localkube.apiserver.store import Store
from localkube.apiserver.wal import Corrupt, Wal
from localkube.controllers.manager import run_controllers

_ADMIN = User("localkube-admin", ("system:masters", "system:authenticated"))
_EPOCH = 1_767_225_600
"""2026-01-01: see `_first_revision`."""


class Options(NamedTuple):
    host: str
    port: int
    kubeconfig: Path
    context: str
    data_dir: Path | None
    tls: bool
    kubelet: bool


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)


@click.command()
@click.option(
    "--listen", default="127.0.0.1:6443", metavar="HOST:PORT", show_default=True, help="Port 0 picks one."
)
@click.option(
    "--kubeconfig",
    "kubeconfig_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write what reaches this server into; its other contexts stay.",
)
@click.option("--context", default="localkube", show_default=True, help="Name in the kubeconfig.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept across restarts; without it, nothing is.",
)
@click.option("--tls/--no-tls", default=True, show_default=True, help="HTTPS or plain HTTP.")
@click.option("--kubelet/--no-kubelet", default=True, show_default=True, help="Whether pods run.")
def main(
    listen: str, kubeconfig_file: Path, context: str, data_dir: Path | None, tls: bool, kubelet: bool
) -> None:
    """Serve a Kubernetes API until stopped, and write the kubeconfig that reaches it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    host, port = _address(listen)
    options = Options(host, port, kubeconfig_file, context, data_dir, tls, kubelet)
    try:
        sock = server.listen(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from None
    with _data_dir(options) as directory:
        uvloop.run(_serve(options, directory, sock))


@contextlib.contextmanager
def _data_dir(options: Options) -> Iterator[Path]:
    if options.data_dir is not None:
        options.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield options.data_dir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="localkube-") as directory:
        yield Path(directory)


async def _serve(options: Options, directory: Path, sock: socket.socket) -> None:
    """Run all parts until a signal comes or one of them fails."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    store = Store(revision=_first_revision())
    registry = Registry(store)
    port = sock.getsockname()[1]
    token = _token(directory)
    context, ca = _tls(options, directory)
    api = Api(registry, _authenticator(token), address=f"{options.host}:{port}")
    listener = server.Server(api, sock, context)
    parts: list[asyncio.Task[None]] = []
    journal = _open_journal(directory, store) if options.data_dir is not None else None
    journaling = asyncio.create_task(journal.run()) if journal is not None else None
    try:
        parts.append(asyncio.create_task(run_controllers(registry, ca=ca or "")))
        parts.append(asyncio.create_task(events.expire(registry)))
        serving = asyncio.create_task(listener.serve())
        await listener.started()
        url = f"{'https' if options.tls else 'http'}://{_reachable(options.host)}:{port}"
        _write_kubeconfig(options, url, token, ca)
        print(f"localkube: serving {url}, kubeconfig {options.kubeconfig}", flush=True)  # noqa: T201
        stopped = asyncio.create_task(stop.wait())
        waiting = [*parts, serving, stopped, *([journaling] if journaling else [])]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        listener.stop()
        stopped.cancel()
        await serving
    finally:
        for part in parts:
            part.cancel()
        results = await asyncio.gather(*parts, return_exceptions=True)
        if journal is not None and journaling is not None:
            await journal.close(journaling)
    failure: BaseException | None = next((r for r in results if isinstance(r, Exception)), None)
    if journaling is not None:
        failure = failure or journaling.exception()
    if failure is not None:
        raise click.ClickException(f"a part of localkube failed: {failure!r}")


def _open_journal(directory: Path, store: Store) -> Wal:
    journal = Wal(directory / "store", store)
    try:
        journal.open()
    except BlockingIOError:
        raise click.ClickException(f"another localkube uses {directory}") from None
    except Corrupt as error:
        raise click.ClickException(f"cannot read the data directory: {error}") from None
    return journal


def _tls(options: Options, directory: Path) -> tuple[ssl.SSLContext | None, str | None]:
    """The server's TLS context and its CA as PEM; None for both where it serves plain HTTP."""
    if not options.tls:
        return None, None
    material = tls.material(directory / "pki", options.host)
    return tls.context(material), material.ca


def _write_kubeconfig(options: Options, url: str, token: str, ca: str | None) -> None:
    try:
        kubeconfig.write(options.kubeconfig, kubeconfig.entries(options.context, url, token, ca))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot write the kubeconfig: {error}") from None


def _first_revision() -> int:
    """Where a store without a past starts to count: milliseconds since 2026.

    Every start begins beyond what an earlier one reached, so a client that resumes a watch from before a
    restart is told to list again instead of waiting for a revision that means something else now.
    """
    return max(1, int((time.time() - _EPOCH) * 1000))


def _token(directory: Path) -> str:
    """The bearer token: kept in the data directory, so that a kubeconfig outlives a restart."""
    path = directory / "token"
    if path.exists():
        return path.read_text().strip()
    token = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


def _authenticator(token: str) -> Authenticate:
    wanted = token.encode()

    def authenticate(given: str) -> User | None:
        return _ADMIN if hmac.compare_digest(given.encode(), wanted) else None

    return authenticate


def _reachable(host: str) -> str:
    """An address that clients on this machine can use for one that is bound to everything."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

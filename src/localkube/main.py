"""The command `localkube`: a Kubernetes API, its controllers and a kubelet in one process."""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import structlog
import uvloop

from localkube.apiserver import events, kubeconfig, server, tls
from localkube.apiserver.access import access
from localkube.apiserver.http import Api
from localkube.apiserver.rbac import bootstrap
from localkube.apiserver.registry import Registry
from localkube.apiserver.store import Store
from localkube.apiserver.tokens import Tokens
from localkube.apiserver.wal import Corrupt, Wal
from localkube.controllers.manager import run_controllers
from localkube.kubelet.kubelet import Kubelet
from localkube.kubelet.runtime import NotInstalled
from localkube.kubelet.settings import Settings

log = structlog.get_logger(__name__)

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
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
@click.option(
    "--tls/--no-tls",
    default=True,
    show_default=True,
    help="HTTPS, or plain HTTP (over which kubectl sends no token).",
)
@click.option("--kubelet/--no-kubelet", default=True, show_default=True, help="Whether pods run.")
def main(
    listen: str, kubeconfig_file: Path, context: str, data_dir: Path | None, tls: bool, kubelet: bool
) -> None:
    """Serve a Kubernetes API until stopped, and write the kubeconfig that reaches it."""
    _configure_logs()
    host, port = _address(listen)
    options = Options(host, port, kubeconfig_file, context, data_dir, tls, kubelet)
    try:
        sock = server.listen(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from None
    with _data_dir(options) as directory:
        uvloop.run(_serve(options, directory, sock))


def _configure_logs() -> None:
    """Everything to stderr, without colours and without local variables, which may hold secrets."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


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
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port: int = sock.getsockname()[1]
    url = f"{'https' if options.tls else 'http'}://{_reachable(options.host)}:{port}"
    token = _token(directory)
    context, ca = _tls(options, directory)
    async with contextlib.AsyncExitStack() as stack:
        store = Store(revision=_first_revision())
        parts: list[asyncio.Task[None]] = []
        if options.data_dir is not None:
            journal = _open_journal(directory, store)
            parts.append(asyncio.create_task(journal.run()))
            # last of all, so that it takes what the other parts write while they end
            stack.push_async_callback(journal.close, parts[0])
        registry = Registry(store)
        bootstrap.reconcile(registry)
        doors = access(registry, token, directory)
        for run in (run_controllers(registry, ca=ca or ""), events.expire(registry)):
            parts.append(await _start(stack, run))
        sockets = [sock]
        if options.kubelet:
            kubelet, task = await _start_kubelet(stack, options, directory, registry, port, doors.tokens)
            parts.append(task)
            if kubelet.host_ip:
                context, _ = _tls(options, directory, kubelet.host_ip)
                sockets += _for_pods(options, kubelet.host_ip, port)
        api = Api(registry, doors, address=f"{options.host}:{port}")
        listener = server.Server(api, sockets, context)
        parts.append(asyncio.create_task(listener.serve()))
        stack.push_async_callback(listener.stop, parts[-1])
        await listener.started()
        _write_kubeconfig(options, url, token, ca)
        print(f"localkube: serving {url}, kubeconfig {options.kubeconfig}", flush=True)  # noqa: T201
        stopped = await _start(stack, stop.wait())
        await asyncio.wait([*parts, stopped], return_when=asyncio.FIRST_COMPLETED)
    for part in parts:
        if not part.cancelled() and (failure := part.exception()) is not None:
            log.error("a part of localkube failed", exc_info=failure)
            raise click.ClickException(f"a part of localkube failed: {failure!r}")


async def _start(stack: contextlib.AsyncExitStack, run: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that is cancelled, and waited for, when the stack is left."""
    task = asyncio.create_task(run)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
    return task


async def _start_kubelet(
    stack: contextlib.AsyncExitStack,
    options: Options,
    directory: Path,
    registry: Registry,
    port: int,
    tokens: Tokens,
) -> tuple[Kubelet, asyncio.Task[None]]:
    """The kubelet, once it runs pods, and its task. Raises ClickException when this machine can run none."""
    environment = {
        "KUBERNETES_SERVICE_HOST": _reachable(options.host),
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
    }
    settings = Settings(masked=(options.kubeconfig.resolve(),), service_environment=environment)
    node = _node_name(options.context)
    kubelet = Kubelet(registry, directory, node, settings, issue_token=tokens.for_pod)
    task: asyncio.Task[None] = await _start(stack, kubelet.run())
    ready = asyncio.create_task(kubelet.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done() and isinstance(failure := task.exception(), NotInstalled):
        raise click.ClickException(f"{failure} (or use --no-kubelet, which runs no pods)")
    return kubelet, task


def _for_pods(options: Options, host_ip: str, port: int) -> list[socket.socket]:
    """Where pods reach the API: they have a network of their own, in which 127.0.0.1 is theirs."""
    if options.host in _ANYWHERE:
        return []
    try:
        return [server.listen(host_ip, port)]
    except OSError as error:
        log.warning("pods cannot reach the API", address=f"{host_ip}:{port}", reason=str(error))
        return []


def _node_name(context: str) -> str:
    """A node name that tells the nodes of several localkubes apart."""
    return re.sub(r"[^a-z0-9.-]+", "-", context.lower()).strip("-.")[:63].strip("-.") or "localkube"


def _open_journal(directory: Path, store: Store) -> Wal:
    journal = Wal(directory / "store", store)
    try:
        journal.open()
    except BlockingIOError:
        raise click.ClickException(f"another localkube uses {directory}") from None
    except Corrupt as error:
        raise click.ClickException(f"cannot read the data directory: {error}") from None
    return journal


def _tls(options: Options, directory: Path, *others: str) -> tuple[ssl.SSLContext | None, str | None]:
    """The server's TLS context and its CA as PEM; None for both where it serves plain HTTP.

    `others` are addresses that it is reached at besides its own.
    """
    if not options.tls:
        return None, None
    material = tls.material(directory / "pki", options.host, *others)
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


def _reachable(host: str) -> str:
    """An address that clients on this machine can use for one that is bound to everything."""
    if host in _ANYWHERE:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

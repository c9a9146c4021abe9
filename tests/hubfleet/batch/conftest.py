"""A running server, real users, the real clients, and a gate before the API server that fails on demand."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from hubfleet.batch.service import BatchService
from hubfleet.identity.tokens import HubTokens
from hubfleet.identity.user import User
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Clusters
from hubfleet.kube.errors import ApiError, KubeError, NotFound
from hubfleet.kube.request import Request
from hubfleet.kube.resources import CONFIGMAPS, CRONJOBS, JOBS, NAMESPACES, SECRETS, Resource
from hubfleet.settings import BatchSettings, ClusterSettings, HubSettings, TenancySettings
from hubfleet.tenancy.naming import namespace_for
from hubfleet.tenancy.provisioning import Namespaces

BODIES = Path(__file__).parent / "bodies"
ROOT = Path(__file__).parents[3]
PREFIX = "/services/kbatch"
PROFILES: dict[str, Any] = {
    "small": {"image": "python:3.13", "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}}},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`hubfleet serve` in a process of its own, or whatever `command` is."""

    def __init__(self, directory: Path, settings: dict[str, Any]):
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}{PREFIX}/"
        self._log = directory / "serve.log"
        config = directory / "hubfleet.yaml"
        config.write_bytes(msgspec.yaml.encode({"listen": f"127.0.0.1:{port}", **settings}))
        command = [str(Path(sys.executable).with_name("hubfleet")), "serve", "--config", str(config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_ready(self, probe: str = "/ready", seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while self.call("GET", f"{self.origin}{probe}")[0] != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"hubfleet does not start:\n{self._log.read_text()[-5000:]}")
            time.sleep(0.05)

    def call(
        self, method: str, path: str, token: str = "", body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body; status 0 where nobody answers."""
        url = path if path.startswith("http") else self.url + path
        headers = {"Authorization": f"token {token}"} if token else {}
        request = urllib.request.Request(url, method=method, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, dict(e.headers), e.read()
        except OSError:
            return 0, {}, b""

    def kill(self) -> None:
        """As the kernel does when memory is short: the process and its workers, at once."""
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text()


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(
    jupyterhub: Any, kubeconfig: Path, kube_context: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartServer]:
    """`start_server(batch={...}, clusters=...)` gives a server that is ready; stopped at the end.

    With `ready=False` one that answers, for one that can never be ready.
    """
    started: list[Server] = []

    def start(
        batch: dict[str, Any] | None = None,
        clusters: list[dict[str, Any]] | None = None,
        hub: dict[str, Any] | None = None,
        tenancy: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        ready: bool = True,
    ) -> Server:
        here = {"name": "test", "kubeconfig": str(kubeconfig), "context": kube_context}
        server = Server(
            tmp_path_factory.mktemp("serve"),
            {
                "hub": {
                    "api_url": jupyterhub.api_url,
                    "api_token": jupyterhub.service_token,
                    "service_name": jupyterhub.service_name,
                    **(hub or {}),
                },
                "clusters": clusters or [here, {**here, "name": "other"}],
                "batch": {"prefix": PREFIX, "profiles": PROFILES, **(batch or {})},
                "tenancy": tenancy or {},
                "limits": limits or {},
            },
        )
        started.append(server)
        server.wait_until_ready("/ready" if ready else "/health")
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    return start_server()


class Person(msgspec.Struct, frozen=True):
    """A user of the Hub, with a namespace that nobody else has."""

    name: str
    token: str

    @property
    def namespace(self) -> str:
        return namespace_for(self.name)


@pytest.fixture
async def person(jupyterhub: Any, client: Client) -> AsyncIterator[Person]:
    name = f"ada-{secrets.token_hex(3)}"
    person = Person(name, jupyterhub.user(name))
    yield person
    with suppress(NotFound):
        await client.delete(NAMESPACES, None, person.namespace)


class Clients:
    """The real clients, each imported once in its own environment (see `forkbatch`)."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def run(self, version: str, **command: Any) -> int:
        """The exit status of one command, which is a process of its own."""
        process = self._processes.get(version) or self._start(version)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def _start(self, version: str) -> subprocess.Popen[str]:
        python = ROOT / f".venvs/kbatch-{version}/bin/python"
        if not python.exists():
            pytest.skip(f"{python.parents[1]} is not there; scripts/test makes it")
        process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("forkbatch.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes[version] = process
        return process

    def stop(self) -> None:
        for process in self._processes.values():
            process.communicate("", timeout=10)


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.stop()


class Kbatch:
    """A user's shell, with one of the clients and a configuration of their own."""

    def __init__(self, clients: Clients, version: str, home: Path, url: str, token: str):
        self.version = version
        self._clients = clients
        self._home = home
        self._url = url
        self._token = token

    def at(self, url: str) -> "Kbatch":
        """The same one, at another server."""
        return Kbatch(self._clients, self.version, self._home, url, self._token)

    def run(self, *arguments: str, configured: bool = True, fails: bool = False) -> str:
        """What it prints; with `fails`, what it complains of."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("KBATCH_", "JUPYTERHUB_"))}
        env |= {"XDG_CONFIG_HOME": str(self._home), "COLUMNS": "200", "NO_COLOR": "1"}
        if configured:
            env |= {"KBATCH_URL": self._url, "JUPYTERHUB_API_TOKEN": self._token}
        out, err = self._home / "out", self._home / "err"
        streams = {"stdout": str(out), "stderr": str(err)}
        status = self._clients.run(self.version, args=arguments, env=env, cwd=str(self._home), **streams)
        assert bool(status) == fails, f"{arguments}: {status}\n{out.read_text()}\n{err.read_text()}"
        return out.read_text() + err.read_text() if fails else out.read_text()

    def json(self, *arguments: str) -> Any:
        # 0.4.2 writes its HTTP log lines to standard output, before the JSON.
        output = self.run(*arguments)
        return json.loads(output[output.index("{") :])


@pytest.fixture(params=["0.4.2", "0.5"])
def kbatch(
    request: pytest.FixtureRequest, clients: Clients, tmp_path: Path, server: Server, person: Person
) -> Kbatch:
    return Kbatch(clients, request.param, tmp_path, server.url, person.token)


class Gate:
    """A proxy before the API server: `decide` says pass, refuse, drop, do-and-drop or hang."""

    def __init__(self, client: Client):
        self._client = client
        self.decide: Callable[[web.Request], str] = lambda _: "pass"
        self.runner: web.ServerRunner | None = None
        self.hanging = asyncio.Event()

    async def tear_down(self) -> None:
        """The API server is gone: every connection is cut, and nobody listens."""
        assert self.runner is not None
        await self.runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        verdict = self.decide(request)
        if verdict == "hang":
            self.hanging.set()
            await asyncio.sleep(3600)
        if verdict == "drop":
            return self._drop(request)
        if verdict == "refuse":
            status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "the gate is shut"}
            return web.json_response(status, status=500)
        headers = tuple(
            (k, v)
            for k, v in request.headers.items()
            if k.lower() in ("content-type", "accept") or k.lower().startswith("impersonate-")
        )
        forwarded = Request(
            request.method, request.raw_path, headers, await request.read() or None, idempotent=False
        )
        if "watch=true" in request.query_string:
            return await self._watch(request, forwarded)
        try:
            body = await self._client.transport.send(forwarded, Budget(30))
        except ApiError as e:
            return web.json_response(e.status, status=e.code)
        if verdict == "do-and-drop":
            return self._drop(request)
        return web.Response(body=body, content_type="application/json")

    async def _watch(self, request: web.Request, forwarded: Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            async with self._client.transport.stream(forwarded, None, idle=None) as chunks:
                await response.prepare(request)
                async for chunk in chunks:
                    await response.write(chunk)
        except (KubeError, ConnectionError):
            pass
        return response

    def _drop(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@pytest.fixture
async def gate(client: Client) -> AsyncIterator[tuple[Gate, str]]:
    """The gate and its URL."""
    gate = Gate(client)
    gate.runner = runner = web.ServerRunner(web.Server(gate.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield gate, f"http://{host}:{port}"
    await runner.cleanup()


def kubeconfig_for(url: str, path: Path) -> Path:
    """A kubeconfig that reaches an API server without credentials, as the gate is one."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "gate",
                "clusters": [{"name": "gate", "cluster": {"server": url}}],
                "users": [{"name": "gate", "user": {"token": "any"}}],
                "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
            }
        )
    )
    return path


@asynccontextmanager
async def opened(kubeconfig: Path, context: str = "", **batch: Any) -> AsyncIterator[BatchService]:
    """The service in this process, without HTTP before it."""
    settings = BatchSettings(**batch)
    cluster = ClusterSettings(name="test", kubeconfig=str(kubeconfig), context=context)
    async with AsyncExitStack() as stack:
        clusters = await stack.enter_async_context(Clusters((cluster,), environ=os.environ))
        namespaces = Namespaces(TenancySettings(), labels=settings.labels, hub="test")
        tokens = await stack.enter_async_context(HubTokens(HubSettings()))
        yield await stack.enter_async_context(
            BatchService(settings, clusters, namespaces, tokens, hub="test")
        )


def user(person: Person) -> User:
    return User(name=person.name, token=person.token)


def body(name: str, **changes: Any) -> bytes:
    return json.dumps(json.loads((BODIES / f"{name}.json").read_text()) | changes).encode()


async def objects(client: Client, resource: Resource, namespace: str) -> list[dict[str, Any]]:
    return [each async for each in client.list(resource, namespace)]


async def leftovers(client: Client, namespace: str) -> list[str]:
    """All that a submission makes and that is there: `secrets/x`, `configmaps/y`, ..."""
    found = []
    for resource in (SECRETS, CONFIGMAPS, JOBS, CRONJOBS):
        for each in await objects(client, resource, namespace):
            name = each["metadata"]["name"]
            if name != "kube-root-ca.crt":
                found.append(f"{resource.plural}/{name}")
    return found


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits for a condition (a function or coroutine function) and gives its value."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)

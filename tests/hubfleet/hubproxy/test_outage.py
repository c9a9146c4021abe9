"""The API server away: the Hub is told to try again, and nothing is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tests.hubfleet.hubproxy.conftest import Proxy, Run, eventually

from hubfleet.settings import ClusterSettings


class Line:
    """The way to the API server, which can be cut."""

    def __init__(self, host: str, port: int):
        self._to = host, port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._ends):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        ends = {writer, far_writer}
        self._ends |= ends
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            for end in ends:
                end.close()
            self._ends -= ends
            self._tasks.discard(task)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def line(kubeconfig: Path, kube_context: str) -> AsyncIterator[Line]:
    config = yaml.safe_load(kubeconfig.read_text())
    chosen = next(
        c["context"] for c in config["contexts"] if c["name"] == (kube_context or config["current-context"])
    )
    server = next(c["cluster"]["server"] for c in config["clusters"] if c["name"] == chosen["cluster"])
    parts = urlsplit(server)
    line = Line(str(parts.hostname), parts.port or 443)
    await line.open()
    yield line
    await line.cut()


@pytest.fixture
def through(line: Line, kubeconfig: Path, kube_context: str, tmp_path: Path) -> ClusterSettings:
    config = yaml.safe_load(kubeconfig.read_text())
    for each in config["clusters"]:
        parts = urlsplit(each["cluster"]["server"])
        each["cluster"]["server"] = f"{parts.scheme}://127.0.0.1:{line.port}{parts.path}"
        each["cluster"].setdefault("tls-server-name", parts.hostname)
    path = tmp_path / "through"
    path.write_text(yaml.safe_dump(config))
    return ClusterSettings(name="test", kubeconfig=str(path), context=kube_context, budget=2.0)


async def status(proxy: Proxy, method: str, path: str, target: str = "http://10.0.0.1:80") -> int:
    body = {"target": target} if method == "POST" else None
    return (await proxy.call(method, f"/api/routes{path}", body))[0]


async def test_nothing_is_lost_while_the_api_server_is_away(
    running: Run, line: Line, through: ClusterSettings
) -> None:
    async with running(cluster=through, budget=2.0) as proxy:
        assert await status(proxy, "POST", "/user/a") == 201
        await line.cut()
        for method, path in (("POST", "/user/b"), ("DELETE", "/user/a"), ("POST", "/user/a")):
            target = "http://10.0.0.9:80"
            answer, body, headers = await proxy.call(
                method, f"/api/routes{path}", {"target": target} if method == "POST" else None
            )
            assert (answer, int(headers["Retry-After"]) > 0) == (503, True), body
        assert set(await proxy.routes()) == {"/user/a"}, "what was known is still told"
        assert (await proxy.call("GET", "/health"))[0] == 200
        await line.open()
        assert await eventually(lambda: succeeds(proxy, "/user/b"), 20)
        assert set(await proxy.routes()) == {"/user/a", "/user/b"}
        assert await status(proxy, "DELETE", "/user/a") == 204


async def succeeds(proxy: Proxy, path: str) -> bool:
    return await status(proxy, "POST", path) == 201


async def test_a_process_that_starts_meanwhile_serves_when_it_is_back(
    running: Run, line: Line, through: ClusterSettings
) -> None:
    await line.cut()
    async with running(cluster=through, budget=2.0) as proxy:
        for method in ("GET", "POST", "DELETE"):
            assert await status(proxy, method, "/user/a") == 503
        await line.open()
        assert await eventually(lambda: succeeds(proxy, "/user/a"), 20)

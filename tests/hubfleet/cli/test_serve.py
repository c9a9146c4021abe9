"""How a server ends: followed logs are broken off, requests under way finish, nothing hangs."""

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.response import Stream
from structlog.testing import capture_logs

from hubfleet.cli import serve
from hubfleet.errors import SettingsError
from hubfleet.metrics import Metrics
from hubfleet.probes import Readiness
from hubfleet.requests import Requests
from hubfleet.settings import Settings

HUBFLEET = (sys.executable, "-c", "from hubfleet.cli.main import main; main()")


class Stage:
    """A small application behind one of the servers."""

    def __init__(self, uvicorn: bool):
        self.closed = 0  # streams whose end was noticed
        self.release = asyncio.Event()
        self.stop = asyncio.Event()
        self._uvicorn = uvicorn
        self.url = ""
        self.ended: bool | None = None

    def app(self) -> Litestar:
        async def lines() -> AsyncGenerator[bytes, None]:
            try:
                yield b"line"
                await asyncio.Event().wait()
            finally:
                self.closed += 1

        @get("/stream")
        async def stream() -> Stream:
            return Stream(lines())

        @get("/slow")
        async def slow() -> str:
            await self.release.wait()
            return "done"

        @get("/stubborn")
        async def stubborn() -> str:
            while not self.release.is_set():
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    continue
            return "done"

        app = Litestar([stream, slow, stubborn], openapi_config=None, logging_config=None)
        figures = Metrics(list)
        app.asgi_handler = requests = Requests(app.asgi_handler, figures, access=False)
        app.state = State({"readiness": Readiness(list), "requests": requests})
        self.requests = requests
        return app

    @asynccontextmanager
    async def running(self, seconds: float) -> AsyncIterator[asyncio.Task[bool]]:
        host, port = serve.claim("127.0.0.1", 0)
        app = self.app()
        server = (serve._uvicorn if self._uvicorn else serve.make_server)(app, host, port)
        task = asyncio.create_task(serve.serve_until(self.stop.wait, server, app, seconds))
        self.url = f"http://{host}:{port}"
        async with aiohttp.ClientSession() as probe:
            await until_async(lambda: answers(probe, self.url))
        try:
            yield task
        finally:
            self.release.set()
            self.stop.set()
            await task


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url):
            return True
    except aiohttp.ClientConnectionError:
        return False


async def until_async(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.01)


@pytest.fixture(params=["granian", "uvicorn"])
async def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param == "uvicorn")


async def test_followed_logs_are_broken_off_and_requests_finish(stage: Stage) -> None:
    async with stage.running(seconds=20) as serving, aiohttp.ClientSession() as session:
        streams = [await session.get(f"{stage.url}/stream") for _ in range(20)]
        for stream in streams:
            assert await stream.content.readany() == b"line"
        slow = asyncio.create_task(session.get(f"{stage.url}/slow"))
        await until_async(lambda: len(stage.requests._under_way) == 21)
        stage.stop.set()
        for stream in streams:
            with pytest.raises(aiohttp.ClientError):  # not an end that looks like the end of the log
                await stream.content.read()
        assert stage.closed == 20
        assert not serving.done()
        stage.release.set()
        async with await slow as answer:
            assert await answer.text() == "done"
        async with asyncio.timeout(10):
            assert await serving is True


async def test_what_does_not_end_in_time_is_broken_off(stage: Stage) -> None:
    async with stage.running(seconds=0.2) as serving, aiohttp.ClientSession() as session:
        slow = asyncio.create_task(session.get(f"{stage.url}/slow"))
        await until_async(lambda: len(stage.requests._under_way) == 1)
        stage.stop.set()
        async with await slow as answer:
            assert answer.status == 503
            assert await answer.json() == {"detail": "The server is stopping; try again in a moment"}
        async with asyncio.timeout(10):
            assert await serving is True


async def test_what_does_not_end_at_all_keeps_nobody_waiting(stage: Stage) -> None:
    async with stage.running(seconds=0.1) as serving, aiohttp.ClientSession() as session:
        stubborn = asyncio.create_task(session.get(f"{stage.url}/stubborn"))
        await until_async(lambda: len(stage.requests._under_way) == 1)
        stage.stop.set()
        async with asyncio.timeout(10):
            assert await serving is False
        stage.release.set()
        await asyncio.wait([stubborn])
        stubborn.exception()


async def test_a_client_that_goes_away_ends_its_stream(stage: Stage) -> None:
    async with stage.running(seconds=5), aiohttp.ClientSession() as session:
        stream = await session.get(f"{stage.url}/stream")
        await stream.content.readany()
        stream.close()
        await until_async(lambda: stage.closed == 1)
        assert not stage.requests._under_way


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as granian's own
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port}: Address already in use"):
            serve.claim("127.0.0.1", port)


def test_as_many_files_as_there_may_be_are_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        with capture_logs() as logs:
            serve.make_room((hard - serve.OTHER_FILES) // 2)
        assert logs == []
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        with capture_logs() as logs:
            serve.make_room(hard)
        (warned,) = logs
        assert (warned["limit"], warned["needed"]) == (hard, 2 * hard + serve.OTHER_FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_options_go_before_the_settings() -> None:
    settings = Settings(listen="127.0.0.1:8050")
    assert serve.listening_on(settings, None, None).listen == "127.0.0.1:8050"
    assert serve.listening_on(settings, None, 0).address == ("127.0.0.1", 0)
    assert serve.listening_on(settings, "::1", None).address == ("::1", 8050)


# The command itself


def write_settings(directory: Path, text: str = "") -> Path:
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, "
        "contexts: [{name: a, context: {cluster: a, user: a}}], "
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:9'}}], "
        "users: [{name: a, user: {token: t}}]}"
    )
    path = directory / "hubfleet.yaml"
    path.write_text(
        text
        or "hub: {service_name: kbatch}\n"
        f"clusters: [{{name: a, kubeconfig: {kubeconfig}}}]\n"
        "listen: '127.0.0.1:0'\nlog: {format: json}\n"
    )
    return path


def run_command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*HUBFLEET, *arguments]
    env = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd="/")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_until_it_is_told_to_stop(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*HUBFLEET, "serve", "--config", str(write_settings(tmp_path))],
            stderr=output,
            cwd=tmp_path,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r'"port":(\d+)', log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = f"http://127.0.0.1:{found[1]}/health"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    assert response.status == 200
                break
            except (ConnectionError, urllib.error.URLError):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(15) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("command", ["serve", "controller"])
def test_wrong_settings_are_lines_and_not_a_traceback(tmp_path: Path, command: str) -> None:
    path = write_settings(tmp_path, "hub: {servce_name: a}\nbatch: {code_limt: 1}\n")
    result = run_command(command, "--config", str(path))
    assert result.returncode == 2
    assert "hub.servce_name: unknown key; did you mean service_name?" in result.stderr
    assert "batch.code_limt: unknown key; did you mean code_limit?" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "hub.service_name: missing"),
        ({"JUPYTERHUB_SERVICE_NAME": "kbatch"}, "no kubeconfig"),
        ({"JUPYTERHUB_SERVICE_NAME": "kbatch", "KBATCH_LABELS": "{"}, "KBATCH_LABELS: "),
    ],
)
def test_what_is_missing_at_the_start_is_said(environ: dict[str, str], words: str) -> None:
    result = run_command("serve", **environ)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_the_version() -> None:
    assert re.fullmatch(r"\S+ \d+\.\d+\.\d+\S*\n", run_command("--version").stdout)

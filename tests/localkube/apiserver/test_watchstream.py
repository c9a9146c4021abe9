"""A watch as bytes: chunks of a bounded size, and nothing made for readers who are gone."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.localkube.conftest import Localkube

from localkube.apiserver import watchstream
from localkube.apiserver.resources import RESOURCES
from localkube.apiserver.responses import Message, Stream, send_stream
from localkube.apiserver.store import Store
from localkube.apiserver.watches import Watch

CONFIGMAPS = next(each for each in RESOURCES if each.key == "configmaps")


def object_of(name: str, size: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "a"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"x": "x" * size}}


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (10, 1),
        (watchstream.CHUNK // 3, 10),  # three and what is around them are over it
        (watchstream.CHUNK * 2, 30),
    ],
)
async def test_a_reader_who_is_far_behind_gets_chunks_of_a_bounded_size(size: int, chunks: int) -> None:
    store = Store()
    for i in range(30):
        store.put("configmaps", "a", f"c{i}", object_of(f"c{i}", size))
    watch = Watch(store, "configmaps", None, since=1, initial=False)
    frames = watchstream.frames(watch, CONFIGMAPS, store, bookmarks=False, timeout=0.0)
    # timeout=0 ends the stream once all that is there was told
    told = [chunk async for chunk in frames]
    watch.close()
    assert len(told) == chunks
    assert b"".join(told).count(b'{"type":"ADDED"') == 30


async def test_a_reader_who_is_gone_is_noticed_while_there_is_more_to_tell() -> None:
    """uvicorn's `send` returns at once then, so nothing else would let anybody else have a turn."""
    gone = asyncio.Event()
    made = 0

    async def chunks() -> AsyncGenerator[bytes, None]:
        nonlocal made
        while made < 10_000:
            made += 1
            yield b"x"

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if made == 3:
            gone.set()

    await send_stream(Stream(chunks()), receive, send, asyncio.Event())
    assert made < 20


WATCHERS = """
import socket, sys, time
host, port, count, request = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
watches = []
for _ in range(count):
    watches.append(socket.create_connection((host, port)))
    watches[-1].sendall(request)
for each in watches:
    each.recv(1)
print("watching", flush=True)
time.sleep(1000)
"""


def resident(process: "subprocess.Popen[bytes]") -> int:
    """Bytes of memory that a process has, at its most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def test_the_api_answers_while_500_watches_vanish(localkube_starter: Any) -> None:
    """They are far behind, read nothing and are killed, while objects come and go."""
    api: Localkube = localkube_starter("--no-kubelet")
    path = "/api/v1/namespaces/default/configmaps"
    revision = api.call("GET", path).body["metadata"]["resourceVersion"]
    for i in range(200):
        content = {"metadata": {"name": f"c{i}"}, "data": {"x": "x" * 50_000}}
        assert api.call("POST", path, content).code == 201
    before = resident(api.process)
    target = f"{path}?watch=1&resourceVersion={revision}"
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {api.token}\r\n\r\n"
    host, port = api.url.removeprefix("http://").split(":")
    seconds: list[float] = []

    def churn(times: int) -> None:
        for i in range(times):
            for method, where, content in (
                ("POST", path, {"metadata": {"name": f"churn{i}"}, "data": {"x": "x" * 10_000}}),
                ("DELETE", f"{path}/churn{i}", None),
            ):
                started = time.monotonic()
                assert api.call(method, where, content).code in (200, 201)
                seconds.append(time.monotonic() - started)

    command = [sys.executable, "-c", WATCHERS, host, port, "500", request]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"watching\n"
        churn(10)
        watching.kill()
    churn(40)
    assert max(seconds) < 1, f"p50 {statistics.median(seconds):.3f}"
    assert (resident(api.process) - before) / 500 < 1024 * 1024

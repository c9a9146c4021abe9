"""What happens when a cluster does not behave: each fault once, on a server that commits it."""

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.hubfleet.kube.test_clusters import LOOPBACK, Authority, tls_server

from hubfleet.kube import tls
from hubfleet.kube.breaker import Breaker, State
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.credentials import Access, Static
from hubfleet.kube.errors import ApiError, ClusterUnreachable, NotFound, TooManyRequests, Unauthorized
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import JOBS, NAMESPACES, PODS

Connect = Callable[..., Awaitable[Client]]
Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[None]]

POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "ns"}}


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


class Script:
    """Answers with one step after the other, the last one for ever; remembers what was asked."""

    def __init__(self, *steps: Any):
        self.steps = list(steps)
        self.requests: list[web.Request] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if step == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step == "hang":
            await asyncio.sleep(3600)
        if callable(step):
            made: web.StreamResponse = await step(request)
            return made
        code, body, *headers = step
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=code, body=data, headers=dict(*headers))


async def test_an_error_is_in_the_servers_own_words(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(Script((404, status(404, "NotFound", 'pods "p" not found')))))
    with pytest.raises(NotFound, match=r'^pods "p" not found$') as caught:
        await client.get(PODS, "ns", "p")
    assert (caught.value.code, caught.value.reason, caught.value.cluster) == (404, "NotFound", "test")
    assert caught.value.status["kind"] == "Status"


async def test_an_error_page_of_a_proxy_is_an_error(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(Script((502, b"<html>bad gateway</html>"))))
    with pytest.raises(ApiError, match="HTTP 502: <html>bad gateway") as caught:
        await client.get(PODS, "ns", "p")
    assert caught.value.code == 502


async def test_a_redirect_is_not_followed(serve: Serve, connect: Connect) -> None:
    script = Script((302, b"", {"Location": "http://127.0.0.1:1/"}))
    client = await connect(await serve(script))
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "ns", "p")
    assert caught.value.code == 302 and len(script.requests) == 1


@pytest.mark.parametrize("garbage", [b"<html>login</html>", b"", b"[1]", b'{"a":', b"\xff\xfe"])
async def test_garbage_is_not_kubernetes(serve: Serve, connect: Connect, garbage: bytes) -> None:
    client = await connect(await serve(Script((200, garbage))))
    with pytest.raises(ClusterUnreachable, match="not what a Kubernetes API sends"):
        await client.get(PODS, "ns", "p")


async def test_who_asks_and_for_whom(serve: Serve, connect: Connect) -> None:
    script = Script((200, POD))
    client = await connect(await serve(script))
    someone = Impersonation("jo", ("a", "b"), uid="7", extra={"example.org/Scope": ("x",)})
    await client.get(PODS, "ns", "p", on_behalf_of=someone)
    headers = script.requests[0].headers
    assert headers["User-Agent"] == "hubfleet/test" and headers["Authorization"] == "Bearer secret"
    assert headers["Impersonate-User"] == "jo" and headers["Impersonate-Uid"] == "7"
    assert headers.getall("Impersonate-Group") == ["a", "b"]
    assert headers["Impersonate-Extra-example.org%2Fscope"] == "x"
    await client.get(PODS, "ns", "p")
    assert "Impersonate-User" not in script.requests[1].headers


async def test_a_get_survives_one_reset(serve: Serve, connect: Connect) -> None:
    script = Script("reset", (200, POD))
    client = await connect(await serve(script))
    assert (await client.get(PODS, "ns", "p"))["kind"] == "Pod"


async def test_two_resets_are_an_outage(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(Script("reset")))
    with pytest.raises(ClusterUnreachable) as caught:
        await client.get(PODS, "ns", "p")
    assert caught.value.sent


async def test_a_create_is_never_sent_twice(serve: Serve, connect: Connect) -> None:
    script = Script("reset", (201, POD))
    client = await connect(await serve(script))
    with pytest.raises(ClusterUnreachable) as caught:
        await client.create(PODS, "ns", POD)
    assert caught.value.sent and len(script.requests) == 1


async def test_an_answer_that_is_cut_off_is_asked_for_again(serve: Serve, connect: Connect) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"kind":')
        assert request.transport is not None
        request.transport.abort()
        return response

    client = await connect(await serve(Script(cut, (200, POD))))
    assert (await client.get(PODS, "ns", "p"))["kind"] == "Pod"


@pytest.mark.parametrize("code", [429, 503])
async def test_retry_after_is_honoured(serve: Serve, connect: Connect, code: int) -> None:
    busy = (code, status(code, "TooManyRequests", "too many requests"), {"Retry-After": "1"})
    client = await connect(await serve(Script(busy, (200, POD))))
    started = time.monotonic()
    await client.get(PODS, "ns", "p")
    assert 0.9 < time.monotonic() - started < 5


async def test_retry_after_is_not_waited_for_beyond_the_budget(serve: Serve, connect: Connect) -> None:
    busy = (429, status(429, "TooManyRequests", "too many requests"), {"Retry-After": "60"})
    client = await connect(await serve(Script(busy)))
    started = time.monotonic()
    with pytest.raises(TooManyRequests) as caught:
        await client.get(PODS, "ns", "p", budget=Budget(5))
    assert caught.value.retry_after == 60 and time.monotonic() - started < 2


async def test_a_503_does_not_make_a_create_happen_twice(serve: Serve, connect: Connect) -> None:
    script = Script((503, b"", {"Retry-After": "0"}), (201, POD))
    client = await connect(await serve(script))
    with pytest.raises(ApiError) as caught:
        await client.create(PODS, "ns", POD)
    assert caught.value.code == 503 and len(script.requests) == 1


async def test_the_budget_bounds_a_silent_server(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(Script("hang")))
    started = time.monotonic()
    with pytest.raises(ClusterUnreachable, match="no answer within"):
        await client.get(PODS, "ns", "p", budget=Budget(0.2))
    assert time.monotonic() - started < 1


async def test_a_spent_budget_sends_nothing(serve: Serve, connect: Connect) -> None:
    script = Script((200, POD))
    client = await connect(await serve(script))
    with pytest.raises(ClusterUnreachable, match="over"):
        await client.get(PODS, "ns", "p", budget=Budget(0))
    assert script.requests == []


async def test_nobody_listening_is_unreachable_and_was_not_sent(connect: Connect) -> None:
    client = await connect("http://127.0.0.1:1")
    with pytest.raises(ClusterUnreachable) as caught:
        await client.create(PODS, "ns", POD)
    assert not caught.value.sent


async def test_the_breaker_opens_on_silence_and_closes_on_an_answer(serve: Serve, connect: Connect) -> None:
    now = 0.0
    breaker = Breaker(threshold=2, pause=10, clock=lambda: now)
    script = Script("reset", "reset", (403, status(403, "Forbidden", "no")))
    client = await connect(await serve(script), breaker=breaker)
    for _ in range(2):
        with pytest.raises(ClusterUnreachable):
            await client.create(PODS, "ns", POD)
    assert breaker.state is State.OPEN
    with pytest.raises(ClusterUnreachable) as caught:
        await client.get(PODS, "ns", "p")
    assert caught.value.retry_after == 10 and len(script.requests) == 2
    now = 11.0
    with pytest.raises(ApiError, match="no"):  # an answer, though not the one that was hoped for
        await client.get(PODS, "ns", "p")
    assert breaker.state is State.CLOSED


async def test_a_caller_that_gives_up_frees_the_probe(serve: Serve, connect: Connect) -> None:
    now = 0.0
    breaker = Breaker(threshold=1, pause=1, clock=lambda: now)
    script = Script("reset", "hang", (200, POD))
    client = await connect(await serve(script), breaker=breaker)
    with pytest.raises(ClusterUnreachable):
        await client.create(PODS, "ns", POD)
    now = 2.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.get(PODS, "ns", "p")
    await client.get(PODS, "ns", "p")
    assert breaker.state is State.CLOSED


async def test_a_hurried_caller_does_not_open_the_breaker(serve: Serve, connect: Connect) -> None:
    breaker = Breaker(threshold=1)
    client = await connect(await serve(Script("hang")), breaker=breaker)
    with pytest.raises(ClusterUnreachable):
        await client.get(PODS, "ns", "p", budget=Budget(0.05))
    assert breaker.state is State.CLOSED


class Rotating:
    """Credentials whose first token is no longer accepted."""

    def __init__(self) -> None:
        self.access = Access("Bearer old")
        self.renewed = 0

    def current(self) -> Access | None:
        return self.access

    async def obtain(self, rejected: Access | None = None) -> Access:
        if rejected is self.access:
            self.renewed += 1
            self.access = Access("Bearer new")
        return self.access

    async def close(self) -> None:
        pass


async def gate(request: web.Request) -> web.StreamResponse:
    if request.headers["Authorization"] == "Bearer new":
        return web.json_response(POD)
    return web.json_response(status(401, "Unauthorized", "Unauthorized"), status=401)


async def test_a_401_renews_the_credentials_once(serve: Serve, connect: Connect) -> None:
    credentials = Rotating()
    client = await connect(await serve(Script(gate)), credentials=credentials)
    await asyncio.gather(*(client.create(PODS, "ns", POD) for _ in range(20)))
    assert credentials.renewed == 1


async def test_a_401_for_a_stream_renews_the_credentials(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(Script(gate)), credentials=Rotating())
    async with client.log("ns", "p") as chunks:
        assert json.loads(b"".join([chunk async for chunk in chunks])) == POD


async def test_a_token_that_stays_refused_is_an_error(serve: Serve, connect: Connect) -> None:
    script = Script((401, status(401, "Unauthorized", "Unauthorized")))
    client = await connect(await serve(script))
    with pytest.raises(Unauthorized):
        await client.get(PODS, "ns", "p")
    assert len(script.requests) == 1  # the same token again would change nothing


async def test_streams_do_not_starve_requests(serve: Serve, connect: Connect) -> None:
    async def follow(request: web.Request) -> web.StreamResponse:
        if "log" not in request.path:
            return web.json_response(POD)
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(3600)
        return response

    client = await connect(await serve(follow), connections=1)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(client.log("ns", "p", follow=True))
        await client.get(PODS, "ns", "p", budget=Budget(5))


async def test_leaving_a_followed_log_closes_the_connection(
    serve: Serve, connect: Connect, until: Until
) -> None:
    ended: list[bool] = []

    async def follow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        try:
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.005)
        finally:
            ended.append(True)
        return response

    client = await connect(await serve(follow))
    async with client.log("ns", "p", follow=True) as chunks:
        assert await anext(chunks) == b"first"
        assert not ended
    await until(lambda: ended, 1)


async def test_a_log_arrives_as_it_is_written(serve: Serve, connect: Connect) -> None:
    more = asyncio.Event()

    async def follow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await more.wait()
        await response.write(b"two\n")
        return response

    client = await connect(await serve(follow))
    async with client.log("ns", "p", follow=True, tail_lines=0, container="c") as chunks:
        assert await anext(chunks) == b"one\n"
        more.set()
        assert [chunk async for chunk in chunks] == [b"two\n"]


async def test_a_log_of_what_is_not_there_is_an_error_before_the_stream(
    serve: Serve, connect: Connect
) -> None:
    script = Script((400, status(400, "BadRequest", 'container "c" is waiting to start: ContainerCreating')))
    client = await connect(await serve(script))
    with pytest.raises(ApiError, match="waiting to start"):
        async with client.log("ns", "p", container="c"):
            pytest.fail("entered")
    assert script.requests[0].query_string == "container=c"


async def test_a_log_that_is_not_followed_may_not_hang(serve: Serve, connect: Connect) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await asyncio.sleep(3600)
        return response

    client = await connect(await serve(stall), seconds=0.2)
    with pytest.raises(ClusterUnreachable, match="silent"):
        async with client.log("ns", "p") as chunks:
            assert [chunk async for chunk in chunks]


CHATTER = """
import asyncio

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    for _ in range(256):
        writer.write(b"400\\r\\n" + b"x" * 1024 + b"\\r\\n")
        await writer.drain()
    await asyncio.sleep(3600)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


async def test_500_followed_logs_are_small(connect: Connect) -> None:
    """Although their readers do not keep up and the server has 256 KiB for each; it is another process."""
    command = (sys.executable, "-c", CHATTER)
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        client = await connect(f"http://127.0.0.1:{int(await server.stdout.readline())}")
        async with contextlib.AsyncExitStack() as stack:

            async def follow() -> None:
                await anext(await stack.enter_async_context(client.log("ns", "p", follow=True)))

            for _ in range(20):  # what is made once is not counted
                await follow()
            before = resident()
            for _ in range(500):
                await follow()
            assert (resident() - before) / 500 < 64 * 1024
    finally:
        server.kill()
        await server.wait()


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_names_cannot_leave_their_path(connect: Connect) -> None:
    client = await connect("http://127.0.0.1:1")
    for name in ("", ".", "..", "a/b", "../../secrets/x", "a%2fb"):
        with pytest.raises(ApiError, match="not a name") as caught:
            await client.get(JOBS, "ns", name)
        assert caught.value.code == 400
        with pytest.raises(ApiError, match="not a name"):
            await client.delete(JOBS, name, "x")
    with pytest.raises(ApiError):
        await client.delete(NAMESPACES, None, "")


async def test_who_leaves_a_stream_does_not_wait_for_a_peer_that_is_stuck(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    """TLS would say goodbye, and hold the connection until that is answered."""
    stuck = False
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"line\n")
        await asyncio.sleep(3600)
        return response

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not (ours and stuck):
                    writer.write(data)
        if ours:
            left.set()
        writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(host, int(port))
        await asyncio.gather(relay(reader, upstream[1], ours=True), relay(upstream[0], writer, ours=False))

    authority = Authority("ca")
    server = await tls_server(serve, tmp_path, authority, LOOPBACK, handler=endless)
    host, _, port = server.removeprefix("https://").rpartition(":")
    async with await asyncio.start_server(between, "127.0.0.1", 0) as relaying:
        url = f"https://127.0.0.1:{relaying.sockets[0].getsockname()[1]}"
        access = Access("Bearer secret", tls.context(ca=authority.pem))
        client = await connect(url, credentials=Static(access))
        async with client.log("ns", "p", follow=True) as chunks:
            assert await anext(aiter(chunks)) == b"line\n"
            stuck = True
        async with asyncio.timeout(5):
            await left.wait()

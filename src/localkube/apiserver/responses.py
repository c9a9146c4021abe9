"""Answers on the wire: a whole body, or a stream that ends with its reader."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
import yaml

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class Response(NamedTuple):
    """`media` is the Content-Type, "" for none."""

    code: int
    body: bytes = b""
    media: str = "application/json"
    headers: Headers = ()


class Stream(NamedTuple):
    """A body of unknown length. `close` is called once at the end, whether or not anything was read."""

    chunks: AsyncGenerator[bytes, None]
    media: str = "application/json"
    headers: Headers = ()
    close: Callable[[], None] = lambda: None


def json_response(code: int, obj: Any, headers: Headers | None = None) -> Response:
    return Response(code, msgspec.json.encode(obj), headers=headers or ())


def to_yaml(body: bytes) -> bytes:
    return yaml.safe_dump(msgspec.json.decode(body), sort_keys=False).encode()


def warning_headers(warnings: list[str]) -> Headers:
    """RFC 7234 warnings, as kubectl prints them; equal ones are said once."""
    found: list[tuple[bytes, bytes]] = []
    for text in dict.fromkeys(warnings):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        # a header cannot hold control characters or, portably, anything but ASCII
        shown = "".join(c if " " <= c <= "~" else "?" for c in quoted)
        found.append((b"warning", f'299 - "{shown}"'.encode()))
    return found


async def send_response(response: Response, send: Send) -> None:
    headers = [*response.headers, (b"content-length", str(len(response.body)).encode())]
    if response.media:
        headers.append((b"content-type", response.media.encode()))
    await send({"type": "http.response.start", "status": response.code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def send_stream(stream: Stream, receive: Receive, send: Send, stopping: asyncio.Event) -> None:
    """Pass chunks on until they end, the client is gone or the server stops."""
    headers = [*stream.headers, (b"content-type", stream.media.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    pump = asyncio.ensure_future(_pump(stream.chunks, send))
    others = [asyncio.ensure_future(_disconnected(receive)), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait({pump, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (pump, *others):
            task.cancel()
        results = await asyncio.gather(pump, *others, return_exceptions=True)
        stream.close()
    failure = results[0]
    if isinstance(failure, Exception):
        # without the final chunk the client sees that the stream was cut
        raise failure
    await send({"type": "http.response.body", "body": b""})


async def _pump(chunks: AsyncGenerator[bytes, None], send: Send) -> None:
    async with aclosing(chunks):
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # `send` does not wait where the reader is gone or keeps up, and the chunks may all be there:
            # without a pause, what is left of hundreds of streams is made, for nobody, in a single turn
            await asyncio.sleep(0)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

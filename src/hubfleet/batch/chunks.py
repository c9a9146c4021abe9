"""Answers that are sent as they come, or as they are taken, and that end when nobody listens any more."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

from hubfleet.admission import visit_of

HEADERS = [(b"content-type", b"text/plain; charset=utf-8")]

PIECE = 256 * 1024
"""Bytes of a large answer that are sent in one go."""


class Chunks:
    """Plain text, as an ASGI application: each of `chunks` (never empty) is one chunk of the answer.

    Litestar's own `Stream` does the same and costs 10 KiB more for each (a task group and two tasks); there
    are as many of these as there are followed logs.

    `pace` says for how many seconds to pause after a chunk of so many bytes.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], pace: Callable[[int], float]):
        self._chunks = chunks
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.current_task()
        assert sending is not None
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            sending.cancel()

        watching = asyncio.create_task(watch())
        try:
            async with aclosing(self._chunks):
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    if pause := self._pace(len(chunk)):
                        await asyncio.sleep(pause)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            # Cancelled by a client that went away, it has ended as it should; by anyone else, it has not.
            if not gone or sending.uncancel():
                raise
        finally:
            watching.cancel()


class Json:
    """A JSON body, as an ASGI application: a large one in pieces, each sent when the last one was taken.

    The server keeps a copy of all that it was given and a client does not take. Of one who asks for lists of
    megabytes and reads none of them, on a thousand connections, that is gigabytes; and the requests would not
    count as under way any more.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str]):
        self._body = body
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit_of(scope).answered(len(self._body))
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        for start in range(0, max(1, len(self._body)), PIECE):
            end = start + PIECE
            more = end < len(self._body)
            piece = self._body[start:end]
            await send({"type": "http.response.body", "body": piece, "more_body": more})
